"""The first message of TLS, read for the one thing that the proxy must know: whom it is for. Pure.

    NotTls          these bytes are no ClientHello, or not one that can be judged

Strict on purpose: what two readers might understand differently is refused, because the host at the
other end is the second reader. See RFC 8446, sections 4.1.2, 4.2 and 5.1, and RFC 6066, section 3.
"""

import msgspec

MAX_HELLO = 16 << 10
"""Bytes of the message. Those with post-quantum keys are about 2 KiB."""
MAX_RECORDS = 64
"""A message may come in pieces, but not byte by byte."""
MAX_BYTES = MAX_HELLO + 5 * MAX_RECORDS

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_LARGEST_RECORD = 1 << 14
_RANDOM = 32
_SERVER_NAME, _HOST_NAME = 0, 0
_ENCRYPTED = frozenset({0xFE0D, 0xFE0C, 0xFE0B, 0xFE0A, 0xFE09, 0xFE08, 0xFFCE})
"""Encrypted ClientHello and its drafts: the true name hides behind the one that is seen."""


class NotTls(ValueError):
    """The message says what is wrong."""


class ClientHello(msgspec.Struct, frozen=True, kw_only=True):
    """`server_name` as it was sent; None where there is none."""

    server_name: str | None
    hides_name: bool


def read_client_hello(data: bytes) -> ClientHello | None:
    """None where the message is not complete yet. Raises NotTls."""
    message = _message(data)
    return None if message is None else _hello(message)


def _message(data: bytes) -> bytes | None:
    """The handshake message's body, put together from its records."""
    parts = bytearray()
    at = 0
    for _ in range(MAX_RECORDS):
        header = data[at : at + 5]
        _check_record(header)
        length = int.from_bytes(header[3:5])
        piece = data[at + 5 : at + 5 + length] if len(header) == 5 else b""  # noqa: PLR2004
        parts += piece
        _check_message(parts)
        if len(header) < 5 or len(piece) < length:  # noqa: PLR2004 - a record header's length
            return None
        wanted = 4 + int.from_bytes(parts[1:4]) if len(parts) >= 4 else None  # noqa: PLR2004
        if wanted is not None and len(parts) >= wanted:
            if len(parts) > wanted:
                raise NotTls("something follows the first message in its record")
            return bytes(parts[4:])
        at += 5 + length
    raise NotTls("its first message comes in too many pieces")


def _check_record(header: bytes) -> None:
    if header[:1] and header[0] != _HANDSHAKE:
        raise NotTls("it is another protocol")
    if header[1:2] and header[1] != 3:  # noqa: PLR2004 - SSL 3 and all of TLS
        raise NotTls("it is another protocol")
    if len(header) == 5 and not 0 < int.from_bytes(header[3:5]) <= _LARGEST_RECORD:  # noqa: PLR2004
        raise NotTls("a record's length is impossible")


def _check_message(parts: bytearray) -> None:
    if parts[:1] and parts[0] != _CLIENT_HELLO:
        raise NotTls("its first message is another one")
    if len(parts) >= 4 and int.from_bytes(parts[1:4]) > MAX_HELLO:  # noqa: PLR2004
        raise NotTls("its first message is too long")


class _Bytes:
    """Read from the front; raises NotTls where there is not enough."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        return self._at == len(self._data)

    def take(self, length: int) -> bytes:
        taken = self._data[self._at : self._at + length]
        if len(taken) < length:
            raise NotTls("its first message is cut short")
        self._at += length
        return taken

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length))

    def vector(self, length_bytes: int) -> "_Bytes":
        return _Bytes(self.take(self.number(length_bytes)))

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def end(self) -> None:
        if not self.is_empty:
            raise NotTls("a length in its first message is wrong")


def _hello(message: bytes) -> ClientHello:
    body = _Bytes(message)
    body.take(2 + _RANDOM)
    for length_bytes in (1, 2, 1):  # session id, cipher suites, compression methods
        body.vector(length_bytes)
    extensions = _extensions(body)
    body.end()
    name = extensions.get(_SERVER_NAME)
    return ClientHello(
        server_name=None if name is None else _server_name(name),
        hides_name=not _ENCRYPTED.isdisjoint(extensions),
    )


def _extensions(body: _Bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    extensions = _Bytes(b"") if body.is_empty else body.vector(2)
    while not extensions.is_empty:
        kind = extensions.number(2)
        if kind in found:
            raise NotTls("its first message has an extension twice")
        found[kind] = extensions.vector(2).rest()
    return found


def _server_name(extension: bytes) -> str:
    outer = _Bytes(extension)
    names = outer.vector(2)
    outer.end()
    if names.number(1) != _HOST_NAME:
        raise NotTls("its server name is of an unknown kind")
    name = names.vector(2).rest()
    names.end()
    try:
        return name.decode("ascii")
    except UnicodeDecodeError as error:
        raise NotTls("its server name is not plain ASCII") from error
