"""From the claim of a sandbox to the end of a session, whoever or whatever ends it."""

import asyncio

import msgspec
import pytest

from orchestrator.protocol.chat import (
    End,
    Ending,
    Prompt,
    Rename,
)
from orchestrator.protocol.control_events import (
    SandboxLost,
    SessionEnded,
    TurnStarted,
    UpstreamFailed,
    UsageMetered,
)
from orchestrator.protocol.event_parts import Usage
from orchestrator.protocol.sandbox_events import (
    PermissionRequested,
    PermissionWithdrawn,
    TextWritten,
    TurnEnded,
)
from orchestrator.sessions import errors
from orchestrator.testing.chat_client import decision_on
from orchestrator.testing.fake_agent import permission_request
from orchestrator.testing.session_world import ANNA, BERT, LIMITS, eventually


async def test_ready_sandbox_makes_an_idle_session(world):
    """With a sandbox ready, a session is idle when it is answered, after two writes at most."""
    session = await world.create(wait=False)
    assert (session.state, session.sandbox_id) == ("idle", "fake-1")
    assert world.database.appends == 1
    assert world.database.sessions[session.id].owner == "anna"


async def test_waiting_session_shows_its_place(make_world):
    """Whoever has to wait sees the place in the queue, and moves up."""
    world = make_world(size=1)
    first = await world.create()
    second, third = [await world.create(wait=False) for _ in range(2)]
    assert (second.place, third.place) == (1, 2)
    async with world.browser(third.id) as browser:
        await world.command(first.id, End())
        await browser.until(lambda b: b.view.place == 1)
        await world.command(second.id, End())
        await browser.until_state("idle")
        assert browser.view.place is None


async def test_refused_claim_leaves_no_session(make_world):
    """When the queue is full or the wait too long, the request fails and no session is left."""
    world = make_world(size=1, queue_limit=0, retry_after=7)
    await world.create()
    for wait in (True, False):
        with pytest.raises(errors.NoSandboxFree) as caught:
            await world.create(wait=wait)
        assert caught.value.retry_after == 7
    assert len(world.database.sessions) == 1
    assert world.sessions.in_memory == 1


async def test_waiting_too_long_fails_the_session(make_world):
    """A session that was answered as waiting and gets no sandbox ends with a reason."""
    world = make_world(size=1, patience=0.02)
    await world.create()
    session = await world.create(wait=False)
    async with world.browser(session.id) as browser:
        await browser.until_state("failed")
        assert browser.view.ending.tag == "no_sandbox_free"


async def test_cancelled_request_leaves_nothing(make_world):
    """Who gives up waiting leaves the queue, and neither a session nor a sandbox behind."""
    world = make_world(size=1)
    await world.create()
    request = asyncio.create_task(world.create(wait=True))
    await eventually(lambda: world.pool.waiting == 1)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await eventually(lambda: world.pool.waiting == 0 and len(world.database.sessions) == 1)
    assert world.sessions.in_memory == 1


async def test_ending_while_waiting_leaves_the_queue(make_world):
    """A waiting session can be ended, and takes no sandbox afterwards."""
    world = make_world(size=1)
    first = await world.create()
    second = await world.create(wait=False)
    await world.command(second.id, End())
    assert await world.state(second.id) == "ended"
    await world.command(first.id, End())
    assert len(world.pool.made) == 1


async def test_idempotency_key_makes_one_session(world):
    """The same owner's same key gives one session, at once or later; another owner's gives
    another."""
    one, two = await asyncio.gather(world.create(key="k"), world.create(key="k"))
    three = await world.create(key="k")
    assert one.id == two.id == three.id
    assert (await world.create(BERT, key="k")).id != one.id
    assert len(world.pool.made) == 2


async def test_twenty_at_once_on_a_pool_of_two(make_world):
    """Twenty sessions at once on two sandboxes: none fails, none is lost, the queue is fair."""
    world = make_world(size=2)
    served = []

    async def whole_session(number):
        session = await world.create(wait=False)
        await world.say(session.id, f"hello {number}")
        async with world.browser(session.id) as browser:
            await browser.until(lambda b: b.of(TurnEnded))
            served.append(number)
            await world.command(session.id, End())
        return session.id

    ids = await asyncio.gather(*(whole_session(number) for number in range(20)))
    assert len(set(ids)) == 20
    assert sorted(served) == list(range(20))
    assert world.pool.most_at_once == 2
    assert not world.pool.live
    assert [sandbox.session for sandbox in world.pool.made] == ids
    assert {record.state for record in world.database.sessions.values()} == {"ended"}
    await eventually(lambda: world.sessions.in_memory == 0)


async def test_too_many_sessions_are_refused(make_world):
    """A user's open sessions are bounded; another user is not in the way of it."""
    world = make_world(size=5, limits=msgspec.structs.replace(LIMITS, max_open_per_user=2))
    first, _ = [await world.create() for _ in range(2)]
    with pytest.raises(errors.TooManySessions):
        await world.create()
    await world.create(BERT)
    await world.command(first.id, End())
    await world.create()


async def test_unknown_profile_is_refused(world):
    """A profile that does not exist makes no session."""
    with pytest.raises(errors.UnknownProfile):
        await world.create(profile="nope")
    assert not world.database.sessions


async def test_end_destroys_the_sandbox_and_tells_all(world):
    """The end withdraws what was asked, closes the turn, destroys the sandbox and is written
    down."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!bash ls")
        await browser.until_state("asking")
        [request] = browser.view.permissions
        await world.command(session.id, End())
        assert world.pool.made[0].destroyed
        await browser.until_state("ended")
        assert browser.of(PermissionWithdrawn)
        assert browser.of(TurnEnded)[0].outcome == "interrupted"
        [ended] = browser.of(SessionEnded)
        assert (ended.tag, ended.by) == ("ended_by_user", "Anna")
        with pytest.raises(errors.AnswerTooLate):
            await world.command(session.id, decision_on(request, "allow"))
    assert world.database.sessions[session.id].state == "ended"


async def test_end_is_idempotent(make_world):
    """Ending again, at once or later, changes nothing and is no error."""
    world = make_world(destroy_seconds=0.02)
    session = await world.create()
    await asyncio.gather(*(world.command(session.id, End()) for _ in range(3)))
    await world.command(session.id, End())
    assert len([e for e in world.logged(session.id) if isinstance(e, SessionEnded)]) == 1


async def test_nothing_is_taken_while_ending(make_world):
    """Between the wish to end and the end no prompt is taken."""
    world = make_world(destroy_seconds=0.05)
    session = await world.create()
    ending = asyncio.create_task(world.command(session.id, End()))
    async with world.browser(session.id) as browser:
        await browser.until_state("ending")
        with pytest.raises(errors.SessionOver):
            await world.say(session.id, "hello")
        await ending


async def test_end_survives_a_sandbox_that_cannot_be_destroyed(make_world):
    """A sandbox that cannot be destroyed in time does not keep its session from ending."""
    world = make_world(
        destroy_seconds=60, limits=msgspec.structs.replace(LIMITS, destroy_seconds=0.02)
    )
    session = await world.create()
    await world.command(session.id, End())
    assert await world.state(session.id) == "ended"
    world.pool.live.clear()


async def test_sandbox_cannot_speak_for_the_control_plane(world):
    """What only the control plane says is not believed from a sandbox, however it is spelled."""
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        sandbox.say_raw(b'{"type":"session_ended","tag":"x","sentence":"y"}')
        sandbox.say_raw(b'{"type":"prompt_accepted","client_id":"c","text":"t","by":"Anna"}')
        sandbox.say_raw(b'{"type":"usage_metered","model":"m","usage":{},"cost_usd":-5}')
        smuggled = b'{"type":"text_written","message_id":"m","index":0,"text":"a","x":1}'
        sandbox.say_raw(smuggled)
        await browser.until(lambda b: b.of(TextWritten))
        assert browser.view.state == "idle"
        assert browser.view.cost_usd == 0
    tags = [entry.tag for entry in world.database.events[session.id]]
    assert tags == ["sandbox_assigned", *["unrecognised"] * 3, "text_written"]
    assert b'"x"' not in world.database.events[session.id][-1].body


async def test_sandbox_touches_its_own_session_only(world):
    """What one sandbox says reaches its own session and no other."""
    one, two = await world.create(), await world.create()
    async with world.browser(one.id) as first, world.browser(two.id) as second:
        world.pool.made[0].say(TextWritten(message_id="m", index=0, text="mine"))
        await first.until(lambda b: b.of(TextWritten))
        assert not second.of(TextWritten)
    assert len(world.logged(two.id)) == 1


async def test_flood_of_questions_costs_the_sandbox(world):
    """A sandbox that asks without bound is stopped, and nobody has to look at its questions."""
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        for number in range(1000):
            sandbox.say(permission_request(f"p{number}", "x", {}))
        await browser.until(lambda b: b.of(SandboxLost))
        assert browser.of(SandboxLost)[0].tag == "sandbox_misbehaved"
        assert not browser.of(PermissionRequested)
    await eventually(lambda: sandbox.destroyed)


async def test_questions_are_bounded_in_bytes(world):
    """A sandbox whose open questions together are huge is stopped as well."""
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        for number in range(9):
            huge = {"content": "x" * 1_000_000}
            sandbox.say(permission_request(f"p{number}", "Write", huge))
        await browser.until(lambda b: b.of(SandboxLost))
        assert browser.of(SandboxLost)[0].tag == "sandbox_misbehaved"


async def test_usage_is_counted_and_durable(world):
    """What the gateway metered shows in the view and is in the log and the stored record."""
    session = await world.create()
    usage = Usage(input_tokens=10, output_tokens=3)
    metered = UsageMetered(model="claude-test", usage=usage, cost_usd=0.25)
    async with world.browser(session.id) as browser:
        world.sessions.metered(session.id, metered)
        world.sessions.metered(session.id, metered)
        await browser.until(lambda b: b.view.cost_usd == 0.5)
        assert browser.view.usage == Usage(input_tokens=20, output_tokens=6)
    assert len([e for e in world.logged(session.id) if isinstance(e, UsageMetered)]) == 2
    await eventually(lambda: world.database.sessions[session.id].cost_usd == 0.5)


async def test_a_budget_is_the_sessions(make_world):
    """What a session has used of its tokens is told of each sandbox that it gets, also of its own
    one after a restart: none of them begins a new budget."""
    world = make_world()
    session = await world.create()
    usage = Usage(input_tokens=1, output_tokens=2, cache_read_tokens=4, cache_write_tokens=8)
    async with world.browser(session.id) as browser:
        world.sessions.metered(session.id, UsageMetered(model="m", usage=usage, cost_usd=0.1))
        await browser.until(lambda b: b.view.cost_usd > 0)
        world.pool.made[0].lose(Ending(tag="gone", sentence="Gone."))
        await eventually(lambda: len(world.pool.made) == 2)
        await browser.until_state("idle")
    assert [one.used_tokens for one in world.pool.made] == [0, 15]
    world.pool.made[1].used_tokens = 0
    await eventually(lambda: world.database.sessions[session.id].cost_usd > 0)
    world.pool.restart()
    world.sessions = world.new_process()
    await world.sessions.start()
    assert [one.used_tokens for one in world.pool.made] == [0, 15]


async def test_usage_that_comes_while_ending_is_counted(make_world):
    """What was metered while the sandbox is being destroyed is still counted."""
    world = make_world(destroy_seconds=0.03)
    session = await world.create()
    ending = asyncio.create_task(world.command(session.id, End()))
    async with world.browser(session.id) as browser:
        await browser.until_state("ending")
    world.sessions.metered(session.id, UsageMetered(model="m", usage=Usage(), cost_usd=1.0))
    await ending
    assert world.database.sessions[session.id].cost_usd == 1.0


async def test_late_usage_is_no_crash(world, caplog):
    """What is metered for a session that is gone is told in the log of the operator."""
    world.sessions.metered("gone", UsageMetered(model="m", usage=Usage(), cost_usd=1.0))
    world.sessions.upstream_failed("gone", UpstreamFailed(tag="t", sentence="s", advice="a"))
    assert "usage.came_late" in caplog.text


async def test_upstream_failure_is_shown(world):
    """What the gateway says of the model API is shown and kept; the session lives."""
    session = await world.create()
    failure = UpstreamFailed(tag="overloaded", sentence="s", advice="a", status=529)
    async with world.browser(session.id) as browser:
        world.sessions.upstream_failed(session.id, failure)
        await browser.until(lambda b: b.of(UpstreamFailed) == [failure])
        assert browser.view.state == "idle"


async def test_session_that_is_made_during_a_shutdown_is_refused(world):
    """A request that is half-way when the shutdown begins leaves no session and no sandbox."""
    add, reached, go_on = world.store.add, asyncio.Event(), asyncio.Event()

    async def slow_add(record):
        reached.set()
        await go_on.wait()
        await add(record)

    world.store.add = slow_add
    request = asyncio.create_task(world.create())
    await reached.wait()
    await world.sessions.close()
    go_on.set()
    with pytest.raises(errors.ShuttingDown):
        await request
    assert not world.pool.made
    assert not world.database.sessions


async def test_close_is_bounded(make_world):
    """A sandbox that hangs cannot hold up a shutdown."""
    limits = msgspec.structs.replace(LIMITS, close_seconds=0.05, destroy_seconds=0.05)
    world = make_world(destroy_seconds=60, limits=limits)
    await world.create()
    async with asyncio.timeout(2):
        await world.sessions.close()
    world.pool.live.clear()


async def test_broken_storage_refuses_a_command(world):
    """A command that cannot be written down is refused, and nothing happened."""
    session = await world.create()
    world.database.broken = True
    with pytest.raises(errors.StorageFailed):
        await world.say(session.id, "hello")
    world.database.broken = False
    assert world.pool.made[0].sent == []
    async with world.browser(session.id) as browser:
        await world.say(session.id, "hello")
        await browser.until(lambda b: b.of(TurnEnded))


async def test_storage_that_recovers_loses_nothing(world):
    """An append that fails for a moment is tried again, and the stream goes on without a gap."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        world.database.broken = True
        world.pool.made[0].say(TextWritten(message_id="m", index=0, text="kept"))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.002, setattr, world.database, "broken", False)
        await browser.until(lambda b: b.of(TextWritten))
        assert browser.view.state == "idle"
    assert [e.text for e in world.logged(session.id) if isinstance(e, TextWritten)] == ["kept"]


async def test_write_that_was_made_and_not_told_is_not_made_twice(world):
    """A database that fails after it wrote: the event is there once, and the session goes on."""
    session = await world.create()
    append, failures = world.log.append, [1]

    async def append_and_fail(*args):
        await append(*args)
        if failures:
            failures.pop()
            raise errors.StorageFailed

    world.log.append = append_and_fail
    async with world.browser(session.id) as browser:
        world.pool.made[0].say(TextWritten(message_id="m", index=0, text="once"))
        await browser.until(lambda b: b.of(TextWritten))
        assert browser.view.state == "idle"
    assert len([e for e in world.logged(session.id) if isinstance(e, TextWritten)]) == 1


async def test_storage_that_stays_broken_ends_the_session(world):
    """When the log refuses for good, the session ends, its people are told and its sandbox is
    gone."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        world.database.broken = True
        world.pool.made[0].say(TextWritten(message_id="m", index=0, text="lost"))
        await browser.until_state("failed")
        assert browser.view.ending.tag == "storage_failed"
        assert not browser.of(TextWritten)
    await eventually(lambda: world.pool.made[0].destroyed)
    world.database.broken = False


async def test_requester_who_goes_away_leaves_the_log_whole(world):
    """A command whose requester is cancelled is carried out whole or not at all."""
    session = await world.create()
    append = world.log.append

    async def slow_append(*args):
        await asyncio.sleep(0.005)
        await append(*args)

    world.log.append = slow_append
    request = asyncio.create_task(world.say(session.id, "hello"))
    await asyncio.sleep(0.001)
    request.cancel()
    async with world.browser(session.id) as browser:
        await browser.until(lambda b: b.of(TurnEnded))
        assert len(browser.of(TurnStarted)) == 1


async def test_pages_follow_the_cursor(make_world):
    """The list is newest first, in pages, with live states; a made-up cursor is refused."""
    world = make_world(size=9)
    ids = [(await world.create()).id for _ in range(5)]
    await world.create(BERT)
    seen, cursor = [], None
    while True:
        page = await world.sessions.page(ANNA, limit=2, cursor=cursor)
        seen += [view.id for view in page.sessions]
        if (cursor := page.next_cursor) is None:
            break
    assert sorted(seen) == sorted(ids)
    assert len(seen) == 5
    for made_up in ("nonsense", "!!", "W10=", "é"):
        with pytest.raises(errors.BadCursor):
            await world.sessions.page(ANNA, limit=2, cursor=made_up)


async def test_ended_session_can_be_renamed(world):
    """The title of a session of the past may still be changed."""
    session = await world.create()
    await world.command(session.id, End())
    await world.command(session.id, Rename(title="Old one"))
    assert (await world.sessions.view(ANNA, session.id)).title == "Old one"
    assert world.sessions.in_memory == 0


async def test_listener_that_raises_harms_nobody(make_world):
    """A listener hears of every event and state; one that raises does not break the session."""
    heard = []

    class Listener:
        def happened(self, session, event):
            heard.append(type(event).__name__)
            raise ValueError

        def state_changed(self, session, *, before, after):
            heard.append((before, after))

    world = make_world(listeners=(Listener(),))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "hello")
        await browser.until(lambda b: b.of(TurnEnded))
    assert (None, "waiting") in heard
    assert "TurnStarted" in heard


async def test_no_tasks_are_left(make_world):
    """When its last session has ended, nothing runs on behalf of any."""
    world = make_world()
    sessions = [await world.create() for _ in range(2)]
    for session in sessions:
        await world.command(session.id, Prompt(client_id="c", text="hello"))
        await world.command(session.id, End())

    def left():
        return [t for t in asyncio.all_tasks() if t.get_name().startswith("session-")]

    await eventually(lambda: not left())
