"""Dials the link and hangs up, over and over, from several processes, for some seconds.

Argument: seconds. Prints how often it was let in, and at which transfers' addresses.
"""

import json
import os
import socket
import sys
import time

SECONDS = float(sys.argv[1])
ASK = (
    b"GET /transfers/%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def dial():
    ends, dialled, upgraded = time.monotonic() + SECONDS, 0, 0
    while time.monotonic() < ends:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(0.5)
            try:
                peer.connect("/run/agent/link.sock")
                dialled += 1
                if dialled % 2:
                    peer.send(ASK % os.urandom(16).hex().encode())
                    upgraded += b" 101 " in peer.recv(100)
            except OSError:
                pass
    return dialled, upgraded


readers = []
for _ in range(4):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, json.dumps(dial()).encode())
        os._exit(0)
    os.close(writer)
    readers.append(reader)
found = [json.loads(os.read(reader, 1000)) for reader in readers]
print(json.dumps({"dialled": sum(d for d, _ in found), "upgraded": sum(u for _, u in found)}))
