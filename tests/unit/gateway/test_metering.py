"""Counting tokens in answers that come in any pieces, whole or cut."""

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.costs import price
from orchestrator.gateway.metering import Meter
from orchestrator.protocol.event_parts import Usage


def event(name: str, **fields: object) -> bytes:
    body = msgspec.json.encode({"type": name} | fields)
    return b"event: %s\ndata: %s\n\n" % (name.encode(), body)


START = event(
    "message_start",
    message={
        "model": "claude-opus-5-5",
        "usage": {
            "input_tokens": 10,
            "cache_read_input_tokens": 1000,
            "cache_creation_input_tokens": 100,
            "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
            "output_tokens": 1,
        },
    },
)
WORDS = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "x" * 400})
END = event("message_delta", delta={}, usage={"output_tokens": 50}) + event("message_stop")


def meter(*pieces: bytes, streams: bool = True) -> Meter:
    counted = Meter(model="claude-asked", streams=streams)
    for piece in pieces:
        counted.feed(piece)
    return counted


@given(cuts=st.lists(st.integers(0, len(START + WORDS + END)), max_size=6))
def test_a_stream_is_counted_however_it_is_cut_into_pieces(cuts: list[int]) -> None:
    """The counts of the start and the end, the model that answered, the price of both."""
    raw = START + event("ping") + WORDS + END
    edges = [0, *sorted(cuts), len(raw)]
    counted = meter(*(raw[a:b] for a, b in itertools.pairwise(edges)))
    metered = counted.finish()
    usage = Usage(input_tokens=10, output_tokens=50, cache_read_tokens=1000, cache_write_tokens=100)
    assert metered is not None
    assert counted.stopped
    assert metered.usage == usage
    assert metered.model == "claude-opus-5-5"
    assert metered.cost_usd == price("claude-opus-5-5", usage, cache_write_1h_tokens=40)


def test_a_cut_stream_is_counted_as_far_as_it_came() -> None:
    """Without the end's count, the answer's tokens are estimated from what passed."""
    counted = meter(START, WORDS, WORDS, WORDS[:40])
    metered = counted.finish()
    assert metered is not None
    assert not counted.stopped
    assert metered.usage.input_tokens == 10
    assert metered.usage.output_tokens == 200


def test_a_stream_that_never_began_is_not_counted() -> None:
    """No usage was told: nothing to say."""
    assert meter(b"", b"event: ping\n\n").finish() is None


def test_an_error_in_a_stream_is_seen() -> None:
    """Its type tells what to explain."""
    counted = meter(START, event("error", error={"type": "overloaded_error", "message": "x"}))
    assert counted.error_type == "overloaded_error"
    assert not counted.stopped


def test_an_answer_in_one_piece_is_counted() -> None:
    """Without streaming the usage stands in the message."""
    raw = b'{"model":"claude-haiku-4-5","usage":{"input_tokens":3,"output_tokens":4},"content":[]}'
    metered = meter(raw[:20], raw[20:], streams=False).finish()
    assert metered is not None
    assert metered.usage == Usage(input_tokens=3, output_tokens=4)
    assert meter(raw[:20], streams=False).finish() is None


def test_an_endless_line_is_not_kept() -> None:
    """A line without an end costs a bounded amount of memory, and the next line is read."""
    counted = Meter(model="m", streams=True)
    for _ in range(100):
        counted.feed(b"data: " + b"x" * (1 << 16))
        assert len(counted._buffer) <= (1 << 20) + (1 << 17)
    counted.feed(b"\n" + START)
    assert counted.finish() is not None


@given(raw=st.binary(max_size=300), streams=st.booleans())
def test_noise_breaks_nothing(raw: bytes, streams: bool) -> None:
    """Whatever an upstream sends, the meter does not fail."""
    meter(raw, START, b"data: " + raw + b"\n", streams=streams).finish()


@given(count=st.integers() | st.none())
def test_strange_counts_are_bounded(count: int | None) -> None:
    """Negative or absurd numbers do not reach the ledger."""
    body = b'{"usage":{"input_tokens":%s,"output_tokens":1}}' % (
        b"null" if count is None else str(count).encode()
    )
    metered = meter(body, streams=False).finish()
    assert metered is None or 0 <= metered.usage.input_tokens <= 1 << 40
