"""Prompts, turns, answers: the rules of one conversation."""

import asyncio

import pytest

from orchestrator.protocol.chat import (
    MAX_PROMPT_BYTES,
    ChooseModel,
    ChoosePermissionMode,
    End,
    GiveAnswer,
    Ping,
    RemovePrompt,
    Rename,
    Stop,
)
from orchestrator.protocol.commands import (
    AnswerPermission,
    Interrupt,
    StartTurn,
)
from orchestrator.protocol.control_events import (
    InterruptRequested,
    PermissionResolved,
    PromptAccepted,
    QuestionAnswered,
    SandboxLost,
    TurnStarted,
)
from orchestrator.protocol.input_hash import input_hash
from orchestrator.protocol.sandbox_events import (
    AgentFailed,
    BlockDelta,
    ModelChanged,
    PermissionRequested,
    PermissionWithdrawn,
    PromptAnnotated,
    PromptBlocked,
    TextWritten,
    ToolForbidden,
    TurnEnded,
)
from orchestrator.sessions import errors
from orchestrator.testing.chat_client import decision_on
from orchestrator.testing.fake_agent import permission_request
from orchestrator.testing.session_world import ANNA, BERT, eventually


def turns_over(count):
    return lambda browser: len(browser.of(TurnEnded)) == count


async def test_plain_prompt_streams_and_ends(world):
    """A prompt is accepted, streamed in pieces, closed by its durable text, and ends its turn."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "hello")
        await browser.until(turns_over(1))
        await browser.until_state("idle")
        kinds = [type(event).__name__ for event in browser.events]
        assert kinds == [
            "SandboxAssigned",
            "PromptAccepted",
            "SessionRenamed",
            "TurnStarted",
            "AgentReady",
            "BlockDelta",
            "TextWritten",
            "TurnEnded",
        ]
        assert browser.seqs == list(range(1, 9))


async def test_transient_events_are_not_logged(world):
    """The log holds every durable event in order and no transient one."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!say 100 words")
        await browser.until(turns_over(1))
    logged = world.logged(session.id)
    assert not [event for event in logged if isinstance(event, BlockDelta)]
    assert [event for event in logged if isinstance(event, TextWritten)]


async def test_everything_durable_is_acknowledged(world):
    """The sandbox may forget what is in the log, and nothing that is not."""
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        sandbox.say(BlockDelta(message_id="m", index=0, kind="text", offset=0, text="a"))
        await browser.until(lambda b: b.of(BlockDelta))
        assert sandbox.acknowledged == 0
        sandbox.say(TextWritten(message_id="m", index=0, text="a"))
        await browser.until(lambda b: b.of(TextWritten))
        assert sandbox.acknowledged == 2


async def test_prompt_sent_twice_runs_once(world):
    """A repeated client id is accepted silently and does nothing."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "hello", client_id="c1")
        await world.say(session.id, "hello", client_id="c1")
        await browser.until_state("idle")
        await world.say(session.id, "hello", client_id="c1")
        await world.say(session.id, "last", client_id="c2")
        await browser.until(turns_over(2))
        assert [event.client_id for event in browser.of(PromptAccepted)] == ["c1", "c2"]


async def test_same_prompt_sent_at_once_from_two_tabs_runs_once(world):
    """Two tabs that send one client id at the same moment start one turn."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await asyncio.gather(*(world.say(session.id, "hi", client_id="c") for _ in range(5)))
        await browser.until(turns_over(1))
        assert len(browser.of(TurnStarted)) == 1


async def test_prompts_queue_in_order(world):
    """Prompts that are sent while a turn runs are shown as queued and run after it, in order."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 0.05", client_id="a")
        await world.say(session.id, "two", client_id="b")
        await world.say(session.id, "three", client_id="c")
        await browser.until(lambda b: [q.client_id for q in b.view.queue] == ["b", "c"])
        await browser.until(turns_over(3))
        assert [event.client_id for event in browser.of(TurnStarted)] == ["a", "b", "c"]
        await browser.until(lambda b: b.view.queue == [] and b.view.state == "idle")


async def test_queued_prompt_can_be_taken_back(world):
    """A removed prompt never runs, and cannot be removed twice."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 0.05", client_id="a")
        await world.say(session.id, "two", client_id="b")
        await world.command(session.id, RemovePrompt(client_id="b"))
        with pytest.raises(errors.UnknownPrompt):
            await world.command(session.id, RemovePrompt(client_id="b"))
        await browser.until(turns_over(1))
        await browser.until_state("idle")
        assert [event.client_id for event in browser.of(TurnStarted)] == ["a"]


async def test_queue_is_bounded(world):
    """The twenty-first waiting prompt is refused and changes nothing."""
    session = await world.create()
    await world.say(session.id, "!slow 30")
    for number in range(world.limits.max_queued_prompts):
        await world.say(session.id, f"p{number}")
    with pytest.raises(errors.QueueFull):
        await world.say(session.id, "one too many")
    view = await world.sessions.view(ANNA, session.id)
    assert len(view.queue) == world.limits.max_queued_prompts


async def test_queue_is_bounded_in_bytes(world):
    """Large prompts fill the queue sooner, since every browser is shown them."""
    session = await world.create()
    await world.say(session.id, "!slow 30")
    big = "x" * (MAX_PROMPT_BYTES - 10)
    for number in range(2):
        await world.say(session.id, big, client_id=f"big{number}")
    with pytest.raises(errors.QueueFull):
        await world.say(session.id, big, client_id="big2")
    await world.say(session.id, "small")


async def test_prompt_size_is_counted_in_bytes(world):
    """A prompt over 1 MiB in UTF-8 is refused, one of exactly 1 MiB is taken."""
    session = await world.create()
    with pytest.raises(errors.PromptTooLarge):
        await world.say(session.id, "é" * (MAX_PROMPT_BYTES // 2 + 1))
    await world.say(session.id, "é" * (MAX_PROMPT_BYTES // 2))
    assert len(world.pool.made[0].sent) == 1


@pytest.mark.parametrize("text", [" ", "\n\t \n"])
async def test_empty_prompt_is_refused(world, text):
    """A prompt of white space alone is refused."""
    session = await world.create()
    with pytest.raises(errors.PromptEmpty):
        await world.say(session.id, text)


async def test_prompts_may_be_sent_while_waiting(make_world):
    """What is typed while the session waits for its sandbox runs as soon as it has one."""
    world = make_world(size=1)
    first = await world.create()
    second = await world.create(wait=False)
    assert (second.state, second.place) == ("waiting", 1)
    await world.say(second.id, "early")
    async with world.browser(second.id) as browser:
        await world.command(first.id, End())
        await browser.until(turns_over(1))


async def test_stop_interrupts_and_the_queue_goes_on(world):
    """A stop ends the running turn as interrupted; prompts that wait run all the same."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!slow 30", client_id="a")
        await world.say(session.id, "next", client_id="b")
        await world.command(session.id, Stop())
        await browser.until(turns_over(2))
        assert [e.outcome for e in browser.of(TurnEnded)] == ["interrupted", "completed"]


async def test_stop_twice_is_one_stop(world):
    """A second stop of the same turn is accepted and not written down again."""
    session = await world.create()
    sandbox = world.pool.made[0]
    sandbox.interruptible = False
    await world.say(session.id, "!slow 30")
    await asyncio.gather(*(world.command(session.id, Stop()) for _ in range(3)))
    sent = [command for command in sandbox.sent if isinstance(command, Interrupt)]
    logged = [e for e in world.logged(session.id) if isinstance(e, InterruptRequested)]
    assert (len(sent), len(logged)) == (3, 1)


async def test_stop_without_a_turn_is_told(world):
    """There is nothing to stop in an idle session."""
    session = await world.create()
    with pytest.raises(errors.NothingToStop):
        await world.command(session.id, Stop())


async def test_permission_is_asked_and_allowed(world):
    """A tool waits for a person, and runs once allowed."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!bash ls")
        await browser.until_state("asking")
        [request] = browser.view.permissions
        assert request.suggestions
        await world.command(session.id, decision_on(request, "allow"))
        await browser.until(turns_over(1))
        [resolved] = browser.of(PermissionResolved)
        assert (resolved.choice, resolved.by) == ("allow", "Anna")
        assert (resolved.tool_name, resolved.input_hash) == ("Bash", request.input_hash)
        assert browser.view.permissions == []


async def test_deny_and_stop_ends_the_turn(world):
    """Denying and stopping ends the turn as interrupted."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!bash rm -rf /")
        await browser.until_state("asking")
        [request] = browser.view.permissions
        await world.command(session.id, decision_on(request, "deny_and_stop", reason="never"))
        await browser.until(turns_over(1))
        assert browser.of(TurnEnded)[0].outcome == "interrupted"


async def test_first_of_two_answers_wins(world):
    """When two tabs answer one permission, the first wins and the other is told that it is gone."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!bash ls")
        await browser.until_state("asking")
        [request] = browser.view.permissions
        results = await asyncio.gather(
            world.command(session.id, decision_on(request, "allow")),
            world.command(session.id, decision_on(request, "deny")),
            return_exceptions=True,
        )
        assert results[0] is None
        assert isinstance(results[1], errors.AnswerTooLate)
        sent = [c for c in world.pool.made[0].sent if isinstance(c, AnswerPermission)]
        assert [c.decision.choice for c in sent] == ["allow"]


async def test_stop_while_asking_withdraws_the_question(world):
    """A stop withdraws what was asked; an answer that comes later is told so."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!bash ls")
        await browser.until_state("asking")
        [request] = browser.view.permissions
        await world.command(session.id, Stop())
        await browser.until(turns_over(1))
        await browser.until_state("idle")
        assert browser.of(PermissionWithdrawn)
        assert browser.view.permissions == []
        with pytest.raises(errors.AnswerTooLate):
            await world.command(session.id, decision_on(request, "allow"))


@pytest.mark.parametrize(
    "decision",
    [
        {"choice": "deny", "updated_input": {"command": "ls"}},
        {"choice": "allow", "reason": "because"},
        {"choice": "allow", "suggestions": [0]},
        {"choice": "allow_always", "suggestions": [7]},
        {"choice": "allow_always", "suggestions": [-1]},
    ],
)
async def test_decision_must_fit(world, decision):
    """A decision that contradicts itself or picks what was not offered is refused."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!bash ls")
        await browser.until_state("asking")
        [request] = browser.view.permissions
        with pytest.raises(errors.BadAnswer):
            await world.command(session.id, decision_on(request, **decision))
        assert (await world.sessions.view(ANNA, session.id)).permissions


async def test_a_decision_names_what_was_shown(world):
    """An answer that names no input, or another one than the open request's, decides nothing."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!bash ls")
        await browser.until_state("asking")
        [request] = browser.view.permissions
        for named in ("", input_hash("Bash", {"command": "rm -rf /"})):
            with pytest.raises(errors.InputChanged):
                await world.command(session.id, decision_on(request, "allow", input_hash=named))
        assert not browser.of(PermissionResolved)
        assert not [c for c in world.pool.made[0].sent if isinstance(c, AnswerPermission)]


async def test_a_request_that_is_swapped_is_not_what_was_approved(world):
    """A sandbox that asks anew under the same name gets no answer that was for the first."""
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        first = permission_request("p", "Bash", {"command": "ls"})
        sandbox.say(first)
        sandbox.say(permission_request("p", "Bash", {"command": "rm -rf /"}))
        await browser.until(lambda b: len(b.of(PermissionRequested)) == 2)
        with pytest.raises(errors.InputChanged):
            await world.command(session.id, decision_on(first, "allow"))
        assert not sandbox.sent


async def test_a_changed_input_is_logged_as_what_runs(world):
    """Who changes what runs is on record with the changed input's hash."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!bash ls")
        await browser.until_state("asking")
        [request] = browser.view.permissions
        changed = {"command": "pwd"}
        await world.command(session.id, decision_on(request, "allow", updated_input=changed))
        [resolved] = await browser.until(lambda b: b.of(PermissionResolved))
        assert resolved.changed_input
        assert resolved.input_hash == input_hash("Bash", changed)


@pytest.mark.parametrize("named", ["", input_hash("Bash", {"command": "rm -rf /"})])
async def test_a_sandbox_that_misnames_its_input_is_given_up(world, named):
    """A request whose hash is not that of its input reaches nobody and costs the sandbox."""
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        shown = {"command": "ls"}
        sandbox.say(
            PermissionRequested(permission_id="p", tool_name="Bash", input=shown, input_hash=named)
        )
        await browser.until(lambda b: b.of(SandboxLost))
        assert browser.of(SandboxLost)[0].tag == "sandbox_misbehaved"
        assert not browser.of(PermissionRequested)
        await browser.until(lambda b: b.view.sandbox_id == "fake-2")


async def test_what_guardrails_did_is_on_record(world):
    """Refused tools, blocked and annotated prompts are logged and change nothing by themselves."""
    session = await world.create()
    sandbox = world.pool.made[0]
    said = [
        ToolForbidden(tool_name="Bash", reason="never", policy="profile"),
        PromptAnnotated(turn_id="t", note="careful", policy="profile"),
        PromptBlocked(turn_id="t", reason="no", policy="profile"),
    ]
    async with world.browser(session.id) as browser:
        for event in said:
            sandbox.say(event)
        await browser.until(lambda b: b.of(PromptBlocked))
        assert browser.view.state == "idle"
    assert [e for e in world.logged(session.id) if type(e) in map(type, said)] == said


async def test_question_is_answered(world):
    """Claude's question is answered with the person's choice."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!ask")
        await browser.until_state("asking")
        key = browser.view.questions[0].question_id
        answers = {"Which colour?": "Green, none of yours"}
        await world.command(session.id, GiveAnswer(question_id=key, answers=answers))
        await browser.until(turns_over(1))
        assert browser.of(QuestionAnswered)[0].answers == answers


@pytest.mark.parametrize(
    "answers", [{}, {"Which colour?": " "}, {"Which colour?": "Red", "Which size?": "L"}]
)
async def test_answers_must_fit(world, answers):
    """Every question needs its answer, and there is no other."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!ask")
        await browser.until_state("asking")
        key = browser.view.questions[0].question_id
        with pytest.raises(errors.BadAnswer):
            await world.command(session.id, GiveAnswer(question_id=key, answers=answers))


async def test_model_is_chosen_within_the_profile(world):
    """An allowed model takes effect when the agent says so; another one is refused."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        for refused in ("gpt-1", "other-12", "claude"):
            with pytest.raises(errors.ModelNotAllowed):
                await world.command(session.id, ChooseModel(model=refused))
        await world.command(session.id, ChooseModel(model="claude-new"))
        await browser.until(lambda b: b.of(ModelChanged))
        await browser.until(lambda b: b.view.model == "claude-new")


async def test_permission_mode_is_chosen(world):
    """The permission mode changes when the agent says so."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.command(session.id, ChoosePermissionMode(mode="plan"))
        await browser.until(lambda b: b.view.permission_mode == "plan")


async def test_title_comes_from_the_first_prompt_until_renamed(world):
    """The first prompt's first line is the title; a rename replaces it and later prompts do not."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "\n  Fix the   build\nand more")
        await browser.until(lambda b: b.view.title == "Fix the build")
        await world.command(session.id, Rename(title="Build"))
        await world.say(session.id, "something else")
        await browser.until(turns_over(2))
        assert browser.view.title == "Build"


async def test_model_failure_leaves_the_session_alive(world):
    """A turn that failed at the model ends as failed, and the next one runs."""
    session = await world.create()
    async with world.browser(session.id) as browser:
        await world.say(session.id, "!fail 529")
        await browser.until(turns_over(1))
        await world.say(session.id, "again")
        await browser.until(turns_over(2))
        assert browser.of(AgentFailed)[0].error == "overloaded"
        assert [e.outcome for e in browser.of(TurnEnded)] == ["failed", "completed"]


async def test_somebody_elses_session_does_not_exist(world):
    """Whoever is not the owner is told that there is no such session, administrators too."""
    session = await world.create()
    with pytest.raises(errors.UnknownSession):
        await world.say(session.id, "hello", actor=BERT)
    with pytest.raises(errors.UnknownSession):
        await world.sessions.view(BERT, session.id)
    with pytest.raises(errors.UnknownSession):
        await world.sessions.history(BERT, session.id, before=None, limit=10)
    with pytest.raises(errors.UnknownSession):
        async with world.browser(session.id, actor=BERT):
            pass
    assert world.pool.made[0].sent == []


async def test_commands_of_the_connection_are_not_for_the_rules(world):
    """A command that is none of the session's is refused as unknown."""
    session = await world.create()
    with pytest.raises(errors.UnknownCommand):
        await world.command(session.id, Ping())


async def test_late_events_of_a_finished_turn_are_harmless(world):
    """What a sandbox says late leaves the state as it is, and no turn ends that does not run."""
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        sandbox.say(TurnEnded(turn_id="old", outcome="failed"))
        sandbox.say(PermissionWithdrawn(permission_id="never"))
        sandbox.say(TextWritten(message_id="m", index=0, text="late"))
        await browser.until(lambda b: b.of(TextWritten))
        assert await world.state(session.id) == "idle"
        await world.say(session.id, "hello")
        await browser.until(turns_over(1))
        assert browser.of(TurnEnded)[0].turn_id != "old"


async def test_background_question_can_be_answered(world):
    """What is asked outside a turn can be answered all the same."""
    session = await world.create()
    sandbox = world.pool.made[0]
    async with world.browser(session.id) as browser:
        request = permission_request("p", "Bash", {})
        sandbox.say(request)
        await browser.until(lambda b: b.view.permissions)
        allow = decision_on(request, "allow")
        await world.command(session.id, allow)
        await browser.until(lambda b: not b.view.permissions)
        assert sandbox.sent == [AnswerPermission(permission_id="p", decision=allow.decision)]


async def test_turn_starts_in_the_log_before_the_sandbox_hears(world):
    """The sandbox is told of a turn only once its start is in the log."""
    session = await world.create()
    sandbox, seen = world.pool.made[0], []
    send = sandbox.send

    async def spying(command):
        seen.append([type(e).__name__ for e in world.logged(session.id)])
        await send(command)

    sandbox.send = spying
    await world.say(session.id, "hello")
    await eventually(lambda: seen)
    assert seen[0][-1] == "TurnStarted"
    assert isinstance(sandbox.sent[0], StartTurn)
