"""The control plane ends, in good order or not, and is started again: nothing is lost."""

import asyncio
import contextlib

import msgspec
import pytest

from orchestrator.protocol.chat import End, Ending, GoBack, Hibernate, LetGo, Notice, RunAgain, Stop
from orchestrator.protocol.commands import AnswerPermission, Interrupt, StartTurn
from orchestrator.protocol.control_events import (
    PermissionResolved,
    PromptUnfinished,
    SandboxAssigned,
    SandboxLost,
    SessionEnded,
    SessionHibernated,
    TurnStarted,
    WentBack,
)
from orchestrator.protocol.sandbox_events import (
    PermissionRequested,
    PermissionWithdrawn,
    TextWritten,
    TurnEnded,
)
from orchestrator.sessions import errors
from orchestrator.sessions.errors import StorageFailed
from orchestrator.sessions.profiles import Lifetimes
from orchestrator.testing.chat_client import decision_on
from orchestrator.testing.session_world import ANNA, BERT, LIMITS, PROFILE, eventually

replace = msgspec.structs.replace
RUNS_AGAIN = replace(PROFILE, unfinished="run")


async def one_turn(world, browser, session_id, text="hello"):
    before = len(browser.of(TurnEnded))
    await world.say(session_id, text)
    await browser.until(lambda b: len(b.of(TurnEnded)) > before and b.view.state == "idle")


async def killed(world):
    """The process is gone at this very moment; its sandboxes are not. Another one starts."""
    world.pool.restart()
    world.sessions = world.new_process()
    await world.sessions.start()


async def killed_with_its_sandboxes(world):
    """The machine was started anew."""
    world.pool.restart()
    world.pool._left.clear()
    for sandbox in list(world.pool.live):
        sandbox.lose(Ending(tag="gone", sentence="Gone."))
        world.pool.live.discard(sandbox)
    world.sessions = world.new_process()
    await world.sessions.start()


async def deaf(_turn_id):
    """An agent that does not hear that it is interrupted."""


class Gate:
    """Stops whoever comes to it, for good, and tells that somebody came."""

    def __init__(self):
        self.reached = asyncio.Event()

    async def __call__(self, *_args, **_kwargs):
        self.reached.set()
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def stopped_at(world, kind, *, before=True):
    """The process hangs where an event of this kind is written (or was)."""
    append, gate = world.log.append, Gate()
    tag = str(kind.__struct_config__.tag)

    async def appending(session, entries):
        hit = any(entry.tag == tag for entry in entries)
        if hit and before:
            await gate()
        await append(session, entries)
        if hit:
            await gate()

    world.log.append = appending
    yield gate.reached
    world.log.append = append


def seqs_of(world, session_id):
    return [entry.seq for entry in world.database.events[session_id]]


# --- in good order -----------------------------------------------------------------------------


async def test_shutdown_rests_everything(make_world):
    """Turns are interrupted and offered again, everything is kept, those who wait keep their
    prompts, and people are told; after the start all goes on."""
    world = make_world(size=2)
    idle, running = await world.create(), await world.create()
    waiting = await world.create(wait=False)
    world.pool.made[0].workspace.files["a"] = b"a"
    await world.say(waiting.id, "early", client_id="early")
    async with world.browser(running.id) as browser, world.browser(idle.id) as other:
        await world.say(running.id, "!slow 30", client_id="long")
        await world.say(running.id, "next", client_id="next")
        await world.sessions.close()
        await eventually(lambda: browser.follower.dropped and other.follower.dropped)
        assert browser.follower.dropped.tag == "shutdown"
        assert [n.tag for n in other.view.notices] == ["restarting"]
        assert browser.of(TurnEnded)[0].outcome == "interrupted"
        assert browser.of(PromptUnfinished)[0].client_id == "long"
        assert browser.of(SessionHibernated)[0].reason == "shutdown"
    assert not world.pool.live
    assert {r.state for r in world.database.sessions.values()} == {"hibernated"}
    assert world.sessions.in_memory == 0
    with pytest.raises(errors.ShuttingDown):
        await world.create()
    world.sessions = world.new_process()
    await world.sessions.start()
    async with world.browser(running.id) as browser:
        await browser.until_state("idle")
        assert browser.view.unfinished.client_id == "long"
        assert [q.client_id for q in browser.view.queue] == ["next"]
        await world.command(running.id, LetGo(unfinished="long"))
        await browser.until(lambda b: b.of(TurnStarted)[-1].client_id == "next")
    async with world.browser(idle.id) as browser:
        await browser.until_state("idle")
        assert world.pool.made[-1].workspace.files == {"a": b"a"}
        await world.command(idle.id, Hibernate())
    async with world.browser(waiting.id) as browser:
        await browser.until(lambda b: b.of(TurnEnded))
        assert browser.of(TurnStarted)[0].client_id == "early"


async def test_turn_that_ends_in_time_is_whole(make_world):
    """A turn that ends within the time that it is given is not interrupted."""
    world = make_world(limits=replace(LIMITS, drain_seconds=5))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 0.1")
        await browser.until_state("running")
        await world.sessions.close()
        assert browser.of(TurnEnded)[0].outcome == "completed"
        await eventually(lambda: browser.view.state == "hibernated")


async def test_question_survives_a_shutdown(make_world):
    """A turn that waits for an answer is not interrupted for a shutdown: it is asked afterwards."""
    world = make_world(limits=replace(LIMITS, drain_seconds=5))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        await world.say(session.id, "!bash ls")
        await browser.until_state("asking")
        [request] = browser.view.permissions
        async with asyncio.timeout(2):
            await world.sessions.close()
    world.sessions = world.new_process()
    await world.sessions.start()
    async with world.browser(session.id) as browser:
        await browser.until_state("asking")
        await world.command(session.id, decision_on(request, "allow"))
        await browser.until_state("idle")
        assert browser.of(TurnEnded)[-1].outcome == "completed"


async def test_prompt_during_a_shutdown_is_kept(make_world):
    """Who sends a prompt while Casemate is being stopped has sent it: it runs afterwards."""
    world = make_world(limits=replace(LIMITS, drain_seconds=5))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 0.1")
        await browser.until_state("running")
        closing = asyncio.create_task(world.sessions.close())
        await browser.until(lambda b: b.view.notices)
        await world.say(session.id, "one more", client_id="more")
        await closing
        assert len(browser.of(TurnStarted)) == 1
    world.sessions = world.new_process()
    await world.sessions.start()
    async with world.browser(session.id) as browser:
        await browser.until(lambda b: len(b.of(TurnEnded)) == 2)
        assert browser.of(TurnStarted)[-1].client_id == "more"


async def test_shutdown_is_bounded(make_world, monkeypatch):
    """A sandbox that hangs holds up neither the others nor the end."""
    limits = replace(LIMITS, drain_seconds=0.05, interrupt_seconds=0.05, close_seconds=0.1)
    world = make_world(limits=replace(limits, destroy_seconds=0.1), size=2)
    hung, good = await world.create(), await world.create()
    sandbox = world.pool.made[0]
    monkeypatch.setattr(sandbox.agent, "interrupt", deaf)
    await world.say(hung.id, "!slow 30", client_id="slow")
    with monkeypatch.context() as hanging:
        hanging.setattr(sandbox, "destroy", Gate())
        async with asyncio.timeout(3):
            await world.sessions.close()
    states = {key: record.state for key, record in world.database.sessions.items()}
    assert states == {hung.id: "hibernated", good.id: "hibernated"}
    assert [e for e in world.logged(hung.id) if isinstance(e, PromptUnfinished)]


async def test_impatient_shutdown_is_quick(make_world):
    """A second signal: nothing more is waited for, and still nothing is lost."""
    world = make_world(limits=replace(LIMITS, drain_seconds=60))
    session = await world.create()
    await world.say(session.id, "!slow 30", client_id="slow")
    closing = asyncio.create_task(world.sessions.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    world.sessions.hurry()
    async with asyncio.timeout(2):
        await closing
    assert not world.pool.live
    assert world.database.sessions[session.id].state == "hibernated"
    [unfinished] = [e for e in world.logged(session.id) if isinstance(e, PromptUnfinished)]
    assert unfinished.client_id == "slow"


async def test_shutdown_without_a_database_ends_too(make_world):
    """Where nothing can be written any more the end still comes; what was written is taken up."""
    world = make_world()
    session = await world.create()
    await world.say(session.id, "!slow 30", client_id="slow")
    world.database.broken = True
    async with asyncio.timeout(5):
        await world.sessions.close()
    assert not world.pool.live
    world.database.broken = False
    world.sessions = world.new_process()
    await world.sessions.start()
    async with world.browser(session.id) as browser:
        await browser.until_state("idle")
        assert browser.view.unfinished.client_id == "slow"


async def test_notices_are_shown_everywhere(world):
    """A notice is in every view, also in that of a session that is opened later, until it is
    withdrawn."""
    first = await world.create()
    async with world.browser(first.id) as browser:
        world.sessions.notify(Notice(tag="upstream_down", sentence="The model is away."))
        world.sessions.notify(Notice(tag="upstream_down", sentence="Still away."))
        await browser.until(lambda b: [n.sentence for n in b.view.notices] == ["Still away."])
        second = await world.create()
        assert [n.tag for n in second.notices] == ["upstream_down"]
        world.sessions.withdraw("upstream_down")
        await browser.until(lambda b: not b.view.notices)


# --- killed ------------------------------------------------------------------------------------


async def test_killed_in_a_turn_it_ends_as_if_nothing_had_happened(world):
    """A control plane that is killed in the middle of a turn and started again: the sandbox goes on
    and the turn ends as usual; everything is there once."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 0.2\nhello", client_id="a")
        await browser.until_state("running")
    await killed(world)
    assert (await world.sessions.figures()).adopted == 1
    async with world.browser(session.id) as browser:
        await browser.until(lambda b: b.of(TurnEnded))
        await browser.until_state("idle")
        assert browser.of(TurnEnded)[0].outcome == "completed"
        assert len(browser.of(TextWritten)) == 2
        assert len(browser.of(SandboxAssigned)) == 1
        assert not browser.of(SandboxLost)
        await one_turn(world, browser, session.id, "and on")
    assert len(world.pool.made) == 1
    assert len(set(seqs_of(world, session.id))) == len(seqs_of(world, session.id))


async def test_what_was_logged_and_not_acknowledged_is_not_logged_twice(world):
    """The sandbox says again what it was not told is safe; the log holds it once."""
    session = await world.create()
    sandbox = world.pool.made[0]
    sandbox.acknowledge = lambda _n: None
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
    del sandbox.acknowledge
    before = world.logged(session.id)
    await killed(world)
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id, "more")
        assert len(browser.of(TextWritten)) == 2
    assert world.logged(session.id)[: len(before)] == before


async def test_killed_between_the_turns_start_and_its_command(world):
    """A turn that is in the log and never reached the sandbox begins after the start, once."""
    session = await world.create()
    sandbox, send, gate = world.pool.made[0], world.pool.made[0].send, Gate()
    sandbox.send = gate
    lost = asyncio.create_task(world.say(session.id, "hello", client_id="a"))
    await gate.reached.wait()
    sandbox.send = send
    await killed(world)
    async with world.browser(session.id) as browser:
        await browser.until(lambda b: b.of(TurnEnded))
        assert [e.client_id for e in browser.of(TurnStarted)] == ["a"]
        assert browser.of(TurnEnded)[0].outcome == "completed"
    assert len([c for c in sandbox.sent if isinstance(c, StartTurn)]) == 1
    lost.cancel()


async def test_killed_between_a_decision_and_its_command(world):
    """A decision that is in the log and never reached the sandbox is told to it after the start,
    exactly as it was made, and nobody is asked again."""
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!bash ls")
        await browser.until_state("asking")
        [request] = browser.view.permissions
    send, gate = sandbox.send, Gate()
    sandbox.send = gate
    decision = decision_on(request, "allow_always", suggestions=[0])
    lost = asyncio.create_task(world.command(session.id, decision))
    await gate.reached.wait()
    sandbox.send = send
    await killed(world)
    async with world.browser(session.id) as browser:
        await browser.until(lambda b: b.of(TurnEnded))
        assert browser.of(TurnEnded)[0].outcome == "completed"
        assert len(browser.of(PermissionRequested)) == 1
        assert len(browser.of(PermissionResolved)) == 1
    [told] = [c for c in sandbox.sent if isinstance(c, AnswerPermission)]
    assert told.decision == decision.decision
    lost.cancel()


async def test_killed_between_a_stop_and_its_command(world):
    """A stop that is in the log and never reached the sandbox stops the turn after the start."""
    session = await world.create()
    sandbox = world.pool.made[0]
    await world.say(session.id, "!slow 30")
    send, gate = sandbox.send, Gate()
    sandbox.send = gate
    lost = asyncio.create_task(world.command(session.id, Stop()))
    await gate.reached.wait()
    sandbox.send = send
    await killed(world)
    async with world.browser(session.id) as browser:
        await browser.until(lambda b: b.of(TurnEnded))
        assert browser.of(TurnEnded)[0].outcome == "interrupted"
    assert len([c for c in sandbox.sent if isinstance(c, Interrupt)]) == 1
    lost.cancel()


async def test_killed_while_asking(world):
    """A question that was open is open after the start, once, and can be answered."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!bash ls")
        await browser.until_state("asking")
        [request] = browser.view.permissions
    await killed(world)
    async with world.browser(session.id) as browser:
        assert browser.view.permissions == [request]
        await world.command(session.id, decision_on(request, "allow"))
        await browser.until(lambda b: b.of(TurnEnded))
        assert len(browser.of(PermissionRequested)) == 1
        assert not browser.of(PermissionWithdrawn)


async def test_killed_while_frozen(make_world):
    """A sandbox that was frozen when the control plane was killed hears of the next prompt."""
    world = make_world(profile=replace(PROFILE, lifetimes=Lifetimes(freeze_after=0.05)))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await browser.until(lambda b: b.view.frozen)
    await killed(world)
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
    assert len(world.pool.made) == 1


async def test_killed_between_claim_and_assignment(make_world):
    """A sandbox that was claimed and is nobody's yet is given up at the start; the session waits
    for whoever opens it."""
    world = make_world(size=1)
    async with stopped_at(world, SandboxAssigned) as reached:
        lost = asyncio.create_task(world.create())
        await reached.wait()
    [session_id] = world.database.sessions
    await killed(world)
    assert world.pool.made[0].destroyed
    assert await world.state(session_id) == "hibernated"
    async with world.browser(session_id) as browser:
        await one_turn(world, browser, session_id)
    lost.cancel()


async def test_killed_right_after_the_assignment(make_world):
    """A sandbox that is the session's in the log is its own after the start, too."""
    world = make_world(size=1)
    async with stopped_at(world, SandboxAssigned, before=False) as reached:
        lost = asyncio.create_task(world.create())
        await reached.wait()
    [session_id] = world.database.sessions
    await killed(world)
    async with world.browser(session_id) as browser:
        await one_turn(world, browser, session_id)
    assert len(world.pool.made) == 1
    lost.cancel()


@pytest.mark.parametrize("before", [True, False])
async def test_killed_between_the_last_checkpoint_and_hibernation(make_world, before):
    """Killed around the event that says that a session sleeps: nothing of it is lost either way."""
    world = make_world(size=1)
    session = await world.create()
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        await browser.until(lambda b: b.view.checkpoint_id)
    world.pool.made[0].workspace.files["a"] = b"a"
    async with stopped_at(world, SessionHibernated, before=before) as reached:
        await world.command(session.id, Hibernate())
        await reached.wait()
    await killed(world)
    async with world.browser(session.id) as browser:
        await browser.until_state("idle")
        assert world.pool.made[-1].workspace.files == {"a": b"a"}
        await one_turn(world, browser, session.id, "more")
        assert not browser.of(SandboxLost)
    assert len(world.pool.made) == (1 if before else 2)


@pytest.mark.parametrize("where", ["files", "conversation"])
async def test_killed_in_the_middle_of_a_restore(make_world, where):
    """A sandbox that was half filled is given up, and the session is filled into another one."""
    world = make_world(size=1)
    session = await world.create()
    world.pool.made[0].workspace.files["a"] = b"a"
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        await browser.until(lambda b: b.view.checkpoint_id)
        await world.command(session.id, Hibernate())
        await browser.until_state("hibernated")
    gate, make = Gate(), world.pool._make

    def half():
        sandbox = make()
        if where == "files":
            sandbox.workspace.restore_checkpoint = gate
        else:
            sandbox.give_transcript = gate
        return sandbox

    world.pool._make = half
    await world.say(session.id, "good morning", client_id="m")
    await gate.reached.wait()
    world.pool._make = make
    await killed(world)
    assert world.pool.made[1].destroyed
    async with world.browser(session.id) as browser:
        await browser.until(lambda b: len(b.of(TurnEnded)) == 2)
        assert world.pool.made[2].workspace.files == {"a": b"a"}
        assert browser.of(TurnStarted)[-1].client_id == "m"


async def test_killed_while_going_back(make_world):
    """Killed between the decision to go back and the sandbox for it: it wakes where it went."""
    world = make_world(size=1)
    session = await world.create()
    files = world.pool.made[0].workspace.files
    async with world.browser(session.id) as browser:
        files["a"] = b"1"
        await one_turn(world, browser, session.id, "one")
        await browser.until(lambda b: b.view.checkpoint_id)
        first = browser.view.checkpoint_id
        files["a"] = b"2"
        await one_turn(world, browser, session.id, "two")
        await browser.until(lambda b: b.view.checkpoint_id != first)
    async with stopped_at(world, WentBack, before=False) as reached:
        await world.command(session.id, GoBack(checkpoint_id=first))
        await reached.wait()
    await killed_with_its_sandboxes(world)
    async with world.browser(session.id) as browser:
        await browser.until_state("idle")
        assert world.pool.made[-1].workspace.files == {"a": b"1"}
        assert world.database.sessions[session.id].branch == 1


async def test_machine_that_was_started_anew(make_world):
    """With the sandboxes gone as well: what ran is offered again, what waited runs by itself."""
    world = make_world(size=4)
    running, idle, queued = [await world.create() for _ in range(3)]
    async with world.browser(running.id) as browser:
        await world.say(running.id, "!slow 30", client_id="r")
        await browser.until_state("running")
    waiting = await world.create(wait=False)
    await world.say(queued.id, "!slow 30", client_id="q1")
    await world.say(queued.id, "next", client_id="q2")
    await killed_with_its_sandboxes(world)
    for session in (running, idle, queued, waiting):
        assert await world.state(session.id) == "hibernated"
    async with world.browser(running.id) as browser:
        await browser.until_state("idle")
        assert browser.view.unfinished.client_id == "r"
        assert browser.of(SandboxLost)[0].tag == "restarted"
        await world.command(running.id, RunAgain(client_id="r2", unfinished="r"))
        await browser.until_state("running")
    async with world.browser(queued.id) as browser:
        await browser.until_state("idle")
        assert browser.view.unfinished.client_id == "q1"
        assert [q.client_id for q in browser.view.queue] == ["q2"]


async def test_work_that_waits_goes_on_without_a_visit(make_world):
    """After a start, a session whose prompt is to be run again by itself is woken for it."""
    world = make_world(profile=RUNS_AGAIN)
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 0.1", client_id="a")
        await browser.until_state("running")
    await killed_with_its_sandboxes(world)
    await eventually(
        lambda: any(
            isinstance(e, TurnEnded) and e.outcome == "completed" for e in world.logged(session.id)
        )
    )


async def test_restarts_are_no_deaths(make_world):
    """However often the machine is started anew, that stops no session."""
    world = make_world(profile=RUNS_AGAIN)
    session = await world.create()
    for number in range(4):
        async with world.browser(session.id) as browser:
            await browser.until_state("idle")
            await world.say(session.id, "!slow 30", client_id=f"c{number}")
            await browser.until_state("running")
            await world.command(session.id, Stop())
            await browser.until_state("idle")
        await killed_with_its_sandboxes(world)
    assert world.database.sessions[session.id].deaths == 0


async def test_half_ended_session_is_ended(world):
    """Killed while a session was being ended: the start finishes that."""
    session = await world.create()
    async with stopped_at(world, SessionEnded) as reached:
        lost = asyncio.create_task(world.command(session.id, End()))
        await reached.wait()
        await eventually(lambda: world.database.sessions[session.id].state == "ending")
    await killed(world)
    assert await world.state(session.id) == "ended"
    assert not world.pool.live
    lost.cancel()


# --- the storage fails -------------------------------------------------------------------------


class Failing:
    """The log refuses every event of one kind, for as long as `on`."""

    def __init__(self, world, kind):
        self.on = True
        self._append, self._tag = world.log.append, str(kind.__struct_config__.tag)
        world.log.append = self

    async def __call__(self, session, entries):
        if self.on and any(entry.tag == self._tag for entry in entries):
            raise StorageFailed
        await self._append(session, entries)


async def test_storage_that_fails_at_a_turns_start(world):
    """The prompt is refused, and may be sent again under the same id."""
    session = await world.create()
    failing = Failing(world, TurnStarted)
    with pytest.raises(StorageFailed):
        await world.say(session.id, "hello", client_id="a")
    failing.on = False
    async with world.browser(session.id) as browser:
        await world.say(session.id, "hello", client_id="a")
        await browser.until(lambda b: b.of(TurnEnded))


async def test_storage_that_fails_at_a_decision(world):
    """A decision that cannot be written down was not made: the question stays open."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!bash ls")
        await browser.until_state("asking")
        [request] = browser.view.permissions
        failing = Failing(world, PermissionResolved)
        with pytest.raises(StorageFailed):
            await world.command(session.id, decision_on(request, "allow"))
        assert not [c for c in world.pool.made[0].sent if isinstance(c, AnswerPermission)]
        failing.on = False
        await world.command(session.id, decision_on(request, "allow"))
        await browser.until(lambda b: b.of(TurnEnded))


async def test_storage_that_fails_at_the_assignment(world):
    """A session that wakes and cannot be written down rests, without a sandbox; later it wakes."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        await browser.until(lambda b: b.view.checkpoint_id)
        await world.command(session.id, Hibernate())
        await browser.until_state("hibernated")
        failing = Failing(world, SandboxAssigned)
        await world.say(session.id, "good morning")
        await browser.until(lambda b: len(world.pool.made) == 2 and not world.pool.live)
        await browser.until_state("hibernated")
        failing.on = False
        await world.say(session.id, "again")
        await browser.until(lambda b: len(b.of(TurnEnded)) == 3)


async def test_storage_that_fails_at_hibernation(world):
    """A session that cannot be written down as sleeping stays awake, in its sandbox."""
    session = await world.create()
    failing = Failing(world, SessionHibernated)
    async with world.browser(session.id) as browser:
        await world.command(session.id, Hibernate())
        await one_turn(world, browser, session.id)
        assert len(world.pool.made) == 1
        failing.on = False
        await browser.until(lambda b: b.view.checkpoint_id)
        await world.command(session.id, Hibernate())
        await browser.until_state("hibernated")


async def test_storage_that_fails_at_a_loss(world):
    """Where not even a loss can be written down, people are told that the session failed; a start
    finds it as the log has it."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30", client_id="a")
        await browser.until_state("running")
        failing = Failing(world, SandboxLost)
        world.pool.made[0].lose(Ending(tag="gone", sentence="Gone."))
        await browser.until_state("failed")
        assert browser.view.ending.tag == "storage_failed"
    failing.on = False
    assert len(set(seqs_of(world, session.id))) == len(seqs_of(world, session.id))


async def test_session_of_another_user_is_not_woken(world):
    """A visit by somebody else finds no session, and wakes none."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await browser.until_state("idle")
        await world.command(session.id, Hibernate())
        await browser.until_state("hibernated")
    made = len(world.pool.made)
    with pytest.raises(errors.UnknownSession):
        async with world.browser(session.id, actor=BERT):
            pass
    assert len(world.pool.made) == made
    assert (await world.sessions.view(ANNA, session.id)).state == "hibernated"
