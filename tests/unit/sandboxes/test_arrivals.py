import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.protocol.link import MAX_EVENT_BYTES, Numbered
from orchestrator.sandboxes.arrivals import Arrival, Arrivals, DialPace, Pace
from orchestrator.sandboxes.errors import LinkViolated
from orchestrator.sandboxes.inbox import Inbox
from orchestrator.sandboxes.settings import LinkSettings


def items(*numbers, body=b"{}"):
    return [Numbered(n, msgspec.Raw(body)) for n in numbers]


def numbers(arrivals):
    return [arrival.n for arrival in arrivals]


def test_repeats_are_dropped_after_a_reconnect():
    """A new connection may begin again with what was not acknowledged; it counts once."""
    arrivals = Arrivals()
    assert numbers(arrivals.accept(items(1, 2, 3))) == [1, 2, 3]
    arrivals.connected()
    assert numbers(arrivals.accept(items(2, 3, 4))) == [4]
    assert arrivals.received == 4


@pytest.mark.parametrize(
    ("sent", "tag"),
    [
        ((1, 3), "link_gap"),
        ((2,), "link_gap"),
        ((1, 2, 2), "link_disorder"),
        ((1, 2, 1), "link_disorder"),
        ((0,), "link_disorder"),
        ((-5,), "link_disorder"),
    ],
)
def test_gaps_and_rewinds_end_the_link(sent, tag):
    """Missing numbers, and numbers that go back on one connection, are violations."""
    with pytest.raises(LinkViolated) as violated:
        Arrivals().accept(items(*sent))
    assert violated.value.tag == tag


def test_an_event_that_is_too_long():
    """An event beyond the protocol's bound is a violation."""
    with pytest.raises(LinkViolated) as violated:
        Arrivals().accept(items(1, body=b'"' + b"x" * MAX_EVENT_BYTES + b'"'))
    assert violated.value.tag == "link_oversize"


@given(st.lists(st.tuples(st.booleans(), st.integers(-2, 8)), max_size=40))
def test_whatever_is_sent_numbers_come_out_in_order_once(sent):
    """No sequence of numbers and reconnects makes a number come out twice, late or out of order."""
    arrivals, out = Arrivals(), []
    for reconnect, n in sent:
        if reconnect:
            arrivals.connected()
        try:
            out += numbers(arrivals.accept(items(n)))
        except LinkViolated:
            break
    assert out == list(range(1, len(out) + 1))


PACE = LinkSettings(events_per_second=100, bytes_per_second=1000, burst_seconds=1, flood_limit=5)


def test_an_ordinary_pace_is_not_slowed():
    """Who stays below the rate is never made to wait."""
    pace = Pace(PACE)
    assert all(pace.charge(events=5, size=50, now=step / 10) == 0 for step in range(1000))


def test_a_burst_is_slowed_but_forgiven():
    """A burst is read more slowly, and when it is over all is as before."""
    pace = Pace(PACE)
    assert pace.charge(events=300, size=0, now=0.0) == pytest.approx(2.0)
    assert pace.charge(events=1, size=0, now=60.0) == 0
    assert pace.charge(events=300, size=0, now=61.0) > 0


def test_a_flood_is_cut_off():
    """Who floods on although slowed, without a break, is cut off."""
    pace, now = Pace(PACE), 0.0
    with pytest.raises(LinkViolated) as violated:  # noqa: PT012 - which charge it is, varies
        for _ in range(100):
            now += pace.charge(events=1, size=1000, now=now)
    assert violated.value.tag == "link_flooded"
    assert 5 < now < 8


async def test_a_full_inbox_holds_its_writer_back(until):
    """Past its bounds an inbox lets its writer wait until half of it was read."""
    inbox = Inbox(most_events=4, most_bytes=1000)
    inbox.put([Arrival(n, b"x") for n in range(3)])
    await inbox.room()
    inbox.put([Arrival(3, b"x")])
    assert inbox.full
    assert len(await inbox.take()) == 4
    assert not inbox.full


async def test_a_closed_inbox_is_read_to_its_end():
    """What was in an inbox when it was closed can be read; nothing comes in any more."""
    inbox = Inbox(most_events=4, most_bytes=1000)
    inbox.put([Arrival(1, b"x")])
    inbox.close()
    inbox.put([Arrival(2, b"x")])
    assert [arrival.n for arrival in await inbox.take()] == [1]
    assert await inbox.take() == []


async def test_batches_are_bounded():
    """A reader gets many small events in pieces, and none is lost."""
    inbox = Inbox(most_events=10_000, most_bytes=1 << 24)
    inbox.put([Arrival(n, b"x" * 1000) for n in range(3000)])
    inbox.close()
    sizes = []
    while batch := await inbox.take():
        sizes.append(len(batch))
    assert sum(sizes) == 3000
    assert max(sizes) <= 500
    assert inbox.size == 0


def test_dialling_has_a_pace():
    """Some connections at once, then so many a second; who was quiet has the burst again."""
    pace = DialPace(LinkSettings(dials_at_once=3, dials_per_second=10))
    assert [round(pace.next(now=0.0), 3) for _ in range(5)] == [0, 0, 0, 0.1, 0.2]
    assert pace.next(now=60.0) == 0
