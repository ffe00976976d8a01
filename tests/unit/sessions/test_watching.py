"""The watch at work: what it tells how often, also after a restart and against an unlucky world."""

import asyncio

import msgspec

from orchestrator.protocol.chat import Hibernate, Stop
from orchestrator.protocol.control_events import (
    LimitNear,
    LimitReached,
    OutOfMemory,
    SandboxAssigned,
    SandboxLost,
)
from orchestrator.protocol.sandbox_events import (
    MemoryMeasured,
    NoteWritten,
    StorageMeasured,
    TurnEnded,
)
from orchestrator.sessions.profiles import Lifetimes
from orchestrator.testing.chat_client import decision_on
from orchestrator.testing.fake_agent import permission_request
from orchestrator.testing.session_world import LIMITS, PROFILE, eventually

replace = msgspec.structs.replace
WATCH = "orchestrator.sessions.watch.watch"
NEARLY_FULL = MemoryMeasured(usage=100, working_set=99, limit=100)


def profile(**lifetimes):
    return replace(PROFILE, lifetimes=Lifetimes(**lifetimes))


async def killed(world):
    """The control plane is gone without a word, its sandboxes live on, and it is started anew."""
    world.pool.restart()
    for task in asyncio.all_tasks():
        if task.get_name().startswith("session-"):
            task.cancel()
    world.sessions = world.new_process()
    await world.sessions.start()


async def one_turn(world, browser, session_id, text="hello"):
    before = len(browser.of(TurnEnded))
    await world.say(session_id, text, client_id=f"c{before}-{text[:40]}")
    await browser.until(lambda b: len(b.of(TurnEnded)) > before and b.view.state == "idle")


async def test_turn_of_an_adopted_sandbox_is_limited(make_world):
    """A turn that was running when the control plane was killed has its time like any other: it
    counts anew."""
    world = make_world(profile=profile(turn=0.3))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30")
        await browser.until_state("running")
    await killed(world)
    async with world.browser(session.id) as browser:
        await browser.until(lambda b: b.of(TurnEnded))
        assert [e.limit for e in browser.of(LimitReached)] == ["turn_time"]


async def test_turn_that_waited_over_night_is_limited(make_world):
    """So has one that goes on after its question was answered, in another sandbox and another
    run; the time that it waited does not count."""
    world = make_world(profile=profile(turn=0.4))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!bash ls\n!slow 30")
        await browser.until_state("asking")
        await world.command(session.id, Hibernate())
        await browser.until_state("hibernated")
    await eventually(lambda: world.sessions.in_memory == 0)
    async with world.browser(session.id) as browser:
        await browser.until_state("asking")
        await asyncio.sleep(0.5)
        assert not browser.of(LimitReached)
        [asked] = browser.view.permissions
        await world.command(session.id, decision_on(asked, "allow"))
        await browser.until(lambda b: b.of(TurnEnded))
        assert [e.limit for e in browser.of(LimitReached)] == ["turn_time"]


async def test_stop_that_does_not_help_after_a_restart(make_world, monkeypatch):
    """A turn that was to be stopped and does not end loses its sandbox, also where the stop was
    asked for in an earlier run, and it is said once."""
    monkeypatch.setattr(f"{WATCH}.INTERRUPT_SECONDS", 0.1)
    world = make_world(profile=profile(turn=0.05))
    session = await world.create()

    async def deaf(_turn_id):
        return

    sandbox = world.pool.made[0]
    sandbox.agent.interrupt = deaf
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30")
        await browser.until_state("running")
        await world.command(session.id, Stop())
    await killed(world)
    async with world.browser(session.id) as browser:
        for _ in range(5):
            sandbox.say(MemoryMeasured(usage=1, working_set=1, limit=100))
            await asyncio.sleep(0.01)
        await browser.until(lambda b: b.of(SandboxLost))
        assert len(browser.of(LimitReached)) == 1


async def test_slow_kill_is_told_once(make_world, monkeypatch):
    """However slowly the engine takes a sandbox away, and whatever is measured meanwhile."""
    monkeypatch.setattr(f"{WATCH}.INTERRUPT_SECONDS", 0.05)
    world = make_world(profile=profile(turn=0.05))
    session = await world.create()
    sandbox, may_go = world.pool.made[0], asyncio.Event()
    destroy = sandbox.destroy

    async def deaf(_turn_id):
        return

    async def slow():
        await may_go.wait()
        await destroy()

    sandbox.agent.interrupt, sandbox.destroy = deaf, slow
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30")
        await browser.until(lambda b: len(b.of(LimitReached)) == 2)
        for _ in range(5):
            sandbox.say(MemoryMeasured(usage=1, working_set=1, limit=100))
            await asyncio.sleep(0.01)
        may_go.set()
        await browser.until(lambda b: b.of(SandboxLost))
        assert len(browser.of(LimitReached)) == 2


async def test_kills_for_memory_are_told_once_in_a_while(world):
    """A program that is killed for its memory over and over does not fill the log, and a database
    that refuses once does not end the watch."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        for _ in range(20):
            world.pool.made[0].run_out_of_memory()
        await browser.until(lambda b: b.of(OutOfMemory))
        world.pool.made[0].say(NoteWritten(text="later"))
        await browser.until(lambda b: b.of(NoteWritten))
        assert len(browser.of(OutOfMemory)) == 1


async def test_sandbox_is_not_exchanged_for_what_was_put_into_it(make_world, monkeypatch):
    """Memory and home that are full as soon as they are filled would be full in the next one,
    too: it stays, is warned of, and rests like any other."""
    monkeypatch.setattr("orchestrator.sessions.watch.situation.SETTLING_SECONDS", 0.0)
    world = make_world(size=1, profile=profile(freeze_after=None, hibernate_after=0.5))
    session = await world.create()
    home = StorageMeasured(home_used=99, home_size=100, workspace_used=0, workspace_size=100)
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        world.pool.made[0].say(NEARLY_FULL)
        await browser.until(lambda b: [e.reason for e in b.of(SandboxAssigned)][1:] == ["recycled"])
        for _ in range(3):
            world.pool.made[1].say(NEARLY_FULL)
            world.pool.made[1].say(home)
        await browser.until_state("hibernated")
        assert len(world.pool.made) == 2
        assert {e.limit for e in browser.of(LimitNear)} >= {"memory", "home"}


async def test_record_that_nears_its_bound_is_warned_of(make_world):
    """Before a conversation is as large as is kept of one, its people are told, once."""
    world = make_world(limits=replace(LIMITS, log_bytes=10_000))
    session = await world.create()
    async with world.browser(session.id) as browser:
        for _ in range(2):
            for _ in range(4):
                world.pool.made[0].say(NoteWritten(text="x" * 1000))
            world.pool.made[0].say(MemoryMeasured(usage=1, working_set=1, limit=100))
            count = len(browser.of(NoteWritten))
            await browser.until(lambda b, more=count: len(b.of(NoteWritten)) >= more + 4)
        await browser.until(lambda b: b.of(LimitNear))
        world.pool.made[0].say(MemoryMeasured(usage=2, working_set=2, limit=100))
        await browser.until(lambda b: b.view.memory_bytes == 2)
        assert [e.limit for e in browser.of(LimitNear)] == ["transcript"]


async def test_transcript_that_nears_its_bound_is_warned_of(make_world):
    """The agent's transcript has a bound of its own."""
    world = make_world(limits=replace(LIMITS, transcript_bytes=12_000))
    session = await world.create()
    async with world.browser(session.id) as browser:
        for number in range(1, 30):
            await one_turn(world, browser, session.id, f"!say 1 words\n{number}")
            world.pool.made[0].say(MemoryMeasured(usage=number, working_set=1, limit=100))
            if browser.of(LimitNear):
                break
        await browser.until(lambda b: b.of(LimitNear))
        assert [e.limit for e in browser.of(LimitNear)] == ["transcript"]


async def test_questions_that_keep_their_sandbox_do_not_silence_warnings(make_world):
    """A session that cannot hibernate because it asks several things is still told of its end."""
    world = make_world(profile=profile(freeze_after=None, hibernate_after=0.05, session=1.0))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30")
        for number in range(2):
            world.pool.made[0].say(permission_request(f"p{number}", "Bash", {}))
        await browser.until(lambda b: b.of(LimitNear))
        assert browser.view.state == "asking"
        assert [e.limit for e in browser.of(LimitNear)] == ["session_age"]
