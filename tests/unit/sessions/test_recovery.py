"""A session whose sandbox dies: what its people see, and how it goes on."""

import asyncio

import msgspec
import pytest

from orchestrator.protocol.chat import Ending, LetGo, RunAgain, Stop
from orchestrator.protocol.commands import AnswerPermission, ResumeAgent, StartTurn
from orchestrator.protocol.control_events import (
    OutOfMemory,
    PromptAccepted,
    PromptUnfinished,
    RecoveryStopped,
    SandboxAssigned,
    SandboxLost,
    SessionEnded,
    TurnStarted,
)
from orchestrator.protocol.sandbox_events import (
    AgentDied,
    BlockDelta,
    PermissionRequested,
    PermissionWithdrawn,
    TextWritten,
    TurnEnded,
)
from orchestrator.sessions import errors
from orchestrator.testing.chat_client import decision_on
from orchestrator.testing.fake_agent import permission_request
from orchestrator.testing.session_world import PROFILE, eventually

OOM = Ending(tag="out_of_memory", sentence="The sandbox ran out of memory.")
RUNS_AGAIN = msgspec.structs.replace(PROFILE, unfinished="run")


async def one_turn(world, browser, session_id, text="hello"):
    before = len(browser.of(TurnEnded))
    await world.say(session_id, text)
    await browser.until(lambda b: len(b.of(TurnEnded)) > before and b.view.state == "idle")


async def test_lost_sandbox_is_told_in_one_line_and_the_session_goes_on(make_world):
    """A sandbox that dies in a turn: the reason, the prompt on offer, another sandbox with files
    and conversation."""
    world = make_world(size=1)
    session = await world.create()
    async with world.browser(session.id) as browser:
        world.pool.made[0].workspace.files["kept.txt"] = b"kept"
        await one_turn(world, browser, session.id)
        await browser.until(lambda b: b.view.checkpoint_id)
        await world.say(session.id, "!slow 30", client_id="slow")
        await browser.until_state("running")
        world.pool.made[0].lose(OOM)
        await browser.until_state("idle")
        assert browser.of(SandboxLost) == [SandboxLost(tag=OOM.tag, sentence=OOM.sentence)]
        ended = browser.of(TurnEnded)[-1]
        assert (ended.outcome, ended.subtype) == ("failed", "sandbox_lost")
        [unfinished] = browser.of(PromptUnfinished)
        assert (unfinished.client_id, unfinished.text) == ("slow", "!slow 30")
        assert unfinished.sentence.startswith("The sandbox ran out of memory.")
        assert browser.view.unfinished.client_id == "slow"
        assigned = browser.of(SandboxAssigned)[-1]
        assert (assigned.reason, assigned.sandbox_id) == ("recovered", "fake-2")
        assert assigned.checkpoint_id == browser.view.checkpoint_id
        assert world.pool.made[1].workspace.files["kept.txt"] == b"kept"
        assert browser.of(TurnStarted)[0].turn_id.encode() in world.pool.made[1].agent.loaded
        assert browser.seqs == list(range(browser.seqs[0], browser.seqs[0] + len(browser.seqs)))
    assert world.pool.made[0].destroyed


async def test_half_written_text_is_kept_and_marked(world):
    """What Claude had written of an unfinished block stays, as text that was cut."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30")
        delta = BlockDelta(message_id="m", index=0, kind="text", offset=0, text="Half a sen")
        world.pool.made[0].say(delta)
        tool = BlockDelta(message_id="m", index=1, kind="tool_input", offset=0, text='{"com')
        world.pool.made[0].say(tool)
        await browser.until(lambda b: len(b.of(BlockDelta)) == 2)
        world.pool.made[0].lose(OOM)
        await browser.until(lambda b: b.of(SandboxLost))
        [cut] = browser.of(TextWritten)
        assert (cut.text, cut.cut) == ("Half a sen", True)
    assert cut in world.logged(session.id)


async def test_unfinished_prompt_is_run_again_once(world):
    """Run again it is a prompt of its own, ahead of what waits, and offered no longer."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30", client_id="a")
        await world.say(session.id, "later", client_id="b")
        world.pool.made[0].lose(OOM)
        await browser.until_state("idle")
        assert [q.client_id for q in browser.view.queue] == ["b"]
        for _ in range(2):
            await world.command(session.id, RunAgain(client_id="a2", unfinished="a"))
        with pytest.raises(errors.NothingUnfinished):
            await world.command(session.id, RunAgain(client_id="a3", unfinished="a"))
        await browser.until(lambda b: len(b.of(TurnStarted)) == 2)
        assert browser.view.unfinished is None or browser.of(PromptAccepted)[-1].again == "a"
        await world.command(session.id, Stop())
        await browser.until(lambda b: len(b.of(TurnEnded)) == 3)
        assert [e.client_id for e in browser.of(TurnStarted)] == ["a", "a2", "b"]


async def test_let_go_prompt_makes_room_for_the_queue(world):
    """Prompts that waited behind an unfinished one run once it is let go."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30", client_id="a")
        await world.say(session.id, "later", client_id="b")
        world.pool.made[0].lose(OOM)
        await browser.until_state("idle")
        await world.command(session.id, LetGo(unfinished="a"))
        await browser.until(lambda b: len(b.of(TurnEnded)) == 2)
        assert browser.view.unfinished is None
        with pytest.raises(errors.NothingUnfinished):
            await world.command(session.id, LetGo(unfinished="a"))


async def test_new_prompt_goes_on_beside_the_offer(world):
    """Who asks for something else is not kept waiting by the offer, which stays."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30", client_id="a")
        world.pool.made[0].lose(OOM)
        await browser.until_state("idle")
        await one_turn(world, browser, session.id, "something else")
        assert browser.view.unfinished.client_id == "a"


async def test_profile_may_run_it_again_by_itself(make_world):
    """Where the profile says so, the prompt runs again without anybody's doing."""
    world = make_world(profile=RUNS_AGAIN)
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "hello\n!slow 0.05\nbye", client_id="a")
        await browser.until_state("running")
        world.pool.made[0].lose(OOM)
        await browser.until(lambda b: len(b.of(TurnEnded)) == 2)
        again = browser.of(PromptAccepted)[-1]
        assert (again.again, again.by) == ("a", "Anna")
        assert browser.of(TurnEnded)[-1].outcome == "completed"
        assert browser.view.unfinished is None


async def test_stopped_turn_is_not_offered_again(world):
    """Whoever stopped a turn does not want it run again because its sandbox died as well."""
    session = await world.create()
    sandbox = world.pool.made[0]

    async def deaf(_turn_id):
        return

    sandbox.agent.interrupt = deaf
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30")
        await world.command(session.id, Stop())
        sandbox.lose(OOM)
        await browser.until_state("idle")
        assert browser.of(TurnEnded)[-1].outcome == "interrupted"
        assert not browser.of(PromptUnfinished)


async def test_three_deaths_in_a_row_stop_the_loop(make_world):
    """The third sandbox that dies without a finished turn is the last one tried by itself; a
    person's prompt tries once more."""
    world = make_world(profile=RUNS_AGAIN)
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!die")
        await browser.until_state("hibernated")
        [stopped] = browser.of(RecoveryStopped)
        assert stopped.deaths == 3
        assert len(world.pool.made) == 3
        async with world.browser(session.id) as visitor:
            assert visitor.view.state == "hibernated"
        await world.say(session.id, "!die", client_id="another")
        await browser.until(lambda b: len(b.of(RecoveryStopped)) == 2)
        assert len(world.pool.made) == 4
        await world.say(session.id, "something gentle")
        await browser.until_state("idle")
        assert browser.of(TurnEnded)[-1].outcome == "completed"


async def test_finished_turn_forgives_deaths(world):
    """A turn that comes to its end begins the count of deaths anew."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        for number in range(4):
            await one_turn(world, browser, session.id, f"prompt {number}")
            world.pool.made[-1].lose(OOM)
            await browser.until(
                lambda b, n=number: len(b.of(SandboxAssigned)) == n + 2 and b.view.state == "idle"
            )
        assert not browser.of(RecoveryStopped)


async def test_conversation_reads_as_one(make_world):
    """A conversation whose sandbox dies in every third turn reads as one: every prompt has its
    turn, and the agent always knows what was said before."""
    world = make_world(profile=RUNS_AGAIN)
    session = await world.create()
    async with world.browser(session.id) as browser:
        for number in range(9):
            lines = f"prompt {number}" + ("\n!slow 0.02" if number % 3 == 2 else "")
            before = len(browser.of(PromptAccepted))
            await world.say(session.id, lines)
            if number % 3 == 2:
                await browser.until_state("running")
                world.pool.made[-1].lose(OOM)
            await browser.until(
                lambda b, n=before: (
                    len(b.of(PromptAccepted)) > n
                    and b.view.state == "idle"
                    and b.of(TurnEnded)[-1].outcome == "completed"
                )
            )
    assert len(world.pool.made) == 4
    known = world.pool.made[-1].agent.loaded
    assert all(e.turn_id.encode() in known for e in browser.of(TurnStarted)[:-1])
    assert not [e for e in world.logged(session.id) if isinstance(e, SessionEnded)]


async def test_dead_agent_is_followed_by_another(world):
    """A CLI that was killed: its sandbox goes, also one that stays, and the session goes on."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        world.pool.made[0].say(AgentDied(exit_code=-9))
        await browser.until(lambda b: b.of(SandboxLost))
        assert browser.of(SandboxLost)[0].tag == "agent_died"
        await browser.until(lambda b: b.view.sandbox_id == "fake-2")
    await eventually(lambda: world.pool.made[0].destroyed)


async def test_question_survives_its_sandbox(world):
    """A permission for which the turn waited is still open in the next sandbox, and its answer goes
    there."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        await world.say(session.id, "!bash ls")
        await browser.until_state("asking")
        [request] = browser.view.permissions
        world.pool.made[0].lose(OOM)
        await browser.until(lambda b: b.of(SandboxLost))
        await browser.until_state("asking")
        assert browser.view.permissions == [request]
        assert not browser.of(PermissionWithdrawn)
        [resumed] = [c for c in world.pool.made[1].sent if isinstance(c, ResumeAgent)]
        assert resumed.pending.permission_id == request.permission_id
        assert resumed.pending.input_hash == request.input_hash
        await world.command(session.id, decision_on(request, "allow"))
        await browser.until_state("idle")
        assert browser.of(TurnEnded)[-1].outcome == "completed"
        assert len(browser.of(PermissionRequested)) == 1


async def test_several_questions_do_not_survive(world):
    """With more than one question open the turn is lost with its sandbox, and its prompt
    offered."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!bash ls", client_id="a")
        world.pool.made[0].say(permission_request("other", "Bash", {"command": "pwd"}))
        await browser.until(lambda b: len(b.view.permissions) == 2)
        world.pool.made[0].lose(OOM)
        await browser.until_state("idle")
        assert browser.view.unfinished.client_id == "a"
        assert len(browser.of(PermissionWithdrawn)) == 2


async def test_answer_given_meanwhile_reaches_the_next_sandbox(make_world):
    """Who answers while the session waits for another sandbox has answered: the tool runs there."""
    world = make_world(size=1)
    session = await world.create()
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        await world.say(session.id, "!bash ls")
        await browser.until_state("asking")
        [request] = browser.view.permissions
        world.pool.resize(0)
        world.pool.made[0].lose(OOM)
        await browser.until_state("waking")
        await world.command(session.id, decision_on(request, "allow"))
        world.pool.resize(1)
        await browser.until_state("idle")
        assert browser.of(TurnEnded)[-1].outcome == "completed"
        sent = [c for c in world.pool.made[1].sent if isinstance(c, AnswerPermission)]
        assert [c.decision.choice for c in sent] == ["allow"]


async def test_restore_that_fails_is_tried_once_more(world):
    """An agent that cannot resume costs its sandbox; the next one serves."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        make = world.pool._make

        def first_is_useless():
            sandbox = make()
            sandbox.agent.resumes = sandbox.id != "fake-2"
            return sandbox

        world.pool._make = first_is_useless
        world.pool.made[0].lose(OOM)
        await browser.until(lambda b: b.view.sandbox_id == "fake-3")
        assert world.pool.made[1].destroyed
        assert [e.reason for e in browser.of(SandboxAssigned)] == ["new", "recovered"]


async def test_restore_that_fails_twice_rests(world):
    """When no sandbox can be filled, the session rests with an explanation, and a prompt tries
    again."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        make, works = world.pool._make, []

        def useless():
            sandbox = make()
            sandbox.agent.resumes = bool(works)
            return sandbox

        world.pool._make = useless
        world.pool.made[0].lose(OOM)
        await browser.until_state("hibernated")
        assert "rests" in browser.of(RecoveryStopped)[0].sentence
        assert not world.pool.live
        works.append(True)
        await one_turn(world, browser, session.id, "again")


async def test_session_that_gets_no_sandbox_rests(make_world):
    """No sandbox in time: the session rests with the reason, nothing is lost, a prompt wakes it."""
    world = make_world(size=1, patience=0.02)
    session = await world.create()
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        world.pool.resize(0)
        world.pool.made[0].lose(OOM)
        await browser.until_state("hibernated")
        assert "Every sandbox is in use." in browser.of(RecoveryStopped)[0].sentence
        world.pool.resize(1)
        await one_turn(world, browser, session.id, "again")


async def test_said_too_much_is_the_end(make_world):
    """A bound that another sandbox could only break again ends the session."""
    limits = msgspec.structs.replace(make_world().limits, log_bytes=1000)
    world = make_world(limits=limits)
    session = await world.create()
    async with world.browser(session.id) as browser:
        world.pool.made[0].say(TextWritten(message_id="m", index=0, text="x" * 2000))
        await browser.until_state("failed")
        assert browser.view.ending.tag == "said_too_much"
    await eventually(lambda: world.pool.made[0].destroyed)


async def test_sandbox_that_misbehaves_again_and_again_is_the_end(world):
    """Three sandboxes in a row that ask what they must not: the session is stopped for good."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        for number in range(1, 4):
            await browser.until(lambda b, n=number: b.view.sandbox_id == f"fake-{n}")
            shown = {"command": "ls"}
            world.pool.made[-1].say(
                PermissionRequested(permission_id="p", tool_name="Bash", input=shown)
            )
            await browser.until(lambda b, n=number: len(b.of(SandboxLost)) == n)
        await browser.until_state("failed")
        assert browser.view.ending.tag == "sandbox_misbehaved"


async def test_killed_program_is_told(world):
    """What the engine tells of memory is told to people, and the session lives."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        world.pool.made[0].run_out_of_memory()
        await browser.until(lambda b: b.of(OutOfMemory))
        assert browser.view.state == "idle"


async def test_upstream_failure_offers_the_prompt(world):
    """A turn that failed because the model could not be reached is offered again; one that can only
    fail again is not."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!fail 400", client_id="a")
        await browser.until(lambda b: len(b.of(TurnEnded)) == 1)
        await browser.until_state("idle")
        assert browser.view.unfinished is None
        await world.say(session.id, "!fail 503", client_id="b")
        await browser.until(lambda b: b.view.unfinished is not None)
        assert browser.view.unfinished.client_id == "b"
        started = len([c for c in world.pool.made[0].sent if isinstance(c, StartTurn)])
        await asyncio.sleep(0)
        assert started == 2


async def test_unusable_sandbox_before_the_session_is_at_home(world):
    """A sandbox that talks without end before it was assigned is given up for another one."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await one_turn(world, browser, session.id)
        make = world.pool._make

        def chatty():
            sandbox = make()
            if sandbox.id == "fake-2":
                for number in range(2000):
                    sandbox.say(TextWritten(message_id=f"m{number}", index=0, text="x"))
            return sandbox

        world.pool._make = chatty
        world.pool.made[0].lose(OOM)
        await browser.until(lambda b: b.view.sandbox_id == "fake-3")
        assert len(browser.of(TextWritten)) == 1
