"""Takes the shim's place on the link, says so, and answers each transfer with a lie.

Argument: the lie. It runs apart from the shell that
started it, and says nothing there.
"""

import itertools
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from websockets.exceptions import WebSocketException
from websockets.sync.client import unix_connect

LIE = sys.argv[1]
SOCKET = "/run/agent/link.sock"
HELLO = {"type": "hello", "protocol": 1, "version": "forged"}
HERE = {"type": "text_written", "message_id": "m", "index": 0, "text": "LIAR IS HERE"}
CHUNK = 256 << 10


def shim():
    for name in os.listdir("/proc"):
        if name.isdigit():
            line = Path(f"/proc/{name}/cmdline").read_bytes()
            if b"-m\0shim" in line and b"docker-init" not in line:
                return int(name)
    raise SystemExit("no shim")


def place():
    """A connection that was welcomed, and the number of the last event that is held there."""
    while True:
        try:
            peer = unix_connect(SOCKET, uri="ws://link/", compression=None, ping_interval=None)
            peer.send(json.dumps(HELLO))
            return peer, json.loads(peer.recv(timeout=5)).get("acknowledged", 0)
        except (OSError, TimeoutError, WebSocketException):
            time.sleep(0.1)


def entry(path, kind="directory", **fields):
    return {"type": "entry", "path": path, "kind": kind, **fields}


def tree(*frames):
    return [{"type": "measured", "entries": 1, "size": 1}, *frames, {"type": "done"}]


def forever(frame):
    while True:
        yield frame


def million():
    yield {"type": "measured", "entries": 1, "size": 1}
    for n in range(1_000_000):
        yield entry(f"{n:07}")


def checkpoint(*frames, entries=1, size=1):
    end = {"type": "checkpointed", "fingerprint": "f", "entries": entries, "size": size}
    return itertools.chain([{"type": "ready"}], frames, [end])


def endless_tree():
    yield {"type": "measured", "entries": 1, "size": 1}
    for n in range(1_000_000):
        yield entry(f"{n:07}", "file", size=200 << 20)
        for _ in range(800):
            yield b"\0" * CHUNK


LIES = {
    "leads out": lambda path: tree(entry("../../../etc/cron.d/x", "file", size=2), b"hi"),
    "absolute": lambda path: tree(entry("/etc/cron.d/x", "file", size=2), b"hi"),
    "through a link": lambda path: tree(
        entry("a", "symlink", target="/etc"), entry("a/x", "file", size=2), b"hi"
    ),
    "duplicates": lambda path: tree(*[entry("a", "file", size=2), b"hi"] * 2),
    "hidden name": lambda path: tree(entry("a\u202egpj.exe", "file", size=2), b"hi"),
    "a million entries": lambda path: million(),
    "endless tree": lambda path: endless_tree(),
    "too short": lambda path: [entry(path, "file", size=10), b"123", {"type": "done"}],
    "too long": lambda path: [entry(path, "file", size=3), b"1234567890", {"type": "done"}],
    "endless file": lambda path: [entry(path, "file", size=1 << 20), *[b"\0" * CHUNK] * 5000],
    "crumbs": lambda path: [entry(path, "file", size=1 << 30), *[b"x"] * 100_000],
    "headers only": lambda path: forever(entry(path, "file", size=1)),
    "another file": lambda path: [entry("secret", "file", size=2), b"hi", {"type": "done"}],
    "silence": lambda path: [],
    "endless checkpoint": lambda path: itertools.chain([{"type": "ready"}], forever(b"\0" * CHUNK)),
    "crumbs of a checkpoint": lambda path: itertools.chain([{"type": "ready"}], forever(b"x")),
    "a checkpoint of 2 PiB": lambda path: checkpoint(b"x", size=1 << 51),
    "a checkpoint of many": lambda path: checkpoint(b"x", entries=1 << 40),
    "a checkpoint of headers": lambda path: forever({"type": "ready"}),
    "nonsense": lambda path: ["{" * 10_000],
}


def answer(order):
    request = order["request"]
    try:
        uri = f"ws://link/transfers/{order['transfer_id']}"
        with unix_connect(SOCKET, uri=uri, compression=None, ping_interval=None) as peer:
            for frame in LIES[LIE](request.get("path", "")):
                peer.send(frame if isinstance(frame, str | bytes) else json.dumps(frame))
            time.sleep(60)
    except (OSError, WebSocketException):
        pass


if os.fork() == 0:
    os.setsid()
    os.kill(shim(), signal.SIGSTOP)
    peer, held = place()
    peer.send(json.dumps({"type": "batch", "items": [[held + 1, HERE]]}))
    for frame in peer:
        for n, command in json.loads(frame).get("items", []):
            peer.send(json.dumps({"type": "batch", "items": [], "acknowledged": n}))
            if command["type"] == "interrupt":
                held += 1
                ended = {"type": "turn_ended", "turn_id": command["turn_id"]}
                items = [[held + 1, {**ended, "outcome": "interrupted"}]]
                peer.send(json.dumps({"type": "batch", "items": items}))
            if command["type"] == "open_transfer":
                threading.Thread(target=answer, args=[command], daemon=True).start()
