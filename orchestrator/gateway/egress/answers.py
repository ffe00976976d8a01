"""What the proxy itself answers a sandbox. Pure.

The sentence stands in the status line, too: of a refused tunnel, pip and others show nothing else.
"""

from orchestrator.gateway.egress.blocked import Blocked

CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
UNKNOWN_NAME = b"\x15\x03\x03\x00\x02\x02\x70"
"""TLS's fatal alert `unrecognized_name`."""


def refusal(blocked: Blocked) -> bytes:
    place = f"{blocked.host}:{blocked.port}" if blocked.port else blocked.host
    said = f"blocked: {place}. {blocked.sentence}" if place else f"blocked. {blocked.sentence}"
    return _answer(f"{blocked.status} {said}", f"Casemate {said}\n".encode("ascii", "replace"))


def certificates(pem: bytes) -> bytes:
    return _answer("200 OK", pem)


def _answer(status: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\n"
        "content-type: text/plain; charset=utf-8\r\n"
        f"content-length: {len(body)}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode("ascii", "replace") + body
