"""Two things at one moment: a sandbox that speaks when it is no longer asked, people who are
quicker than what is under way, a database that answers too late."""

import asyncio
import contextlib

import msgspec
import pytest

from orchestrator.protocol.chat import End, Ending, GoBack, Hibernate, Stop
from orchestrator.protocol.control_events import (
    LimitReached,
    OutOfMemory,
    SandboxAssigned,
    SandboxLost,
    SessionHibernated,
    WentBack,
)
from orchestrator.protocol.sandbox_events import (
    AgentDied,
    MemoryMeasured,
    TextWritten,
    TurnEnded,
)
from orchestrator.sessions.errors import RuleBroken, StorageFailed
from orchestrator.sessions.profiles import Lifetimes
from orchestrator.testing.chat_client import decision_on
from orchestrator.testing.fake_agent import permission_request
from orchestrator.testing.fake_sandbox import FakeSandbox
from orchestrator.testing.session_world import ANNA, LIMITS, PROFILE, eventually

replace = msgspec.structs.replace
GIB = 1 << 30


class Held:
    """An awaited call that is stopped, until it is let go; then it does what it did before."""

    def __init__(self, owner, name, *, after=False):
        self._owner, self._name, self._after = owner, name, after
        self._work = getattr(owner, name)
        self.reached, self._go = asyncio.Event(), asyncio.Event()
        setattr(owner, name, self)

    async def __call__(self, *args, **kwargs):
        if self._after:
            result = await self._work(*args, **kwargs)
        self.reached.set()
        await self._go.wait()
        return result if self._after else await self._work(*args, **kwargs)

    async def came(self):
        async with asyncio.timeout(2):
            await self.reached.wait()

    def let_go(self):
        setattr(self._owner, self._name, self._work)
        self._go.set()


async def one_turn(world, browser, session_id, text="hello"):
    before = len(browser.of(TurnEnded))
    await world.say(session_id, text)
    await browser.until(lambda b: len(b.of(TurnEnded)) > before and b.view.state == "idle")


async def kept(browser, before=""):
    """Until there is another checkpoint."""
    await browser.until(lambda b: b.view.checkpoint_id not in {"", before})
    return browser.view.checkpoint_id


async def put_to_sleep(world, browser, session_id):
    await world.command(session_id, Hibernate())
    await browser.until_state("hibernated")


async def killed(world):
    world.pool.restart()
    world.sessions = world.new_process()
    await world.sessions.start()


# --- a sandbox that was left speaks on ---------------------------------------------------------


async def test_sandbox_that_was_exchanged_is_not_heard(make_world):
    """What the old sandbox still says counts for nothing in the new one: neither its words nor its
    numbers nor its memory."""
    world = make_world(size=2)
    session = await world.create()
    old = world.pool.made[0]
    destroying = Held(old, "destroy")
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        old.say(MemoryMeasured(usage=GIB, limit=GIB, working_set=GIB, oom_kills=0))
        await destroying.came()
        await browser.until(lambda b: len(b.of(SandboxAssigned)) == 2)
        for _ in range(50):
            old.say(TextWritten(message_id="late", index=0, text="late"))
        old.say(MemoryMeasured(usage=GIB, limit=GIB, working_set=GIB, oom_kills=0))
        await asyncio.sleep(0.05)
        destroying.let_go()
        await one_turn(world, browser, session.id, "more")
        assert "late" not in [e.message_id for e in browser.of(TextWritten)]
        assert len(browser.of(LimitReached)) == 1
    new = world.pool.made[1]
    await eventually(lambda: new.acknowledged)
    assert await world.log.last_sandbox_n(session.id) <= new.acknowledged


async def test_sandbox_that_was_put_to_rest_asks_no_more(make_world):
    """A question that comes after the session went to sleep is open nowhere."""
    world = make_world()
    session = await world.create()
    sandbox = world.pool.made[0]
    destroying = Held(sandbox, "destroy")
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        await put_to_sleep(world, browser, session.id)
        await destroying.came()
        sandbox.say(permission_request("late", "Bash", {"command": "ls"}))
        await asyncio.sleep(0.02)
        destroying.let_go()
        await eventually(lambda: not world.pool.live)
        assert not browser.view.permissions
        assert isinstance(world.logged(session.id)[-1], SessionHibernated)


# --- something is done while it is about to rest ------------------------------------------------


async def test_files_of_an_answer_given_while_it_goes_to_sleep_are_kept(world):
    """A question answered while its session is about to sleep: what the tool then did is kept."""
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        await world.say(session.id, "!bash touch a")
        await browser.until_state("asking")
        storing = Held(world.checkpoints, "add")
        sandbox.workspace.files["before"] = b""
        await world.command(session.id, Hibernate())
        await storing.came()
        sandbox.workspace.files["a"] = b"made by the tool"
        await world.command(session.id, decision_on(browser.view.permissions[0], "allow"))
        await browser.until_state("idle")
        storing.let_go()
        await browser.until_state("hibernated")
    async with world.browser(session.id) as browser:
        await browser.until_state("idle")
        files = world.pool.made[-1].workspace.files
        assert files == {"before": b"", "a": b"made by the tool"}


async def test_upload_while_it_goes_to_sleep_is_kept(world):
    """A file that was uploaded while its session is about to sleep is there when it wakes."""
    session = await world.create()
    sandbox = world.pool.made[0]

    async def content():
        yield b"uploaded"

    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        sandbox.workspace.files["before"] = b""
        storing = Held(world.checkpoints, "add")
        await world.command(session.id, Hibernate())
        await storing.came()
        await world.sessions.files.upload(
            ANNA, session.id, "up", content(), size=8, overwrite=False
        )
        storing.let_go()
        await browser.until_state("hibernated")
        await world.say(session.id, "good morning")
        await browser.until_state("idle")
        assert set(world.pool.made[-1].workspace.files) == {"before", "up"}


async def test_host_pressure_breaks_off_no_download(make_world):
    """A session whose files are on their way is not put to rest because the machine is short."""
    world = make_world()
    session = await world.create()
    world.pool.made[0].workspace.files["a"] = b"a" * 100
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
    download = await world.sessions.files.download(ANNA, session.id, "a")
    assert not world.sessions._in_memory.get(session.id).may_hibernate
    await download.close()
    assert await world.sessions.hibernate_least_recent()


async def test_stopped_question_does_not_come_back(make_world):
    """A turn that somebody stopped is over, also where its sandbox died before it heard of that."""
    world = make_world()
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        await world.say(session.id, "!bash ls")
        await browser.until_state("asking")

        async def deaf(_turn_id):
            pass

        sandbox.agent.interrupt = deaf
        await world.command(session.id, Stop())
        sandbox.lose(Ending(tag="gone", sentence="Gone."))
        await browser.until_state("idle")
        assert browser.of(TurnEnded)[-1].outcome == "interrupted"
        assert not browser.view.permissions
        assert browser.view.unfinished is None


# --- going back --------------------------------------------------------------------------------


async def with_two_checkpoints(world, browser, session_id):
    """The ids of one with file `a` as 1, and one with it as 2."""
    files = world.pool.made[-1].workspace.files
    files["a"] = b"1"
    await one_turn(world, browser, session_id, "one")
    first = await kept(browser)
    files["a"] = b"2"
    await one_turn(world, browser, session_id, "two")
    return first, await kept(browser, first)


async def test_killed_while_going_back_does_not_go_on_in_the_present(make_world):
    """Killed when it is written that the session went back: its old sandbox, which still has the
    present, is not its own any more."""
    world = make_world(size=2)
    session = await world.create()
    async with world.browser(session.id) as browser:
        first, _ = await with_two_checkpoints(world, browser, session.id)
    destroying, claiming = Held(world.pool.made[0], "destroy"), Held(world.pool, "claim")
    await world.command(session.id, GoBack(checkpoint_id=first))
    await claiming.came()
    world.pool.claim, world.pool.made[0].destroy = claiming._work, destroying._work
    await killed(world)
    async with world.browser(session.id) as browser:
        await browser.until_state("idle")
        assert world.pool.made[-1].workspace.files == {"a": b"1"}
        await one_turn(world, browser, session.id, "three")
        assert b"two" not in (world.pool.made[-1].agent.loaded or b"")


async def test_same_files_again_after_going_back(make_world):
    """Who goes back and does the same once more has the files of that, also after a sleep."""
    world = make_world(size=2)
    session = await world.create()
    async with world.browser(session.id) as browser:
        first, _ = await with_two_checkpoints(world, browser, session.id)
        await world.command(session.id, GoBack(checkpoint_id=first))
        await browser.until(lambda b: b.of(WentBack) and b.view.state == "idle")
        world.pool.made[-1].workspace.files["a"] = b"2"
        await one_turn(world, browser, session.id, "two again")
        await put_to_sleep(world, browser, session.id)
    async with world.browser(session.id) as browser:
        await browser.until_state("idle")
        assert world.pool.made[-1].workspace.files == {"a": b"2"}


async def test_checkpoint_that_was_kept_and_not_told_counts(make_world):
    """Killed between a checkpoint and the event that tells of it, after going back: it is what the
    session wakes with."""
    world = make_world(size=2)
    session = await world.create()
    async with world.browser(session.id) as browser:
        first, _ = await with_two_checkpoints(world, browser, session.id)
        await world.command(session.id, GoBack(checkpoint_id=first))
        await browser.until(lambda b: b.of(WentBack) and b.view.state == "idle")
        world.pool.made[-1].workspace.files["a"] = b"3"
        storing = Held(world.checkpoints, "add", after=True)
        await world.say(session.id, "three")
        await storing.came()
        world.checkpoints.add = storing._work
    world.pool.restart()
    world.pool._left.clear()
    for sandbox in list(world.pool.live):
        sandbox.lose(Ending(tag="gone", sentence="Gone."))
        world.pool.live.discard(sandbox)
    world.sessions = world.new_process()
    await world.sessions.start()
    async with world.browser(session.id) as browser:
        await browser.until_state("idle")
        assert world.pool.made[-1].workspace.files == {"a": b"3"}


async def test_waking_while_somebody_goes_back(make_world):
    """One person goes back in a session that sleeps, another one wakes it: it wakes where it went,
    and what it writes from then on is in that branch."""
    world = make_world(size=2)
    session = await world.create()
    async with world.browser(session.id) as browser:
        first, _ = await with_two_checkpoints(world, browser, session.id)
        await put_to_sleep(world, browser, session.id)
        await eventually(lambda: not world.sessions._in_memory.get(session.id).life.goes_on)
        forking = Held(world.transcripts, "fork")
        going = asyncio.create_task(world.command(session.id, GoBack(checkpoint_id=first)))
        await forking.came()
        await world.say(session.id, "good morning")
        forking.let_go()
        await going
        await browser.until(lambda b: len(b.of(TurnEnded)) == 3 and b.view.state == "idle")
        assert world.pool.made[-1].workspace.files == {"a": b"1"}
    [branch] = {
        batch.branch
        for batch in world.transcripts._batches[session.id]
        if batch.sandbox == world.pool.made[-1].id
    }
    assert branch == 1


async def test_two_people_go_back_at_once(make_world):
    """Only one of them does; the other one is told so."""
    world = make_world(size=2)
    session = await world.create()
    async with world.browser(session.id) as browser:
        first, second = await with_two_checkpoints(world, browser, session.id)
        await put_to_sleep(world, browser, session.id)
        await eventually(lambda: not world.sessions._in_memory.get(session.id).life.goes_on)
        forking = Held(world.transcripts, "fork")
        going = asyncio.create_task(world.command(session.id, GoBack(checkpoint_id=first)))
        await forking.came()
        other = asyncio.create_task(world.command(session.id, GoBack(checkpoint_id=second)))
        await asyncio.sleep(0.02)
        forking.let_go()
        results = await asyncio.gather(going, other, return_exceptions=True)
        await browser.until_state("idle")
        assert len([r for r in results if isinstance(r, RuleBroken)]) == 1
        assert len(browser.of(WentBack)) == 1
        assert world.pool.made[-1].workspace.files == {"a": b"1"}


# --- one death, one explanation ----------------------------------------------------------------


async def test_death_of_memory_is_explained_once(world):
    """The engine's news of a kill overtakes the sandbox's last words: if it dies of that, its loss
    says all there is to say."""
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        sandbox.run_out_of_memory()
        await asyncio.sleep(0.005)
        sandbox.say(TextWritten(message_id="late", index=0, text="late"))
        sandbox.say(AgentDied(exit_code=-9, text="Killed."))
        await browser.until(lambda b: b.of(SandboxLost) and b.view.state == "idle")
        await asyncio.sleep(2 * LIMITS.death_grace_seconds)
        assert not browser.of(OutOfMemory)


# --- storage -----------------------------------------------------------------------------------


async def test_write_whose_answer_was_lost_for_good(make_world):
    """A database that took a write, could not say so and then was away: what the log has beyond
    what people were told is not written over. The session is taken up from the log."""
    world = make_world()
    session = await world.create()
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        await kept(browser)
    append = world.log.append

    async def landed_and_gone(session_id, entries):
        await append(session_id, entries)
        world.database.broken = True
        raise StorageFailed

    world.log.append = landed_and_gone
    with pytest.raises(StorageFailed):
        await world.say(session.id, "first", client_id="first")
    world.log.append, world.database.broken = append, False
    with contextlib.suppress(RuleBroken):
        await world.say(session.id, "second", client_id="second")
    seqs = [entry.seq for entry in world.database.events[session.id]]
    assert len(set(seqs)) == len(seqs)
    await eventually(lambda: world.sessions._in_memory.get(session.id) is None)
    async with world.browser(session.id) as browser:
        await browser.until_state("idle")
        assert browser.view.unfinished.client_id == "first"
        await world.say(session.id, "second", client_id="second")
        await browser.until(lambda b: len(b.of(TurnEnded)) == 3)
    logged = [entry.client_id for entry in world.database.events[session.id] if entry.client_id]
    assert logged == ["c-hello", "first", "second"]


async def test_append_that_is_refused_is_not_taken_for_done(make_world):
    """A log that has something else under a number says so; nobody is told that theirs is there."""
    world = make_world()
    session = await world.create()
    entries = world.database.events[session.id]
    entries.append(replace(entries[-1], seq=entries[-1].seq + 1))
    with pytest.raises(StorageFailed):
        await world.say(session.id, "hello")


async def test_saves_do_not_overtake_each_other(world):
    """What is stored of a session is the latest, also where an earlier save takes its time."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        await kept(browser)
        await eventually(lambda: world.database.sessions[session.id].state == "idle")
        update = world.store.update
        gate = asyncio.Event()

        async def slowly_at_first(record):
            if record.state == "running":
                await gate.wait()
            await update(record)

        world.store.update = slowly_at_first
        await one_turn(world, browser, session.id, "!slow 0.02")
        await world.command(session.id, Hibernate())
        await browser.until_state("hibernated")
        gate.set()
        await eventually(lambda: world.sessions._in_memory.get(session.id).life.goes_on is False)
    await eventually(lambda: world.sessions.in_memory == 0)
    assert world.database.sessions[session.id].state == "hibernated"


# --- after a restart ---------------------------------------------------------------------------


async def test_files_of_the_last_turn_are_kept_after_a_restart(make_world):
    """Killed after a turn and before its checkpoint: the next start takes it."""
    world = make_world()
    session = await world.create()
    world.pool.made[0].workspace.files["a"] = b"a"
    storing = Held(world.checkpoints, "add")
    await world.say(session.id, "hello")
    await storing.came()
    world.checkpoints.add = storing._work
    await killed(world)
    await eventually(lambda: world.checkpoints._checkpoints[session.id])
    assert len(world.pool.made) == 1


async def test_checkpoints_of_an_ended_session_go_after_a_crash(world):
    """Killed at the very end of a session: the next start gives its files up."""
    session = await world.create()
    world.pool.made[0].workspace.files["a"] = b"a"
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        await kept(browser)
    removing = Held(world.checkpoints, "remove")
    lost = asyncio.create_task(world.command(session.id, End()))
    await removing.came()
    world.checkpoints.remove = removing._work
    await killed(world)
    await eventually(lambda: not world.checkpoints._checkpoints[session.id])
    assert world.database.sessions[session.id].state == "ended"
    lost.cancel()


async def test_sandbox_that_dies_while_it_says_the_rest(make_world):
    """A sandbox that dies when it is about to be left is lost at once, not after a wait for it."""
    world = make_world(limits=replace(LIMITS, sync_seconds=60))
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        await kept(browser) if browser.view.checkpoint_id else None
        sandbox.syncs = False
        await world.command(session.id, Hibernate())
        await asyncio.sleep(0.02)
        sandbox.lose(Ending(tag="gone", sentence="Gone."))
        await browser.until(lambda b: b.of(SandboxLost), seconds=2)


async def test_watch_that_fails_is_taken_up_again(make_world, monkeypatch):
    """Whatever goes wrong in looking after a session, it is looked after again."""
    profile = replace(PROFILE, lifetimes=Lifetimes(freeze_after=0.05))
    world = make_world(profile=profile, limits=replace(LIMITS, watch_again_seconds=0.01))
    failing = iter([OSError("odd"), OSError("odd")])

    def is_current(_self):
        for error in failing:
            raise error
        return True

    monkeypatch.setattr(
        FakeSandbox, "is_current", property(is_current, lambda *_: None), raising=False
    )
    session = await world.create()
    async with world.browser(session.id) as browser:
        await browser.until(lambda b: b.view.frozen)
