"""The head of an HTTP request, read strictly: what two readers could understand differently is
refused before a parser sees it. The parsing itself is h11's. Pure, but for `read_head`.

    BadHead         the message says what is wrong
"""

import re

import h11
import msgspec

from orchestrator.gateway.egress.streams import ByteStream

END_OF_HEAD = b"\r\n\r\n"
MAX_READS = 200
"""A head may come in pieces, but not byte by byte."""
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LENGTH = re.compile(rb"\d{1,18}")
_REQUEST_LINE = re.compile(rb"[A-Z]{1,20} [\x21-\x7e]+ HTTP/1\.[01]")


class BadHead(ValueError):
    """A head that is not passed on."""


class ReceivedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`parser` has read the head and holds what followed it."""

    parser: h11.Connection
    request: h11.Request

    @property
    def method(self) -> str:
        return self.request.method.decode("ascii")

    @property
    def target(self) -> str:
        return self.request.target.decode("ascii")

    @property
    def has_body(self) -> bool:
        names = {name for name, _ in self.request.headers}
        return not names.isdisjoint({b"content-length", b"transfer-encoding"})

    @property
    def rest(self) -> bytes:
        """What came after the head, unparsed: of CONNECT, whose body is none."""
        return self.parser.trailing_data[0]


async def read_head(stream: ByteStream, received: bytes, *, limit: int) -> ReceivedRequest | None:
    """None where the stream ends instead. Raises BadHead, StreamBroken."""
    data = received
    for _ in range(MAX_READS):
        end = data.find(END_OF_HEAD)
        if end >= 0:
            check_head(data[: end + len(END_OF_HEAD)])
            return _parsed(data, limit=limit)
        if len(data) > limit:
            raise BadHead("its head is too long")
        piece = await stream.read()
        if not piece:
            return None
        data += piece
    raise BadHead("its head comes in too many pieces")


def check_head(head: bytes) -> None:
    """Raises BadHead. `head` ends with its empty line."""
    if _BARE.search(head):
        raise BadHead("its head has control characters or line ends that are none")
    line, *fields = head.removesuffix(END_OF_HEAD).split(b"\r\n")
    if not _REQUEST_LINE.fullmatch(line):
        raise BadHead("its first line is no request")
    values = [_named_value(field) for field in fields]
    names = [name for name, _ in values]
    for name in (b"host", b"content-length", b"transfer-encoding"):
        if names.count(name) > 1:
            raise BadHead(f"it has more than one {name.decode()}")
    if b"content-length" in names and b"transfer-encoding" in names:
        raise BadHead("it says its length in two ways")
    if not all(_LENGTH.fullmatch(value) for name, value in values if name == b"content-length"):
        raise BadHead("its length is no number")


def _named_value(field: bytes) -> tuple[bytes, bytes]:
    if field[:1] in (b" ", b"\t"):
        raise BadHead("a header goes on in the next line")
    name, colon, value = field.partition(b":")
    if not colon or name != name.strip():
        raise BadHead("a header's name is not clear")
    return name.lower(), value.strip(b" \t")


def _parsed(data: bytes, *, limit: int) -> ReceivedRequest:
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=limit)
    try:
        parser.receive_data(data)
        request = parser.next_event()
    except h11.RemoteProtocolError as error:  # its words repeat what was sent, and people read ours
        raise BadHead("its head is no proper HTTP") from error
    if not isinstance(request, h11.Request):
        raise BadHead("its head cannot be read")
    return ReceivedRequest(parser=parser, request=request)
