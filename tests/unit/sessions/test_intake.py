"""What a sandbox says: what is written of it, against sandboxes that lie, too."""

import msgspec
import pytest

from orchestrator.protocol.chat import Ending, Hibernate, Stop
from orchestrator.protocol.commands import AnswerPermission
from orchestrator.protocol.control_events import (
    PromptUnfinished,
    RecoveryStopped,
    SandboxLost,
    SessionHibernated,
)
from orchestrator.protocol.sandbox_events import (
    BlockDelta,
    NoteWritten,
    PermissionRequested,
    PermissionWithdrawn,
    TurnEnded,
)
from orchestrator.sessions.errors import AnswerTooLate
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.view.endings import WITHDRAWN
from orchestrator.testing.chat_client import decision_on
from orchestrator.testing.fake_agent import permission_request
from orchestrator.testing.session_world import LIMITS, eventually

replace = msgspec.structs.replace


async def test_turn_ends_once(world):
    """However often a sandbox says that a turn is over: the log has one end of it, and none of
    turns that never were."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30")
        await browser.until_state("running")
        turn_id = browser.view.turn_id
        ended = TurnEnded(turn_id=turn_id, outcome="failed", api_error_status=529)
        for one in (replace(ended, turn_id="other"), ended, ended):
            world.pool.made[0].say(one)
        await browser.until_state("idle")
        world.pool.made[0].say(replace(ended, outcome="completed"))
        world.pool.made[0].say(NoteWritten(text="last"))
        await browser.until(lambda b: b.of(NoteWritten))
        assert [e.turn_id for e in browser.of(TurnEnded)] == [turn_id]
        assert len(browser.of(PromptUnfinished)) == 1


async def test_questions_that_are_asked_again_are_counted_once(make_world):
    """A sandbox that outlives the control plane says its open questions again: that makes them no
    more than they are."""
    world = make_world(limits=replace(LIMITS, max_open_questions=3))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30")
        asks = [permission_request(f"p{i}", "Bash", {"command": f"{i}"}) for i in range(3)]
        for ask in asks:
            world.pool.made[0].say(ask)
        await browser.until(lambda b: len(b.of(PermissionRequested)) == 3)
        for ask in asks:
            world.pool.made[0].say(ask)
        world.pool.made[0].say(NoteWritten(text="last"))
        await browser.until(lambda b: b.of(NoteWritten))
        assert len(browser.of(PermissionRequested)) == len(browser.view.permissions) == 3
        await world.command(session.id, Stop())


async def test_what_is_said_before_its_time_is_bounded(make_world):
    """A sandbox that talks a lot before the session is at home there is given up: all of it waits
    in memory."""
    world = make_world(size=1, limits=replace(LIMITS, max_prelude_bytes=10_000))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "hello")
        await browser.until(lambda b: b.of(TurnEnded) and b.view.state == "idle")
        block = BlockDelta(message_id="m", index=0, kind="text", offset=0, text="x" * 3000)

        claim = world.pool.claim

        async def talkative(*args, **rest):
            sandbox = await claim(*args, **rest)
            sandbox.agent.resume = lambda _: [sandbox.say(block) for _ in range(5)]
            return sandbox

        world.pool.claim = talkative
        world.pool.made[0].lose(Ending(tag="gone", sentence="Gone."))
        await browser.until_state("hibernated")
        assert len(world.pool.made) == 3
        await eventually(lambda: not world.pool.live)


async def test_log_allowance_outlasts_the_process(make_world):
    """What an earlier run wrote into the log counts: a restart is no new allowance."""
    world = make_world(limits=SessionLimits(log_bytes=10_000))
    session = await world.create()
    async with world.browser(session.id) as browser:
        for _ in range(6):
            world.pool.made[0].say(NoteWritten(text="x" * 1000))
        await browser.until(lambda b: len(b.of(NoteWritten)) == 6)
    await world.sessions.close()
    world.sessions = world.new_process()
    await world.sessions.start()
    async with world.browser(session.id) as browser:
        await browser.until_state("idle")
        for _ in range(5):
            world.pool.made[-1].say(NoteWritten(text="x" * 1000))
        await browser.until_state("failed")
        assert browser.view.ending.tag == "said_too_much"


async def test_log_that_cannot_be_measured_is_measured_later(make_world):
    """Where the database refuses to tell how much there is, the session goes on, and it is asked
    again."""
    world = make_world(limits=replace(LIMITS, log_bytes=4_000))
    session = await world.create()
    measured = world.log.said_bytes
    refusals = 0

    async def refuses(session_id):
        nonlocal refusals
        refusals += 1
        world.log.said_bytes = measured
        world.database.broken = True
        try:
            return await measured(session_id)
        finally:
            world.database.broken = False

    world.log.said_bytes = refuses
    async with world.browser(session.id) as browser:
        world.pool.made[0].say(NoteWritten(text="x" * 1000))
        await browser.until(lambda b: len(b.of(NoteWritten)) == 1)
        assert refusals == 1
        for _ in range(4):
            world.pool.made[0].say(NoteWritten(text="x" * 1000))
        await browser.until_state("failed")
    await eventually(lambda: world.pool.made[0].destroyed)


def asked(key, *, agent=None):
    return replace(permission_request(key, "Bash", {"command": key}), agent=agent)


async def test_question_that_outlasts_its_turn_is_withdrawn(world):
    """What the turn itself had asked is withdrawn where its end does not say so: nobody is left
    with a question that can be answered no more."""
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30")
        for key in ("p1", "p2"):
            sandbox.say(asked(key))
        await browser.until(lambda b: len(b.view.permissions) == 2)
        sandbox.say(PermissionWithdrawn(permission_id="p1"))
        sandbox.say(TurnEnded(turn_id=browser.view.turn_id, outcome="completed"))
        await browser.until_state("idle")
        told = [e.permission_id for e in browser.of(PermissionWithdrawn)]
        assert (told, browser.view.permissions) == (["p1", "p2"], [])


async def test_subagent_in_the_background_may_wait_for_an_answer(world):
    """A subagent that works on after its turn and asks is still asking then, and hears the
    answer."""
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30")
        sandbox.say(asked("sub", agent="helper"))
        await browser.until_state("asking")
        sandbox.say(TurnEnded(turn_id=browser.view.turn_id, outcome="completed"))
        await browser.until_state("idle")
        [ask] = browser.view.permissions
        assert not browser.of(PermissionWithdrawn)
        await world.command(session.id, decision_on(ask, "allow"))
        await browser.until(lambda b: not b.view.permissions)
        assert [c.permission_id for c in sandbox.sent if isinstance(c, AnswerPermission)] == ["sub"]


@pytest.mark.parametrize("agents", [(None, None), ("helper",), (None, "helper")])
async def test_questions_that_go_with_a_sandbox_are_withdrawn_in_words(world, agents):
    """Several questions, or a subagent's, survive no sandbox: each is withdrawn, people are told
    why and that it is so, and the prompt is on offer."""
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30")
        for number, agent in enumerate(agents):
            ask = replace(asked(f"p{number}", agent=agent), tool_use_id=f"toolu-{number}")
            sandbox.say(ask)
        await browser.until(lambda b: len(b.view.permissions) == len(agents))
        sandbox.lose(Ending(tag="gone", sentence="It is gone."))
        await browser.until_state("idle")
        assert len(browser.of(PermissionWithdrawn)) == len(agents)
        [lost] = browser.of(SandboxLost)
        assert lost.sentence == f"It is gone. {WITHDRAWN}"
        assert browser.view.unfinished is not None
        with pytest.raises(AnswerTooLate):
            await world.command(session.id, decision_on(ask, "allow"))


@pytest.mark.parametrize("way", ["lost", "hibernated"])
async def test_question_from_the_background_goes_with_its_sandbox(world, way):
    """What was asked outside a turn is withdrawn with the sandbox it was asked in, in words."""
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        sandbox.say(asked("sub", agent="helper"))
        await browser.until(lambda b: b.view.permissions)
        if way == "lost":
            sandbox.lose(Ending(tag="gone", sentence="It is gone."))
            [told] = await browser.until(lambda b: b.of(SandboxLost))
        else:
            await world.command(session.id, Hibernate())
            [told] = await browser.until(lambda b: b.of(SessionHibernated))
        assert told.sentence.endswith(WITHDRAWN)
        assert [e.permission_id for e in browser.of(PermissionWithdrawn)] == ["sub"]
        await browser.until(lambda b: not b.view.permissions)


async def test_last_death_in_a_row_says_the_same_reason(make_world):
    """Where recovery stops, it begins with the reason that the loss was told with, word for word:
    the page shows it once."""
    world = make_world(limits=replace(LIMITS, max_deaths=1))
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30")
        world.pool.made[0].say(asked("sub", agent="helper"))
        await browser.until_state("asking")
        world.pool.made[0].lose(Ending(tag="gone", sentence="It is gone."))
        [stopped] = await browser.until(lambda b: b.of(RecoveryStopped))
        assert stopped.sentence.startswith(browser.of(SandboxLost)[0].sentence)
