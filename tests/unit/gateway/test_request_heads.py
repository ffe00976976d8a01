"""Which heads are read on, and which are ambiguous."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.gateway.refusals import Refused
from orchestrator.gateway.request_heads import check_head

PLAIN = [("Host", "gateway.internal"), ("Content-Type", "application/json")]


@pytest.mark.parametrize(
    "more",
    [
        [("Content-Length", "12")],
        [("Connection", "keep-alive"), ("X-Api-Key", "x"), ("X-Api-Key", "y")],
        [("Connection", "close, x-api-key")],
    ],
)
def test_plain_heads_pass(more: list[tuple[str, str]]) -> None:
    """As the CLI and other clients write them."""
    check_head((1, 1), PLAIN + more)


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ([("Transfer-Encoding", "chunked")], 411),
        ([("transfer-encoding", "Chunked")], 411),
        ([("Transfer-Encoding", "gzip, chunked")], 411),
        ([("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "identity")], 400),
        ([("Transfer-Encoding", "chunked"), ("Content-Length", "3")], 411),
        ([("Content-Length", "3"), ("content-length", "3")], 400),
        ([("Content-Length", "+3")], 400),
        ([("Content-Length", "0x3")], 400),
        ([("Content-Length", "3, 3")], 400),
        ([("Content-Length", "٣")], 400),
        ([("Host", "other")], 400),
        ([("Content-Type", "text/plain")], 400),
        ([("Content-Encoding", "gzip")], 400),
        ([("Content-Encoding", "identity")], 400),
        ([("Trailer", "x")], 400),
        ([("Upgrade", "h2c")], 400),
        ([("HTTP2-Settings", "x")], 400),
        ([("Expect", "100-continue")], 417),
        ([("Expect", "x")], 417),
    ],
    ids=str,
)
def test_what_could_be_read_in_two_ways_is_refused(
    more: list[tuple[str, str]], status: int
) -> None:
    """Lengths, codings, switches of protocol, and headers that stand twice."""
    with pytest.raises(Refused) as caught:
        check_head((1, 1), PLAIN + more)
    assert caught.value.status == status


@pytest.mark.parametrize("version", [(0, 9), (1, 0), (1, 2), (2, 0)])
def test_other_versions_are_refused(version: tuple[int, int]) -> None:
    """HTTP/1.0 knows no chunks, and nobody here needs it."""
    with pytest.raises(Refused):
        check_head(version, PLAIN)


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=8))
def test_nothing_but_a_refusal_comes_out(headers: list[tuple[str, str]]) -> None:
    """Whatever the headers are."""
    assert status_of(headers) in (200, 400, 417)


def status_of(headers: list[tuple[str, str]]) -> int:
    try:
        check_head((1, 1), headers)
    except Refused as refused:
        return refused.status
    return 200
