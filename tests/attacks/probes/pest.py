"""Is a pest to its neighbours, in one way and without pause, until its sandbox ends.

Arguments: the way, and the seconds after which it stops. It goes on apart from the shell that
started it, and says nothing there. Runs with the interpreter that has the WebSocket library.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

MIB = 1 << 20
WAY, SECONDS = sys.argv[1], float(sys.argv[2])
FOLDERS = ("/tmp", "/home/agent", "/workspace", "/dev/shm")
LINK, GATEWAY = "/run/agent/link.sock", "/run/agent/gw.sock"
CHUNKED = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
UNKNOWN = b"GET /v1/files HTTP/1.1\r\nHost: x\r\n\r\n"
HELLO = json.dumps({"type": "hello", "protocol": 1, "version": "forged"})


def side_by_side(work, count):
    """Processes, because one interpreter floods no faster than one processor."""
    for _ in range(count):
        if os.fork() == 0:
            while True:
                try:
                    work()
                except OSError:
                    time.sleep(0.01)
    time.sleep(SECONDS)


def cpu():
    """No attack: what the sandbox's share of the processors costs its neighbours anyway."""
    side_by_side(lambda: sum(range(10**6)), os.cpu_count() or 2)


def forks():
    while True:
        children = []
        try:
            while len(children) < 3000:
                if (pid := os.fork()) == 0:
                    time.sleep(SECONDS)
                    os._exit(0)
                children.append(pid)
        except OSError:
            pass
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def memory():
    while True:
        if (pid := os.fork()) == 0:
            Path("/proc/self/oom_score_adj").write_text("1000")  # the shim shall live on
            held = []
            while True:
                held.append(b"x" * (16 * MIB))
        os.waitpid(pid, 0)


def disk():
    block = b"x" * MIB
    while True:
        for folder in FOLDERS:
            try:
                with open(f"{folder}/fill", "wb", buffering=0) as file:
                    while True:
                        file.write(block)
            except OSError:
                os.unlink(f"{folder}/fill")


def outputs():
    """What the container and the CLI say beside their messages, where that is to be reached."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for number in (1, 2):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
                if b"docker-init" in words or (number == 2 and b"claude" in words):
                    yield os.open(f"/proc/{pid}/fd/{number}", os.O_WRONLY)
            except OSError:
                pass


def log():
    reached, lines = list(outputs()), (b"x" * 1000 + b"\n") * 60
    while True:
        for output in reached:
            os.write(output, lines)


def dial(path):
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(5)
    peer.connect(path)
    return peer


def dials():
    """Beside the shim: dial, say something that is no WebSocket, hang up."""

    def once():
        with dial(LINK) as peer:
            peer.send(b"GET / HTTP/1.1\r\n\r\n")

    side_by_side(once, 3)


def requests():
    """Requests that are refused, connections, and bodies in chunks of one byte."""

    def refused():
        with dial(GATEWAY) as peer:
            while peer.send(UNKNOWN) and peer.recv(MIB):
                pass

    def chunks():
        with dial(GATEWAY) as peer:
            peer.sendall(CHUNKED)
            while True:
                peer.sendall(b"1\r\nx\r\n" * 10_000)

    for work in (refused, chunks, chunks, chunks):
        if os.fork() == 0:
            side_by_side(work, 2)
    side_by_side(lambda: dial(GATEWAY).close(), 1)


def shim():
    for name in filter(str.isdigit, os.listdir("/proc")):
        words = Path(f"/proc/{name}/cmdline").read_bytes()
        if b"-m\0shim" in words and b"docker-init" not in words:
            return int(name)
    raise SystemExit("no shim")


def place():
    """The shim's place on the link, once it is given up, and the number of the last event."""
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import unix_connect

    os.kill(shim(), signal.SIGSTOP)
    while True:
        try:
            peer = unix_connect(LINK, uri="ws://link/", compression=None, ping_interval=None)
            peer.send(HELLO)
            held = json.loads(peer.recv(timeout=5)).get("acknowledged", 0)
            break
        except (OSError, TimeoutError, WebSocketException):
            time.sleep(0.1)
    threading.Thread(target=lambda: [*peer], daemon=True).start()  # answers pings
    return peer, held


def send(peer, first, event, count):
    items = ",".join(f"[{first + i},{event}]" for i in range(count))
    peer.send(f'{{"type":"batch","items":[{items}]}}')


def frames():
    """Small lasting events, as many as are taken."""
    peer, held = place()
    while True:
        send(peer, held + 1, '{"type":"note_written","text":"x"}', 500)
        held += 500


def overlaps():
    """Pieces that overlap the end of a large block, which is still being written."""
    peer, held = place()
    block = {"type": "block_delta", "message_id": "m", "index": 0, "kind": "text"}
    text = "\U0001f600" * 250_000
    for part in range(8):
        piece = {**block, "offset": part * len(text), "text": text}
        send(peer, held + 1 + part, json.dumps(piece, ensure_ascii=False), 1)
    held += 8
    again = json.dumps({**block, "offset": 8 * len(text) - 1, "text": "x"})
    while True:
        send(peer, held + 1, again, 500)
        held += 500


if os.fork() == 0:
    os.setsid()
    for number in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), number)
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(0, signal.SIGKILL))
    signal.alarm(int(SECONDS))
    globals()[WAY]()
