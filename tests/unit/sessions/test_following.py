"""Following a session: replay, snapshots, several tabs, slow ones."""

import asyncio

import msgspec
import pytest

from orchestrator.protocol.chat import End, Events, Resume, SessionChanged, Snapshot
from orchestrator.protocol.sandbox_events import BlockDelta, MemoryMeasured, TextWritten, TurnEnded
from orchestrator.sessions import errors
from orchestrator.testing.session_world import ANNA, LIMITS, eventually


async def one_turn(world, session_id, text):
    async with world.browser(session_id) as browser:
        before = len(browser.of(TurnEnded))
        await world.say(session_id, text)
        await browser.until(lambda b: len(b.of(TurnEnded)) > before)
        await browser.until(lambda b: b.view.checkpoint_id)
        return browser


async def test_first_visit_gets_a_snapshot(world):
    """Who comes for the first time gets the session as it is, with its epoch."""
    session = await world.create()
    await one_turn(world, session.id, "hello")
    async with world.browser(session.id) as browser:
        [snapshot] = browser.frames
        assert isinstance(snapshot, Snapshot)
        assert snapshot.epoch
        assert not snapshot.earlier
        assert browser.of(TextWritten)
        assert not browser.of(BlockDelta)


async def test_reconnect_gets_exactly_what_was_missed(world):
    """Who comes back gets every event after the last one seen, once, transient ones included."""
    session = await world.create()
    watcher = await one_turn(world, session.id, "hello")
    async with world.browser(session.id, seq=3, epoch=watcher.epoch) as browser:
        assert isinstance(browser.frames[0], Events)
        await browser.until(lambda b: b.seq == watcher.seq)
        assert browser.seqs == list(range(4, watcher.seq + 1))
        assert browser.epoch == watcher.epoch
        assert browser.of(BlockDelta)


async def test_reconnect_that_missed_nothing_names_the_epoch(world):
    """Who missed nothing gets an empty frame with the epoch, and the view."""
    session = await world.create()
    watcher = await one_turn(world, session.id, "hello")
    async with world.browser(session.id, seq=watcher.seq, epoch=watcher.epoch) as browser:
        await browser.until(lambda b: len(b.frames) == 2)
        assert browser.frames[0] == Events(seq=watcher.seq, events=[], epoch=watcher.epoch)
        assert isinstance(browser.frames[1], SessionChanged)


@pytest.mark.parametrize("resume", [(3, "of another process"), (10_000, None), (-5, None)])
async def test_resume_that_cannot_be_served_gets_a_snapshot(world, resume):
    """Another epoch, a seq of the future or before the first: a snapshot, never a gap."""
    session = await world.create()
    watcher = await one_turn(world, session.id, "hello")
    seq, epoch = resume
    async with world.browser(session.id, seq=seq, epoch=epoch or watcher.epoch) as browser:
        assert isinstance(browser.frames[0], Snapshot)


async def test_too_far_behind_gets_a_snapshot(make_world):
    """What the ring no longer holds comes as a snapshot."""
    world = make_world(limits=msgspec.structs.replace(LIMITS, ring_events=4))
    session = await world.create()
    watcher = await one_turn(world, session.id, "!say 200 words")
    async with world.browser(session.id, seq=2, epoch=watcher.epoch) as browser:
        assert isinstance(browser.frames[0], Snapshot)
        assert browser.frames[0].seq == watcher.seq


async def test_snapshot_holds_the_unfinished_text(world):
    """Who joins in the middle of a block gets its text so far as one delta, and the rest live."""
    session = await world.create()
    sandbox = world.pool.made[0]

    def delta(offset, text):
        return BlockDelta(message_id="m", index=0, kind="text", offset=offset, text=text)

    async with world.browser(session.id) as first:
        sandbox.say(delta(0, "Hel"))
        sandbox.say(delta(3, "lo"))
        await first.until(lambda b: len(b.of(BlockDelta)) == 2)
        async with world.browser(session.id) as second:
            assert [event.text for event in second.of(BlockDelta)] == ["Hello"]
            sandbox.say(delta(5, "!"))
            await second.until(lambda b: len(b.of(BlockDelta)) == 2)
            assert second.events[-1].offset == 5


async def test_long_log_comes_in_parts(make_world):
    """A snapshot holds the latest events and says that there are earlier ones; history has them
    all."""
    world = make_world(limits=msgspec.structs.replace(LIMITS, snapshot_events=5))
    session = await world.create()
    for number in range(4):
        await one_turn(world, session.id, f"prompt {number}")
    async with world.browser(session.id) as browser:
        assert len(browser.events) == 5
        assert browser.frames[0].earlier
        seqs = browser.seqs
    earlier = True
    while earlier:
        events, earlier = await world.sessions.history(ANNA, session.id, before=seqs[0], limit=3)
        seqs = [event.seq for event in events] + seqs
    assert seqs == [entry.seq for entry in world.database.events[session.id]]


async def test_all_tabs_see_the_same_bytes(world):
    """Any number of followers get the very same frames."""
    session = await world.create()
    async with (
        world.browser(session.id) as one,
        world.browser(session.id) as two,
        world.browser(session.id) as three,
    ):
        await world.say(session.id, "!say 300 words\n!bash ls")
        for browser in (one, two, three):
            await browser.until(lambda b: b.view.state == "asking" and b.view.permissions)
        assert one.raw[1:] == two.raw[1:] == three.raw[1:]


async def test_burst_travels_in_one_frame(world):
    """What happens within one tick of the loop is sent as one frame."""
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        for n in range(500):
            sandbox.say(BlockDelta(message_id="m", index=0, kind="text", offset=n, text="x"))
        await browser.until(lambda b: len(b.of(BlockDelta)) == 500)
        assert len([f for f in browser.frames if isinstance(f, Events)]) == 1


async def test_big_burst_is_sent_in_pieces(make_world):
    """No frame grows far beyond its bound, and no event is lost on the border."""
    world = make_world(limits=msgspec.structs.replace(LIMITS, frame_bytes=1000))
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        for n in range(50):
            sandbox.say(TextWritten(message_id=f"m{n}", index=0, text="x" * 300))
        await browser.until(lambda b: len(b.of(TextWritten)) == 50)
        assert max(len(raw) for raw in browser.raw) < 3000
        assert browser.seqs == list(range(browser.seqs[0], browser.seqs[0] + len(browser.seqs)))


async def test_slow_follower_is_dropped_and_may_resume(make_world):
    """Who does not read is dropped with a reason; the others are not held up, and it may resume."""
    world = make_world(limits=msgspec.structs.replace(LIMITS, follower_frames=5))
    session = await world.create()
    sandbox = world.pool.made[0]
    async with (
        world.sessions.attach(ANNA, session.id, Resume()) as sleeper,
        world.browser(session.id) as reader,
    ):
        epoch = reader.epoch
        for n in range(20):
            sandbox.say(TextWritten(message_id=f"m{n}", index=0, text="x"))
            await reader.until(lambda b, n=n: len(b.of(TextWritten)) == n + 1)
        assert [frame async for frame in sleeper] == []
        assert sleeper.dropped.tag == "too_slow"
        async with world.browser(session.id, seq=1, epoch=epoch) as resumed:
            await resumed.until(lambda b: len(b.of(TextWritten)) == 20)


async def test_slow_follower_is_bounded_in_bytes(make_world):
    """A stalled connection cannot make the control plane hold more than its share."""
    world = make_world(limits=msgspec.structs.replace(LIMITS, follower_bytes=10_000))
    session = await world.create()
    sandbox = world.pool.made[0]
    async with (
        world.sessions.attach(ANNA, session.id, Resume()) as sleeper,
        world.browser(session.id) as reader,
    ):
        for n in range(5):
            sandbox.say(TextWritten(message_id=f"m{n}", index=0, text="x" * 9000))
            await reader.until(lambda b, n=n: len(b.of(TextWritten)) == n + 1)
        assert sleeper.dropped.tag == "too_slow"


async def test_memory_is_shown_and_not_logged(world):
    """The sandbox's memory shows in the view and leaves no trace in the log."""
    session = await world.create()
    before = len(world.logged(session.id))
    async with world.browser(session.id) as browser:
        world.pool.made[0].say(MemoryMeasured(usage=7, working_set=5, limit=9))
        await browser.until(lambda b: (b.view.memory_bytes, b.view.memory_limit) == (7, 9))
    assert len(world.logged(session.id)) == before


async def test_ended_session_is_read_from_the_log(world):
    """An ended session is served from the log, and leaves memory with its last follower."""
    session = await world.create()
    await one_turn(world, session.id, "hello")
    await world.command(session.id, End())
    assert world.sessions.in_memory == 0
    async with world.browser(session.id) as browser:
        assert browser.view.state == "ended"
        assert browser.of(TextWritten)
        with pytest.raises(errors.SessionOver):
            await world.say(session.id, "more")
        await world.say(session.id, "hello")  # was sent before, so nothing happens
        assert world.sessions.in_memory == 1
    assert world.sessions.in_memory == 0


async def test_follower_that_stays_sees_the_end(world):
    """Who follows while the session ends sees the end, and the session leaves memory after them."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.command(session.id, End())
        await browser.until_state("ended")
        assert world.sessions.in_memory == 1
    await eventually(lambda: world.sessions.in_memory == 0)


async def test_attach_during_a_stream_has_no_gap(world):
    """Whoever attaches at any moment of a stream sees the same text in the end."""
    session = await world.create()
    reads = world.log.read

    async def slow_read(*args, **kwargs):
        await asyncio.sleep(0.002)
        return await reads(*args, **kwargs)

    world.log.read = slow_read
    seen = []

    async def visit():
        async with world.browser(session.id) as browser:
            await browser.until(lambda b: b.of(TurnEnded))
            seen.append([event.text for event in browser.of(TextWritten)])

    async with world.browser(session.id) as browser:
        await world.say(session.id, "!say 2000 words")
        visits = [asyncio.create_task(visit()) for _ in range(5)]
        await browser.until(lambda b: b.of(TurnEnded))
        await asyncio.gather(*visits)
    assert len({tuple(texts) for texts in seen}) == 1
