"""Asks the egress proxy, on its socket and on the loopback, for what it is told to.

Arguments: `heads` and a JSON list of requests in latin-1, or `names` and a JSON list of pairs of a
CONNECT target and the name that TLS is to have in it (null for none). Prints what each got: the
status line, or for TLS the error, `ok` where there was none.
"""

import json
import socket
import ssl
import sys

SOCKET = "/run/agent/egress.sock"


def way(by_loopback):
    if by_loopback:
        made = socket.create_connection(("127.0.0.1", 3128), timeout=15)
    else:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(15)
        made.connect(SOCKET)
    return made


def ask(request, by_loopback):
    with way(by_loopback) as proxy:
        try:
            proxy.sendall(request.encode("latin-1"))
            return proxy.recv(4096).split(b"\r\n", 1)[0].decode("latin-1")
        except OSError as error:
            return type(error).__name__


def shake(target, name):
    with way(by_loopback=True) as proxy:
        proxy.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        status = proxy.recv(4096).split(b"\r\n", 1)[0].decode("latin-1")
        if " 200 " not in status:
            return status
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            with context.wrap_socket(proxy, server_hostname=name):
                return "ok"
        except (ssl.SSLError, OSError) as error:
            return f"{type(error).__name__}: {getattr(error, 'reason', '')}"


asked = json.loads(sys.argv[2])
if sys.argv[1] == "heads":
    found = {
        "socket": [ask(request, by_loopback=False) for request in asked],
        "loopback": [ask(request, by_loopback=True) for request in asked],
    }
else:
    found = {"names": [shake(target, name) for target, name in asked]}
print(json.dumps(found))
