"""Dials the link beside the shim, says what a shim would say, and forges its frames.

Prints how each attempt ended. Runs with the interpreter that has the WebSocket library.
"""

import json
import socket
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import unix_connect

SEEN_TO = 40.0
"""Seconds: the control plane takes connections no faster than its pace."""
HELLO = json.dumps({"type": "hello", "protocol": 1, "version": "forged"})
FORGED = [
    {"type": "text_written", "message_id": "m", "text": "FORGED", "index": 0},
    {"type": "permission_resolved", "permission_id": "x", "choice": "allow", "by": "ada"},
    {"type": "session_renamed", "title": "FORGED"},
]


def frames():
    yield HELLO
    yield json.dumps({"type": "batch", "items": [[n, e] for n, e in enumerate(FORGED, 1)]})
    yield json.dumps({"type": "decide_permission", "decision": {"choice": "allow"}})
    yield "{"
    yield "x" * (5 << 20)


def dial(frame):
    try:
        with unix_connect("/run/agent/link.sock", uri="ws://link/", max_size=None) as peer:
            peer.send(frame)
            return f"answered: {peer.recv(timeout=10)[:200]}"
    except ConnectionClosed as closed:
        return f"closed: {closed.rcvd.code if closed.rcvd else 'cut'}"
    except (OSError, TimeoutError) as error:
        return type(error).__name__


def many():
    """More connections than anybody needs, each begun and left; how many are still there, once
    those that wait in the kernel's queue were seen to."""
    held = []
    for _ in range(200):
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(5)
        try:
            peer.connect("/run/agent/link.sock")
            peer.send(b"GET / HTTP/1.1\r\n")
        except OSError:
            continue
        peer.settimeout(0)
        held.append(peer)
    end = time.monotonic() + SEEN_TO
    while len(held) > 4 and time.monotonic() < end:
        held = [peer for peer in held if alive(peer)]
        time.sleep(0.2)
    return len(held)


def alive(peer):
    try:
        return peer.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


print(json.dumps({"ended": [dial(frame) for frame in frames()], "held": many()}))
