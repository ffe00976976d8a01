"""Stops the shim, waits until it is given up, and says in its place exactly what it is told to.

Argument: a JSON list of what to send, in order: `{"event": text}` in a batch, `{"frame": text}`
as it is, `times` over (`at_once` in a batch), with each `@` replaced by `fill` repeated `length`
times. It runs apart from the shell that started it, and says nothing there.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from websockets.exceptions import WebSocketException
from websockets.sync.client import unix_connect

HELLO = json.dumps({"type": "hello", "protocol": 1, "version": "forged"})
AT_ONCE = 500


def shim():
    for name in filter(str.isdigit, os.listdir("/proc")):
        words = Path(f"/proc/{name}/cmdline").read_bytes()
        if b"-m\0shim" in words and b"docker-init" not in words:
            return int(name)
    raise SystemExit("no shim")


def place():
    """A connection that was welcomed, and the number of the last event that is held there."""
    while True:
        try:
            peer = unix_connect(
                "/run/agent/link.sock", uri="ws://link/", compression=None, ping_interval=None
            )
            peer.send(HELLO)
            return peer, json.loads(peer.recv(timeout=5)).get("acknowledged", 0)
        except (OSError, TimeoutError, WebSocketException):
            time.sleep(0.1)


def text_of(told, kind):
    return told[kind].replace("@", told.get("fill", "") * told.get("length", 0))


def say(peer, held, told):
    """The number of the last event that was said."""
    times = told.get("times", 1)
    if "frame" in told:
        for _ in range(times):
            peer.send(text_of(told, "frame"))
        return held
    event = text_of(told, "event")
    at_once = told.get("at_once", AT_ONCE)
    for begun in range(0, times, at_once):
        count = min(at_once, times - begun)
        items = ",".join(f"[{held + 1 + i},{event}]" for i in range(count))
        peer.send(f'{{"type":"batch","items":[{items}]}}')
        held += count
    return held


if os.fork() == 0:
    os.setsid()
    os.kill(shim(), signal.SIGSTOP)
    peer, held = place()
    threading.Thread(target=lambda: [*peer], daemon=True).start()  # answers pings
    for told in json.loads(sys.argv[1]):
        held = say(peer, held, told)
    time.sleep(120)
