"""Whether the control plane or the broker in this container works: `healthy.py web|broker`.

Asked every few seconds, so it imports nothing of the project. The status is 0 where it works.
"""

import http.client
import os
import socket
import sys

LIMIT = 5.0
"""Seconds for each answer."""


def web() -> bool:
    """It serves: with a broker, with its database, with the pool filling."""
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=LIMIT)
    connection.request("GET", "/health/ready")
    return connection.getresponse().status == http.client.OK


def broker() -> bool:
    """It attends to who connects: whoever says nothing and hangs up is let go, without a word."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(LIMIT)
        connection.connect(os.environ["CASEMATE_BROKER_SOCKET"])
        connection.shutdown(socket.SHUT_WR)
        connection.recv(4096)
        return True


def main() -> int:
    try:
        works = {"web": web, "broker": broker}[sys.argv[1]]()
    except (OSError, http.client.HTTPException):
        works = False
    return 0 if works else 1


if __name__ == "__main__":
    sys.exit(main())
