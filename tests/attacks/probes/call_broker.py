"""Calls the broker at its socket by every path that could lead there. Argument: the path.

Says which ways answered, and which sockets there are to be seen at all.
"""

import json
import os
import socket
import stat
import sys

PATH = sys.argv[1]
HELLO = b'{"type":"hello","protocol":2,"client":"' + b"0" * 32 + b'"}'
KINDS = (socket.SOCK_SEQPACKET, socket.SOCK_STREAM)
UNSEEN = ("/proc", "/sys")


def ways():
    yield PATH
    yield "\0" + PATH
    yield "/run/agent/../broker/" + os.path.basename(PATH)
    yield "/run/agent/" + os.path.basename(PATH)
    for name in filter(str.isdigit, os.listdir("/proc")):
        yield f"/proc/{name}/root{PATH}"


def answers(way, kind):
    with socket.socket(socket.AF_UNIX, kind) as peer:
        peer.settimeout(2)
        try:
            peer.connect(way)
            peer.send(HELLO)
            return bool(peer.recv(4096))
        except OSError:
            return False


def sockets():
    for folder, folders, names in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in UNSEEN]
        for name in names:
            path = os.path.join(folder, name)
            try:
                if stat.S_ISSOCK(os.lstat(path).st_mode):
                    yield path
            except OSError:
                continue


tried = [(way, kind) for way in ways() for kind in KINDS]
answered = [way for way, kind in tried if answers(way, kind)]
print(json.dumps({"answered": answered, "tried": len(tried), "sockets": sorted(sockets())}))
