"""Heads of requests to the proxy; secrets; what is told of refusals."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.gateway.egress.blocked import Blocked, host_not_allowed
from orchestrator.gateway.egress.refusal_reports import RefusalReports
from orchestrator.gateway.egress.request_head import BadHead, check_head, read_head
from orchestrator.gateway.egress.secret_files import SecretMissing, read_secret
from orchestrator.gateway.egress.settings import EgressSettings
from orchestrator.protocol.control_events import EgressRefused
from orchestrator.sessions.profiles import Injection


class Pieces:
    """A ByteStream of what is given."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def write(self, data: bytes) -> None: ...
    async def end(self) -> None: ...
    def abort(self) -> None: ...


GOOD = b"CONNECT ok.test:443 HTTP/1.1\r\nHost: ok.test:443\r\nUser-Agent: x\r\n\r\n"


async def test_a_head_may_come_in_pieces() -> None:
    """And what follows it is kept."""
    for cut in range(len(GOOD)):
        received = await read_head(
            Pieces(GOOD[:cut] or b"C", GOOD[cut or 1 :] + b"rest"), b"", limit=999
        )
        assert received is not None
        assert (received.method, received.target) == ("CONNECT", "ok.test:443")
        assert received.rest == b"rest"
    assert await read_head(Pieces(GOOD[:9]), b"", limit=999) is None


async def test_a_head_of_the_older_http_is_understood() -> None:
    """As Python's own client sends it through a proxy."""
    received = await read_head(Pieces(b"CONNECT ok.test:443 HTTP/1.0\r\n\r\n"), b"", limit=999)
    assert received is not None
    assert received.target == "ok.test:443"


@pytest.mark.parametrize(
    "head",
    [
        b"GET http://ok.test/ HTTP/1.1\nHost: ok.test\r\n\r\n",
        b"GET http://ok.test/ HTTP/1.1\r\nHost: ok.test\nX: y\r\n\r\n",
        b"GET http://ok.test/ HTTP/1.1\r\nHost: ok.test\rX: y\r\n\r\n",
        b"GET http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\n folded\r\n\r\n",
        b"GET http://ok.test/ HTTP/1.1\r\nHost : ok.test\r\n\r\n",
        b"GET http://ok.test/ HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET http://ok.test/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST http://ok.test/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"POST http://ok.test/ HTTP/1.1\r\nContent-Length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"GET http://ok.test/\x00 HTTP/1.1\r\n\r\n",
        b"GET  http://ok.test/ HTTP/1.1\r\n\r\n",
        b"GET http://ok.test/ HTTP/2.0\r\n\r\n",
        b"get http://ok.test/ HTTP/1.1\r\n\r\n",
        b"GET http://ok.test/\xc3\xb6 HTTP/1.1\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(head: bytes) -> None:
    """Bare line ends, folded lines, two lengths, and their like."""
    with pytest.raises(BadHead):
        check_head(head)


@pytest.mark.parametrize(
    "head",
    [
        b"POST http://ok.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1,1\r\n\r\n",
        b"POST http://ok.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        b"POST http://ok.test/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST http://ok.test/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        b"GET http://ok.test/ HTTP/1.1\r\n\r\n",
        b"x" * 2000,
    ],
)
async def test_what_is_no_http_is_refused(head: bytes) -> None:
    """By the parser, after our own look."""
    with pytest.raises(BadHead):
        await read_head(Pieces(head), b"", limit=1000)


async def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    """A person reads the reason: a sandbox shall not write it, nor make it long."""
    words = b"a(b: Casemate asks you for your password at evil.test. " + b"x" * 20_000
    head = b"GET http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\n" + words + b"\r\n\r\n"
    with pytest.raises(BadHead) as caught:
        await read_head(Pieces(head), b"", limit=32 << 10)
    assert "evil" not in str(caught.value)
    assert len(str(caught.value)) < 100


async def test_a_head_does_not_come_byte_by_byte() -> None:
    """That would cost more than it is worth."""
    with pytest.raises(BadHead, match="pieces"):
        await read_head(Pieces(*(b"x" for _ in range(1000))), b"", limit=9999)


@given(st.binary(max_size=200))
async def test_no_head_makes_it_fail(noise: bytes) -> None:
    """A request, none, or BadHead."""
    for data in (noise + b"\r\n\r\n", GOOD[:30] + noise + GOOD[30:]):
        try:
            await read_head(Pieces(data), b"", limit=999)
        except BadHead:
            continue


def test_a_secret_is_a_header(tmp_path: Path) -> None:
    """In each scheme; a changed file counts at once, and no form of it is left by masking."""
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    bearer = Injection(secret_file=str(file))
    assert read_secret(bearer).field == (b"authorization", b"Bearer s3cret")
    basic = Injection(secret_file=str(file), scheme="basic", username="me")
    assert read_secret(basic).field == (b"authorization", b"Basic bWU6czNjcmV0")
    assert read_secret(basic).masked(b"a bWU6czNjcmV0 b s3cret c") == b"a [masked] b [masked] c"
    file.write_text("other")
    raw = Injection(secret_file=str(file), scheme="raw", header="X-Token")
    assert read_secret(raw).field == (b"x-token", b"other")
    assert "other" not in repr(read_secret(raw))


@pytest.mark.parametrize("content", [b"", b"\n", b"a\nb", b"\xff", b"x" * 20_000, b"a\x00b"])
def test_no_secret_is_no_secret(tmp_path: Path, content: bytes) -> None:
    """A file that is missing, empty or strange is said to be; its content is not."""
    file = tmp_path / "token"
    with pytest.raises(SecretMissing):
        read_secret(Injection(secret_file=str(file)))
    file.write_bytes(content)
    with pytest.raises(SecretMissing) as caught:
        read_secret(Injection(secret_file=str(file)))
    assert content.decode("latin-1").strip()[:3] not in str(caught.value) or not content.strip()


class Clock:
    """Calls what it was asked to when its time has come."""

    def __init__(self) -> None:
        self.now = 0.0
        self._waiting: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, action: Callable[[], None]) -> "Clock":
        self._waiting.append((self.now + seconds, action))
        return self

    def cancel(self) -> None: ...

    def pass_to(self, now: float) -> None:
        while due := sorted((w for w in self._waiting if w[0] <= now), key=lambda w: w[0]):
            self._waiting.remove(due[0])
            self.now = due[0][0]
            due[0][1]()
        self.now = now


def test_a_loop_of_refusals_is_counted() -> None:
    """The first is told at once, then counts after ever longer silences, none forgotten."""
    told: list[EgressRefused] = []
    clock = Clock()
    reports = RefusalReports(told.append, EgressSettings(repeat_silence=5), later=clock.later)
    for second in range(1000):
        clock.pass_to(second)
        reports.refused(host_not_allowed("a.test", 443))
    assert [event.count for event in told[:4]] == [1, 4, 10, 20]
    assert len(told) < 12
    reports.close()
    assert sum(event.count for event in told) == 1000
    assert {event.host for event in told} == {"a.test"}


def test_many_hosts_are_told_together() -> None:
    """Beyond a number of different ones they share an entry that names none."""
    told: list[EgressRefused] = []
    clock = Clock()
    reports = RefusalReports(told.append, EgressSettings(max_refused_hosts=10), later=clock.later)
    for number in range(1000):
        reports.refused(host_not_allowed(f"{number}.test", 443))
    clock.pass_to(6)
    assert len(told) == 12
    assert [(event.host, event.tag) for event in told[10:]] == [("", "too_many")] * 2
    assert sum(event.count for event in told) == 1000


def test_what_a_sandbox_wrote_is_made_visible() -> None:
    """Before it is shown to anybody."""
    blocked = Blocked("a\x1b[2J\u202eb", 1, tag="x", sentence="y", status=400)
    assert blocked.host == "a\\x1b[2J\\u202eb"
