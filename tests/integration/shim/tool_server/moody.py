"""A tool server for tests, with nothing but the standard library: serves, hangs, floods and dies.

`moody.py [MOOD]`: `well`, `hangs` (never answers the greeting), `slow N`, `dies`, `mute`.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

TOOLS = {
    "echo": "Says the text again.",
    "long": "Says so many characters.",
    "hang": "Blocks and never answers; the server is deaf meanwhile.",
    "wait": "Answers after so many seconds, unless it is cancelled.",
    "flood": "Writes without an end.",
    "die": "Ends the server.",
    "fail": "Answers that it failed.",
    "nonsense": "Answers with what no client expects.",
    "hog": "Takes memory until it is killed.",
    "pid": "Its process number.",
}
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}, "n": {"type": "number"}}}
cancelled = set()
lock = threading.Lock()


def say(message):
    with lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def answer(ident, text, *, is_error=False):
    say({"id": ident, "result": {"content": [{"type": "text", "text": text}], "isError": is_error}})


def call(ident, name, given):  # noqa: C901 - one line for each tool
    if name == "echo":
        answer(ident, f"echo: {given.get('text', '')}")
    elif name == "pid":
        answer(ident, str(os.getpid()))
    elif name == "long":
        answer(ident, "x" * int(given["n"]))
    elif name == "fail":
        answer(ident, "It failed.", is_error=True)
    elif name == "nonsense":
        say({"id": ident, "result": {"content": "no list"}})
    elif name == "hang":
        time.sleep(3600)
    elif name == "wait":
        threading.Thread(target=wait, args=(ident, given.get("n", 3600)), daemon=True).start()
    elif name == "flood":
        while True:
            sys.stdout.write("y" * (1 << 20))
    elif name == "hog":
        kept = []
        while True:
            kept.append(b"z" * (16 << 20))
    elif name == "die":
        sys.stderr.write("I was told to die.\n")
        sys.stderr.flush()
        os._exit(3)


def wait(ident, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until and ident not in cancelled:
        time.sleep(0.01)
    with Path(f"/tmp/waited-{os.getpid()}").open("a") as log:
        log.write("cancelled\n" if ident in cancelled else "done\n")
    if ident not in cancelled:
        answer(ident, "waited")


def serve(mood):
    for line in sys.stdin:
        message = json.loads(line)
        method, ident = message.get("method"), message.get("id")
        params = message.get("params") or {}
        if method == "initialize":
            if mood[:1] == ["hangs"]:
                time.sleep(3600)
            if mood[:1] == ["slow"]:
                time.sleep(float(mood[1]))
            about = {"name": "moody", "version": "1"}
            say(
                {
                    "id": ident,
                    "result": {
                        "protocolVersion": params["protocolVersion"],
                        "capabilities": {"tools": {}},
                        "serverInfo": about,
                    },
                }
            )
        elif method == "ping":
            say({"id": ident, "result": {}})
        elif method == "tools/list":
            tools = [
                {"name": name, "description": text, "inputSchema": SCHEMA}
                for name, text in TOOLS.items()
            ]
            say({"id": ident, "result": {"tools": tools}})
        elif method == "tools/call":
            call(ident, params["name"], params.get("arguments") or {})
        elif method == "notifications/cancelled":
            cancelled.add(params.get("requestId"))


if __name__ == "__main__":
    mood = sys.argv[1:]
    if mood[:1] == ["dies"]:
        sys.exit("I do not feel like it.")
    serve(mood)
