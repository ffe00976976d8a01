import asyncio
import time

import msgspec
import pytest
from shim.link import FRAME_BYTES, FRAME_ITEMS, frames
from shim.outbox import EventOutbox

from orchestrator.protocol.link import MAX_FRAME_BYTES, Batch, Numbered, link_codec
from orchestrator.protocol.sandbox_events import BlockDelta, NoteWritten


def note(size: int = 10) -> NoteWritten:
    return NoteWritten(text="x" * size)


def delta() -> BlockDelta:
    return BlockDelta(message_id="m", index=0, kind="text", offset=0, text="x")


async def test_what_is_not_acknowledged_is_sent_again():
    """After a break everything that the other side does not hold is unsent again, in order."""
    outbox = EventOutbox()
    for _ in range(4):
        outbox.say(note())
    assert [item.n for item in outbox.take_unsent()] == [1, 2, 3, 4]
    assert outbox.take_unsent() == []
    outbox.acknowledge(2)
    outbox.rewind()
    outbox.say(note())
    assert [item.n for item in outbox.take_unsent()] == [3, 4, 5]


async def test_transient_events_are_left_out_first():
    """With the control plane away, deltas are dropped and durable events kept."""
    outbox = EventOutbox(soft=100)
    outbox.say(note(200))
    outbox.say(delta())
    outbox.say(note())
    assert [item.n for item in outbox.take_unsent()] == [1, 2]


async def test_a_full_outbox_stops_the_reading_until_there_is_room():
    """Nothing durable is ever dropped: the agent waits instead."""
    outbox = EventOutbox(hard=100)
    await asyncio.wait_for(outbox.room(), 1)
    outbox.say(note(200))
    waiting = asyncio.create_task(outbox.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    outbox.acknowledge(1)
    await asyncio.wait_for(waiting, 1)


@pytest.mark.parametrize("size", [1, FRAME_BYTES // 3, FRAME_BYTES + 5])
def test_frames_keep_order_and_bounds(size: int):
    """However much has gathered, frames hold it in order and within the link's limit."""
    items = [Numbered(n, msgspec.Raw(b'"' + b"x" * size + b'"')) for n in range(1, 8)]
    sent = list(frames(items))
    assert [item.n for frame in sent for item in frame] == list(range(1, 8))
    for frame in sent:
        assert len(link_codec.encode(Batch(items=frame, acknowledged=1 << 50))) < MAX_FRAME_BYTES


def test_frames_have_a_bounded_number_of_items():
    """Many small events are shared out over several frames."""
    items = [Numbered(n, msgspec.Raw(b"1")) for n in range(FRAME_ITEMS * 2 + 1)]
    assert [len(frame) for frame in frames(items)] == [FRAME_ITEMS, FRAME_ITEMS, 1]


async def test_many_events_cost_little():
    """Ten thousand events, sent one by one and never acknowledged, take well under a second."""
    outbox = EventOutbox()
    began = time.monotonic()
    for _ in range(10_000):
        outbox.say(delta())
        outbox.take_unsent()
    assert time.monotonic() - began < 2
