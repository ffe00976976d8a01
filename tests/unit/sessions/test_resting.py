"""Freezing, hibernating, waking, exchanging a sandbox, going back: what is planned."""

import asyncio
from collections import Counter

import msgspec
import pytest

from orchestrator.protocol.chat import (
    End,
    Ending,
    GoBack,
    Hibernate,
    LetGo,
    Stop,
    TakeCheckpoint,
    Wake,
)
from orchestrator.protocol.commands import AnswerPermission, Interrupt, ResumeAgent
from orchestrator.protocol.control_events import (
    CheckpointFailed,
    CheckpointTaken,
    FileUploaded,
    LimitNear,
    LimitReached,
    PromptAccepted,
    PromptUnfinished,
    RecoveryStopped,
    SandboxAssigned,
    SandboxLost,
    SessionHibernated,
    TurnStarted,
    WentBack,
)
from orchestrator.protocol.sandbox_events import (
    MemoryMeasured,
    PermissionRequested,
    StorageMeasured,
    TurnEnded,
)
from orchestrator.protocol.task_events import TaskStarted
from orchestrator.sessions import errors
from orchestrator.sessions.files.errors import TransferBroken
from orchestrator.sessions.host.upkeep import Upkeep
from orchestrator.sessions.profiles import Lifetimes, Resources
from orchestrator.testing.chat_client import decision_on
from orchestrator.testing.fake_agent import permission_request
from orchestrator.testing.session_world import ANNA, BERT, LIMITS, PROFILE, eventually

replace = msgspec.structs.replace


def profile(**lifetimes):
    return replace(PROFILE, lifetimes=Lifetimes(**lifetimes))


async def one_turn(world, browser, session_id, text="hello"):
    before = len(browser.of(TurnEnded))
    await world.say(session_id, text, client_id=f"c{before}-{text[:40]}")
    await browser.until(lambda b: len(b.of(TurnEnded)) > before and b.view.state == "idle")


async def hibernated(world, session_id, text="hello"):
    """A session that had a turn and sleeps, with nobody looking on."""
    async with world.browser(session_id) as browser:
        await one_turn(world, browser, session_id, text)
        await browser.until(lambda b: b.view.checkpoint_id)
        await world.command(session_id, Hibernate())
        await browser.until_state("hibernated")


async def test_sleeping_session_costs_no_sandbox_and_no_memory(world):
    """A session that hibernates has no sandbox, is not in memory, and is listed as it is."""
    session = await world.create()
    await hibernated(world, session.id)
    await eventually(lambda: not world.pool.live and world.sessions.in_memory == 0)
    assert world.database.sessions[session.id].state == "hibernated"
    [view] = (await world.sessions.page(ANNA, limit=5, cursor=None)).sessions
    assert (view.state, view.sandbox_id) == ("hibernated", None)


async def test_visit_wakes_it_with_all_it_had(world):
    """Who opens a sleeping session finds files and conversation in another sandbox."""
    session = await world.create()
    world.pool.made[0].workspace.files["a.txt"] = b"a"
    await hibernated(world, session.id)
    async with world.browser(session.id) as browser:
        await browser.until_state("idle")
        assert world.pool.made[1].workspace.files == {"a.txt": b"a"}
        assert [c for c in world.pool.made[1].sent if isinstance(c, ResumeAgent)]
        assigned = browser.of(SandboxAssigned)[-1]
        assert (assigned.reason, assigned.restored_bytes) == ("woken", 1)
        await one_turn(world, browser, session.id, "more")


async def test_prompt_wakes_it(world):
    """A prompt to a sleeping session is accepted at once and runs when it is awake."""
    session = await world.create()
    await hibernated(world, session.id)
    await world.say(session.id, "good morning", client_id="m")
    async with world.browser(session.id) as browser:
        await browser.until(lambda b: len(b.of(TurnEnded)) == 2)
        assert browser.of(PromptAccepted)[-1].queued
        assert browser.of(TurnStarted)[-1].client_id == "m"


async def test_prompts_of_two_tabs_at_once_wake_it_once(world):
    """Whoever comes at the same moment finds the same session, awake once, every prompt run."""
    session = await world.create()
    await hibernated(world, session.id)
    await asyncio.gather(*(world.say(session.id, f"p{n}") for n in range(5)))
    async with world.browser(session.id) as browser:
        await browser.until(lambda b: len(b.of(TurnEnded)) == 6)
    seqs = [entry.seq for entry in world.database.events[session.id]]
    assert len(set(seqs)) == len(seqs)
    assert len(world.pool.made) == 2


async def test_hibernating_is_for_between_turns(world):
    """In a turn the sandbox is not given up by a person's command; asleep there is none to give
    up."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30")
        for command in (Hibernate(), TakeCheckpoint()):
            with pytest.raises(errors.TurnUnderWay):
                await world.command(session.id, command)
        await world.command(session.id, Stop())
        await browser.until_state("idle")
    await hibernated(world, session.id)
    with pytest.raises(errors.SandboxNotReady):
        await world.command(session.id, Hibernate())
    with pytest.raises(errors.NothingToStop):
        await world.command(session.id, Stop())


async def test_idle_session_freezes_then_hibernates(make_world):
    """Left alone, its processes rest first, then its sandbox goes; both are shown."""
    world = make_world(profile=profile(freeze_after=0.05, hibernate_after=0.3))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        await browser.until(lambda b: b.view.frozen)
        assert world.pool.made[0].frozen
        await browser.until_state("hibernated")
        assert not browser.view.frozen
        assert browser.of(SessionHibernated)[0].reason == "idle"
    assert not world.pool.live


async def test_frozen_session_thaws_for_whatever_is_asked(make_world):
    """A prompt, a file, an answer: a frozen sandbox is thawed before it hears of it."""
    world = make_world(profile=profile(freeze_after=0.05))
    session = await world.create()
    sandbox = world.pool.made[0]
    sandbox.workspace.files["a.txt"] = b"a"
    async with world.browser(session.id) as browser:
        await browser.until(lambda b: b.view.frozen)
        assert (await world.sessions.files.list_files(ANNA, session.id, "")).entries
        await browser.until(lambda b: b.view.frozen)
        await world.say(session.id, "!bash ls")
        await browser.until_state("asking")
        await browser.until(lambda b: b.view.frozen)
        await world.command(session.id, decision_on(browser.view.permissions[0], "allow"))
        await browser.until_state("idle")
        assert sandbox.freezes >= 2


async def test_sandbox_that_cannot_be_thawed_is_replaced(make_world):
    """A sandbox that stays frozen is given up, and the prompt runs in another one."""
    world = make_world(profile=replace(profile(freeze_after=0.05), unfinished="run"))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await browser.until(lambda b: b.view.frozen)
        world.pool.made[0].stuck = True
        await world.say(session.id, "hello")
        await browser.until(lambda b: b.of(SandboxLost))
        assert browser.of(SandboxLost)[0].tag == "sandbox_stuck"
        await browser.until(lambda b: b.of(TurnEnded)[-1].outcome == "completed")


async def test_pending_permission_survives_the_night(make_world):
    """A question is still there after the sandbox was given up; answered from another device, the
    tool runs in the next one."""
    world = make_world(profile=profile(hibernate_after=0.1))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        await world.say(session.id, "!bash ls")
        await browser.until_state("asking")
        await browser.until_state("hibernated")
        [request] = browser.view.permissions
    await eventually(lambda: world.sessions.in_memory == 0)
    await world.command(session.id, decision_on(request, "allow"))
    async with world.browser(session.id) as browser:
        await browser.until_state("idle")
        assert browser.of(TurnEnded)[-1].outcome == "completed"
        assert len(browser.of(PermissionRequested)) == 1
    assert [c for c in world.pool.made[1].sent if isinstance(c, AnswerPermission)]


async def test_question_that_was_lost_offers_its_prompt(make_world):
    """Where the next agent cannot ask the question again, the turn is over and its prompt is
    offered."""
    world = make_world(profile=profile(hibernate_after=0.1))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        await world.say(session.id, "!bash ls", client_id="b")
        await browser.until_state("hibernated")
        make = world.pool._make

        def forgetful():
            sandbox = make()
            sandbox.agent.resumes_pending = False
            return sandbox

        world.pool._make = forgetful
        await world.command(session.id, Wake())
        await browser.until_state("idle")
        assert browser.view.unfinished.client_id == "b"
        assert browser.of(TurnEnded)[-1].outcome == "failed"


async def test_stop_of_a_sleeping_turn_ends_it(make_world):
    """A turn that waits for an answer without a sandbox can be stopped; nothing wakes for it."""
    world = make_world(profile=profile(hibernate_after=0.1))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!bash ls")
        await browser.until_state("hibernated")
        await world.command(session.id, Stop())
        await browser.until(lambda b: b.view.turn_id is None)
        assert browser.of(TurnEnded)[-1].outcome == "interrupted"
        assert (browser.view.state, browser.view.permissions) == ("hibernated", [])


async def test_several_questions_keep_their_sandbox(make_world):
    """What could not be asked again elsewhere is not hibernated for idleness, only frozen."""
    world = make_world(profile=profile(freeze_after=0.05, hibernate_after=0.1))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!bash ls")
        world.pool.made[0].say(permission_request("other", "Bash", {"command": "pwd"}))
        await browser.until(lambda b: len(b.view.permissions) == 2 and b.view.frozen)
        assert browser.view.state == "asking"
        assert not browser.of(SessionHibernated)


async def test_background_work_keeps_it_awake(make_world):
    """A session whose programs run in the background is not put to rest."""
    world = make_world(profile=profile(freeze_after=0.05, hibernate_after=0.1))
    busy, idle = await world.create(), await world.create()
    world.pool.made[0].say(TaskStarted(task_id="t", description="a server"))
    async with world.browser(idle.id) as browser:
        await browser.until_state("hibernated")
    assert await world.state(busy.id) == "idle"


async def test_conversation_that_fits_into_no_sandbox(make_world):
    """One that is larger than the home of a sandbox wakes in none: its people are told what to do,
    and going back makes it small enough again."""
    world = make_world(size=2, profile=replace(PROFILE, resources=Resources(home=500)))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        await browser.until(lambda b: b.view.checkpoint_id)
        checkpoint = browser.view.checkpoint_id
        world.pool.made[0].workspace.files["a"] = b"new"
        for number in range(6):
            await one_turn(world, browser, session.id, f"more {number}")
        await world.command(session.id, Hibernate())
        await browser.until_state("hibernated")
        await world.say(session.id, "again")
        [stopped] = await browser.until(lambda b: b.of(RecoveryStopped))
        assert "home directory" in stopped.sentence
        assert "try again" not in stopped.sentence
        assert len(world.pool.made) == 1
        await eventually(lambda: not world.sessions._in_memory.get(session.id).life.goes_on)
        await world.command(session.id, GoBack(checkpoint_id=checkpoint))
        await browser.until(lambda b: b.of(TurnEnded)[-1:] and not b.view.queue)
        await browser.until_state("idle")
        assert len(world.pool.made) == 2


async def test_prompt_that_comes_while_it_leaves_keeps_it(make_world):
    """A prompt between the wish to sleep and the sleep: the session stays, and the prompt runs."""
    world = make_world(profile=profile(hibernate_after=0.2))
    session = await world.create()
    take, at_it = world.sessions.checkpoints.take, asyncio.Event()

    async def slow(*args, **kwargs):
        at_it.set()
        await asyncio.sleep(0.05)
        return await take(*args, **kwargs)

    world.sessions.checkpoints.take = slow
    async with world.browser(session.id) as browser:
        await at_it.wait()
        await world.say(session.id, "wait!")
        await browser.until(lambda b: b.of(TurnEnded))
        assert not browser.of(SessionHibernated)
        assert len(world.pool.made) == 1


async def test_file_that_comes_while_it_leaves_is_kept(make_world):
    """What somebody uploads after the files were packed is in no checkpoint yet: all is kept once
    more before the sandbox goes."""
    world = make_world()
    session = await world.create()
    take = world.sessions.checkpoints.take

    async def late(*args, **kwargs):
        taken = await take(*args, **kwargs)
        await world.sessions.files.upload(
            ANNA, session.id, "late.txt", content(), size=4, overwrite=False
        )
        world.sessions.checkpoints.take = take
        return taken

    async def content():
        yield b"late"

    world.sessions.checkpoints.take = late
    async with world.browser(session.id) as browser:
        await world.command(session.id, Hibernate())
        await browser.until(lambda b: b.of(FileUploaded))
        await browser.until_state("hibernated")
    async with world.browser(session.id) as browser:
        await browser.until_state("idle")
        assert world.pool.made[1].workspace.files["late.txt"] == b"late"


async def test_file_that_comes_too_late_is_not_said_to_be_there(make_world):
    """An upload that ends while the session is on its way out breaks: nobody is told that a file is
    there which is lost."""
    world = make_world()
    session = await world.create()
    append, written = world.log.append, asyncio.Event()

    async def slow(session_id, entries):
        if any(entry.tag == "session_hibernated" for entry in entries):
            written.set()
            await uploading
        await append(session_id, entries)

    async def content():
        yield b"la"
        await written.wait()
        yield b"te"

    async def upload():
        with pytest.raises(TransferBroken):
            await world.sessions.files.upload(
                ANNA, session.id, "late.txt", content(), size=4, overwrite=False
            )

    world.log.append = slow
    async with world.browser(session.id) as browser:
        uploading = asyncio.create_task(upload())
        await eventually(lambda: world.pool.made[0].workspace.open)
        await world.command(session.id, Hibernate())
        await browser.until_state("hibernated")
        await uploading
        assert not browser.of(FileUploaded)


async def test_prompt_behind_a_question_keeps_no_sandbox(make_world):
    """A prompt that waits for a turn which waits for a person is no work for a sandbox: the session
    rests until there is an answer, and both go on then."""
    world = make_world(profile=profile(freeze_after=None, hibernate_after=0.1))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!bash ls")
        await browser.until_state("asking")
        await world.say(session.id, "later")
        await browser.until_state("hibernated")
        await eventually(lambda: not world.pool.live)
        assert len(world.pool.made) == 1
        await world.command(session.id, decision_on(browser.view.permissions[0], "allow"))
        await browser.until(lambda b: len(b.of(TurnEnded)) == 2)
        assert [e.outcome for e in browser.of(TurnEnded)] == ["completed"] * 2


# --- checkpoints -------------------------------------------------------------------------------


async def test_checkpoint_is_taken_after_a_turn_that_changed_something(world):
    """Files are kept after a turn that changed them, and not after one that did not."""
    session = await world.create()
    take, taken = world.sessions.checkpoints.take, []

    async def counted(*args, **kwargs):
        taken.append(await take(*args, **kwargs))
        return taken[-1]

    world.sessions.checkpoints.take = counted
    async with world.browser(session.id) as browser:
        for number, content in enumerate([b"1", b"1", b"2"]):
            world.pool.made[0].workspace.files["a"] = content
            await one_turn(world, browser, session.id, f"turn {number}")
            await eventually(lambda n=number: len(taken) == n + 1)
        await browser.until(lambda b: len(b.of(CheckpointTaken)) == 2)
        kept = await world.sessions.kept.page(ANNA, session.id, limit=10)
        assert [one.id for one in kept] == [
            event.checkpoint_id for event in reversed(browser.of(CheckpointTaken))
        ]
        assert kept[0].turn_id == browser.of(TurnStarted)[-1].turn_id


async def test_checkpoint_that_fails_is_told_once(world):
    """A workspace that cannot be kept is told once, not after every turn; afterwards it is told
    anew."""
    session = await world.create()
    take, failing = world.sessions.checkpoints.take, [True]

    async def too_large(*args, **kwargs):
        if failing:
            raise errors.CheckpointTooLarge
        return await take(*args, **kwargs)

    world.sessions.checkpoints.take = too_large
    async with world.browser(session.id) as browser:
        for number in range(3):
            await one_turn(world, browser, session.id, f"turn {number}")
        await browser.until(lambda b: len(b.of(CheckpointFailed)) == 1)
        failing.clear()
        await one_turn(world, browser, session.id, "works")
        await browser.until(lambda b: b.of(CheckpointTaken))
        assert len(browser.of(CheckpointFailed)) == 1


async def test_what_cannot_be_kept_is_not_given_up(world):
    """A session whose files cannot be kept does not hibernate: its sandbox is all that has them."""
    session = await world.create()

    async def too_large(*_args, **_kwargs):
        raise errors.CheckpointTooLarge

    world.sessions.checkpoints.take = too_large
    async with world.browser(session.id) as browser:
        await world.command(session.id, Hibernate())
        await browser.until(lambda b: b.of(CheckpointFailed))
        await one_turn(world, browser, session.id)
        assert not browser.of(SessionHibernated)


async def test_waiting_prompt_puts_a_checkpoint_off(make_world):
    """A prompt waits a moment for a checkpoint that takes long; then it runs, and the checkpoint is
    taken after it."""
    limits = replace(LIMITS, checkpoint_patience_seconds=0.1)
    world = make_world(limits=limits)
    session = await world.create()
    take, times = world.sessions.checkpoints.take, []

    async def slow_at_first(*args, **kwargs):
        times.append(1)
        if len(times) == 1:
            await asyncio.sleep(30)
        return await take(*args, **kwargs)

    world.sessions.checkpoints.take = slow_at_first
    async with world.browser(session.id) as browser:
        await world.say(session.id, "one")
        await browser.until(lambda b: b.of(TurnEnded))
        await world.say(session.id, "two")
        await browser.until(lambda b: len(b.of(TurnEnded)) == 2)
        await browser.until(lambda b: b.of(CheckpointTaken))
        assert len(times) == 2


async def test_person_may_keep_and_go_back_and_forth(world):
    """Going back: files and conversation are as they were, in a fresh sandbox; and forward, too."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        files = world.pool.made[0].workspace.files
        files["a"] = b"first"
        await one_turn(world, browser, session.id, "first")
        await browser.until(lambda b: len(b.of(CheckpointTaken)) == 1)
        first = browser.view.checkpoint_id
        await one_turn(world, browser, session.id, "second")
        files["a"] = b"second"
        await world.command(session.id, TakeCheckpoint())
        await browser.until(lambda b: len(b.of(CheckpointTaken)) == 2)
        second = browser.view.checkpoint_id
        with pytest.raises(errors.UnknownCheckpoint):
            await world.command(session.id, GoBack(checkpoint_id="nope"))
        await world.command(session.id, GoBack(checkpoint_id=first))
        await browser.until(lambda b: b.of(WentBack) and b.view.state == "idle")
        back = world.pool.made[1]
        assert back.workspace.files["a"] == b"first"
        turns = [e.turn_id.encode() for e in browser.of(TurnStarted)]
        assert turns[0] in back.agent.loaded
        assert world.database.sessions[session.id].branch == 1
        await world.command(session.id, GoBack(checkpoint_id=second))
        await browser.until(lambda b: len(b.of(WentBack)) == 2 and b.view.state == "idle")
        assert world.pool.made[2].workspace.files["a"] == b"second"
        assert all(turn in world.pool.made[2].agent.loaded for turn in turns)
        assert [e.reason for e in browser.of(SandboxAssigned)] == ["new", "went_back", "went_back"]


async def test_sleeping_session_goes_back_too(world):
    """Going back wakes a session that sleeps, at that checkpoint; and stays there over a loss."""
    session = await world.create()
    world.pool.made[0].workspace.files["a"] = b"first"
    await hibernated(world, session.id, "first")
    first = world.database.sessions[session.id].checkpoint_id
    async with world.browser(session.id) as browser:
        await browser.until_state("idle")
        world.pool.made[1].workspace.files["a"] = b"second"
        await one_turn(world, browser, session.id, "second")
        await browser.until(lambda b: b.view.checkpoint_id != first)
        await world.command(session.id, Hibernate())
        await browser.until_state("hibernated")
    await eventually(lambda: world.sessions.in_memory == 0)
    await world.command(session.id, GoBack(checkpoint_id=first))
    async with world.browser(session.id) as browser:
        await browser.until_state("idle")
        assert world.pool.made[2].workspace.files["a"] == b"first"
        await world.pool.made[2].destroy()
        await browser.until(lambda b: b.view.sandbox_id == "fake-4" and b.view.state == "idle")
        assert world.pool.made[3].workspace.files["a"] == b"first"


async def test_what_is_done_after_going_back_is_kept(world):
    """Also where the files become again what they were at the latest checkpoint: that one stays
    what it is, and the session does not fall back behind itself."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        for content in (b"first", b"second"):
            world.pool.made[0].workspace.files["a"] = content
            await one_turn(world, browser, session.id)
            await browser.until(lambda b: len(b.of(CheckpointTaken)) == len(b.of(TurnEnded)))
        first, second = [e.checkpoint_id for e in browser.of(CheckpointTaken)]
        place = (await world.checkpoints.get(session.id, second)).position
        await world.command(session.id, GoBack(checkpoint_id=first))
        await browser.until(lambda b: b.of(WentBack) and b.view.state == "idle")
        world.pool.made[1].workspace.files["a"] = b"second"
        await one_turn(world, browser, session.id)
        await browser.until(lambda b: len(b.of(CheckpointTaken)) == 3)
        world.pool.made[1].lose(Ending(tag="gone", sentence="Gone."))
        await browser.until(lambda b: b.view.sandbox_id == "fake-3" and b.view.state == "idle")
        assert world.pool.made[2].workspace.files["a"] == b"second"
        assert (await world.checkpoints.get(session.id, second)).position == place


# --- limits ------------------------------------------------------------------------------------


async def test_full_memory_between_turns_exchanges_the_sandbox(world):
    """Over the line between turns: told, and the session goes on in a fresh sandbox with all it
    had."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        world.pool.made[0].workspace.files["a"] = b"a"
        world.pool.made[0].say(MemoryMeasured(usage=99, working_set=97, limit=100))
        await browser.until(lambda b: b.view.sandbox_id == "fake-2" and b.view.state == "idle")
        assert browser.of(LimitReached)[0].limit == "memory"
        assert world.pool.made[1].workspace.files == {"a": b"a"}
        assert browser.of(SandboxAssigned)[-1].reason == "recycled"
        assert not browser.of(SandboxLost)


async def test_full_memory_in_a_turn_interrupts_it(world):
    """At the hard line a running turn is interrupted, its prompt offered again, and the sandbox
    exchanged."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30", client_id="a")
        world.pool.made[0].say(MemoryMeasured(usage=99, working_set=97, limit=100))
        await browser.until(lambda b: b.of(TurnEnded))
        assert browser.of(TurnEnded)[0].outcome == "interrupted"
        await browser.until(lambda b: b.view.unfinished is not None)
        assert browser.view.unfinished.client_id == "a"
        assert [c for c in world.pool.made[0].sent if isinstance(c, Interrupt)]
        await browser.until(lambda b: b.view.sandbox_id == "fake-2")


async def test_full_workspace_is_warned_of_once(world):
    """A workspace that fills up is shown, and warned of once."""
    session = await world.create()
    measured = StorageMeasured(home_used=1, home_size=10, workspace_used=9, workspace_size=10)
    async with world.browser(session.id) as browser:
        for _ in range(3):
            world.pool.made[0].say(measured)
        await browser.until(lambda b: b.of(LimitNear))
        assert (browser.view.workspace_bytes, browser.view.workspace_limit) == (9, 10)
        await one_turn(world, browser, session.id)
        assert [e.limit for e in browser.of(LimitNear)] == ["workspace"]


async def test_turn_that_takes_too_long_is_interrupted(make_world):
    """A turn's time is limited: a warning, then it is stopped, and not offered again."""
    world = make_world(profile=profile(turn=0.3))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30")
        await browser.until(lambda b: b.of(LimitNear))
        await browser.until(lambda b: b.of(TurnEnded))
        assert [e.limit for e in browser.of(LimitReached)] == ["turn_time"]
        assert browser.of(TurnEnded)[0].outcome == "interrupted"
        assert not browser.of(PromptUnfinished)


async def test_turn_that_cannot_be_interrupted_loses_its_sandbox(make_world, monkeypatch):
    """Where the interrupt does not help, the sandbox is killed and the session goes on."""
    monkeypatch.setattr("orchestrator.sessions.watch.watch.INTERRUPT_SECONDS", 0.1)
    world = make_world(profile=profile(turn=0.1))
    session = await world.create()

    async def deaf(_turn_id):
        return

    world.pool.made[0].agent.interrupt = deaf
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30")
        await browser.until(lambda b: b.view.sandbox_id == "fake-2" and b.view.state == "idle")
        assert browser.of(SandboxLost)[0].tag == "turn_time"
        assert browser.of(TurnEnded)[0].outcome == "interrupted"
        assert world.pool.made[0].destroyed


async def test_old_session_is_ended(make_world):
    """A session that is as old as sessions become is ended, with the reason."""
    world = make_world(profile=profile(session=0.05))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await browser.until_state("failed")
        assert browser.view.ending.tag == "session_age"
    await eventually(lambda: not world.pool.live)


async def test_session_that_slept_too_long_is_ended(make_world):
    """What nobody woke for so long is ended, and its checkpoints go."""
    world = make_world(profile=profile(keep=0.01))
    session = await world.create()
    await hibernated(world, session.id)
    await eventually(lambda: world.sessions.in_memory == 0)
    await asyncio.sleep(0.02)
    sessions = world.sessions
    upkeep = Upkeep(sessions._ports, sessions._in_memory, sessions.checkpoints)
    assert await upkeep.expire() == 1
    record = world.database.sessions[session.id]
    assert (record.state, record.ending.tag) == ("failed", "kept_too_long")
    assert not await sessions.kept.page(ANNA, session.id, limit=10)


async def test_ended_session_keeps_no_files(world):
    """Who ends a session gives its checkpoints up as well."""
    session = await world.create()
    await hibernated(world, session.id)
    await world.command(session.id, End())
    assert await world.state(session.id) == "ended"
    assert not await world.sessions.kept.page(ANNA, session.id, limit=10)


async def test_least_recently_used_gives_way(make_world):
    """Where memory is short, the idle session that was used least recently sleeps."""
    world = make_world(size=3)
    sessions = [await world.create() for _ in range(3)]
    for session in (sessions[2], sessions[0]):
        async with world.browser(session.id) as browser:
            await one_turn(world, browser, session.id)
    async with world.browser(sessions[0].id) as browser:
        await world.say(sessions[0].id, "!slow 30", client_id="long")
        await browser.until_state("running")
        assert await world.sessions.hibernate_least_recent()
        assert await world.state(sessions[1].id) == "hibernated"
        assert await world.sessions.hibernate_least_recent()
        assert await world.state(sessions[2].id) == "hibernated"
        assert not await world.sessions.hibernate_least_recent()


async def test_session_that_cannot_rest_is_not_asked_over_and_over(make_world):
    """Where its files cannot be packed, others give way instead, and it is left alone for a
    while."""
    world = make_world(size=2)
    stuck, other = [await world.create() for _ in range(2)]
    take, taken = world.sessions.checkpoints.take, []

    async def too_large(record, *args, **kwargs):
        taken.append(record.id)
        if record.id == stuck.id:
            raise errors.CheckpointTooLarge
        return await take(record, *args, **kwargs)

    world.sessions.checkpoints.take = too_large
    assert await world.sessions.hibernate_least_recent()
    assert not await world.sessions.hibernate_least_recent()
    assert taken == [stuck.id, other.id]


async def test_users_sessions_are_bounded_awake_and_asleep(make_world):
    """So many of a user's sessions may be awake, and so many open altogether; a visit to one too
    many shows it asleep."""
    limits = replace(LIMITS, max_awake_per_user=1, max_open_per_user=2)
    world = make_world(limits=limits, size=5)
    first = await world.create()
    with pytest.raises(errors.TooManyAwake):
        await world.create()
    await hibernated(world, first.id)
    await eventually(lambda: world.sessions.in_memory == 0)
    await world.create()
    with pytest.raises(errors.TooManyAwake):
        await world.say(first.id, "wake up")
    async with world.browser(first.id) as browser:
        assert browser.view.state == "hibernated"
    with pytest.raises(errors.TooManySessions):
        await world.create()
    await world.create(BERT)


async def test_let_go_wakes_nobody(make_world):
    """Letting an unfinished prompt go needs no sandbox."""
    world = make_world(size=1)
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!fail 503", client_id="a")
        await browser.until(lambda b: b.view.unfinished is not None and b.view.state == "idle")
        await browser.until(lambda b: b.view.checkpoint_id)
        await world.command(session.id, Hibernate())
        await browser.until_state("hibernated")
    await eventually(lambda: world.sessions.in_memory == 0)
    await world.command(session.id, LetGo(unfinished="a"))
    assert len(world.pool.made) == 1
    assert await world.state(session.id) == "hibernated"


async def test_steps_and_figures_are_told(make_world):
    """Whoever runs Casemate sees how often sessions froze, slept, woke and went elsewhere, with
    what outcome, and how many do so now."""
    told = Counter()
    world = make_world(
        size=2,
        profile=profile(freeze_after=0.05),
        on_step=lambda step, outcome: told.update([(step, outcome)]),
    )
    session, other = await world.create(), await world.create(BERT)
    async with world.browser(session.id) as browser:
        await browser.until(lambda b: b.view.frozen)
        await eventually(lambda: told["freeze", "done"] == 2)
        figures = await world.sessions.figures()
        assert (figures.awake, figures.frozen, figures.hibernated) == (2, 2, 0)
        await world.command(session.id, Hibernate())
        await eventually(lambda: told["hibernate", "done"])
        figures = await world.sessions.figures()
        assert (figures.awake, figures.frozen, figures.hibernated) == (1, 1, 1)
        world.sessions.checkpoints.take = failing
        await world.command(other.id, Hibernate(), actor=BERT)
        await eventually(lambda: told["hibernate", "put_off"])
        await world.say(session.id, "hello")
        await browser.until(lambda b: b.of(TurnEnded))
    assert told["hibernate", "done"] == told["wake", "done"] == 1
    assert told["thaw", "done"]


async def failing(*_args, **_rest):
    raise errors.CheckpointTooLarge


async def test_half_frozen_sandbox_is_thawed(make_world):
    """An engine that did not say whether it froze a sandbox perhaps did: whoever needs it has it
    thawed first."""
    told = Counter()
    world = make_world(
        limits=replace(LIMITS, thaw_seconds=0.05),
        profile=profile(freeze_after=0.05),
        on_step=lambda step, outcome: told.update([(step, outcome)]),
    )
    session = await world.create()
    freeze = world.pool.made[0].freeze

    async def without_answer():
        await freeze()
        await asyncio.sleep(10)

    world.pool.made[0].freeze = without_answer
    async with world.browser(session.id) as browser:
        await eventually(lambda: told["freeze", "stuck"])
        assert not browser.view.frozen
        await world.say(session.id, "hello")
        await browser.until(lambda b: b.of(TurnEnded))
        assert len(world.pool.made) == 1
