"""A conversation goes on in another container, with what was said and asked in the first one."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from orchestrator.protocol import sandbox_events
from orchestrator.protocol.commands import (
    AnswerPermission,
    AnswerQuestion,
    PendingTool,
    PermissionDecision,
    ResumeAgent,
    StartTurn,
    SyncTranscript,
)
from orchestrator.protocol.ids import SessionId, TurnId
from orchestrator.protocol.sandbox_events import ConversationReset
from orchestrator.protocol.transcripts import TranscriptPiece, TranscriptReplaced, TranscriptSynced

GONE = "11111111-2222-4333-8444-555555555555"


def turn(text: str, turn_id: str = "t1") -> StartTurn:
    return StartTurn(turn_id=TurnId(turn_id), text=text)


@pytest.fixture
def next_sandbox(start_sandbox, sandbox):
    """Another container, to which the first one's conversation can come; that one is killed."""

    @contextlib.asynccontextmanager
    async def start(**setup) -> AsyncIterator:
        sandbox.container.kill("SIGKILL")
        plane = type(sandbox.plane)(sandbox.plane.store)
        async with start_sandbox(plane=plane, **setup) as running:
            await running.plane.connected()
            yield running

    return start


async def agent_session(plane) -> str:
    return (await plane.first(sandbox_events.AgentReady)).agent_session_id


async def resumed(running, session: str, **choices) -> sandbox_events.AgentResumed:
    await running.plane.send(ResumeAgent(agent_session_id=session, **choices))
    return await running.plane.first(sandbox_events.AgentResumed)


def pending(asked, turn_id: str = "t1") -> PendingTool:
    if isinstance(asked, sandbox_events.QuestionAsked):
        which = {"question_id": asked.question_id}
    else:
        which = {"permission_id": asked.permission_id, "input_hash": asked.input_hash}
    return PendingTool(turn_id=TurnId(turn_id), tool_use_id=asked.tool_use_id, **which)


def allowed(request, **decision) -> AnswerPermission:
    return AnswerPermission(
        permission_id=request.permission_id,
        decision=PermissionDecision(
            **{"choice": "allow", "input_hash": request.input_hash} | decision
        ),
    )


async def test_a_conversation_goes_on_elsewhere(sandbox, next_sandbox, model):
    """After a kill, the next turn's request in another container holds the earlier conversation,
    and that container's transcript goes on where the first one's ended."""
    await sandbox.plane.send(turn("!say 7 words\nabout casemates"))
    await sandbox.plane.end_of("t1")
    session = await agent_session(sandbox.plane)
    async with next_sandbox() as running:
        answer = await resumed(running, session)
        assert (answer.agent_session_id, answer.pending) == (session, False)
        assert answer.took_ms < 5_000
        await running.plane.send(turn("and now?", "t2"))
        assert (await running.plane.end_of("t2")).outcome == "completed"
        assert await agent_session(running.plane) == session
        last = [request.body for request in model.requests if request.body][-1]
        assert "about casemates" in json.dumps(last["messages"])
        await running.plane.send(SyncTranscript(sync_id="1"))
        assert not (await running.plane.first(TranscriptSynced)).repaired
        key = running.plane.all(TranscriptPiece)[-1].key
        held = b"".join(
            [piece async for piece in running.plane.store.load(SessionId("s"), key, branch=0)]
        )
        assert b"about casemates" in held
        assert b"and now?" in held


async def test_the_transcript_comes_before_the_end_of_its_turn(sandbox):
    """When a turn's end or a question arrives, the lines that it is about have arrived before."""
    await sandbox.plane.send(turn("!bash touch x"))
    request = await sandbox.plane.first(sandbox_events.PermissionRequested)
    said = sandbox.plane.events[: sandbox.plane.events.index(request)]
    assert any(
        request.tool_use_id in event.text for event in said if isinstance(event, TranscriptPiece)
    )
    await sandbox.plane.send(allowed(request, choice="deny"))
    ended = await sandbox.plane.end_of("t1")
    said = sandbox.plane.events[: sandbox.plane.events.index(ended)]
    lines = "".join(event.text for event in said if isinstance(event, TranscriptPiece))
    text = sandbox.plane.all(sandbox_events.TextWritten)[-1].text
    assert json.dumps(text)[1:20] in lines


async def test_what_was_not_mirrored_is_repaired(sandbox):
    """Lines that the store was never told of are found and sent anew, whole."""
    await sandbox.plane.send(turn("hello"))
    await sandbox.plane.end_of("t1")
    line = '{"parentUuid":null,"type":"user","message":{"role":"user","content":"lost"}}'
    code, _ = await sandbox.run(f"echo '{line}' >> $(ls ~/.claude/projects/-workspace/*.jsonl)")
    assert code == 0
    await sandbox.plane.send(SyncTranscript(sync_id="1"))
    assert (await sandbox.plane.first(TranscriptSynced)).repaired
    key = sandbox.plane.all(TranscriptReplaced)[0].key
    held = b"".join(
        [piece async for piece in sandbox.plane.store.load(SessionId("s"), key, branch=0)]
    )
    assert b'"lost"' in held
    assert b'"hello"' in held
    assert b"api-request" not in held
    await sandbox.plane.send(SyncTranscript(sync_id="2"))
    assert not (await sandbox.plane.first(TranscriptSynced, after=1)).repaired


@pytest.mark.parametrize("session", [GONE, "../../etc/passwd", "x"])
async def test_nothing_to_resume(sandbox, session):
    """A conversation that the store does not have begins anew, and that is told."""
    await resumed(sandbox, session)
    assert (await sandbox.plane.first(ConversationReset)).agent_session_id == session
    await sandbox.plane.send(turn("hello"))
    assert (await sandbox.plane.end_of("t1")).outcome == "completed"


@pytest.mark.parametrize("spoilt", [b'{"type":"queue-operation"}\n', b"\x00\xff no line\n"])
async def test_nothing_left_of_a_conversation(sandbox, next_sandbox, spoilt):
    """Where the CLI finds no message in the transcript it begins anew, in one sandbox after the
    other; what waited for an answer is told to be lost."""
    await sandbox.plane.send(turn("!bash touch /workspace/x"))
    request = await sandbox.plane.first(sandbox_events.PermissionRequested)
    session = await agent_session(sandbox.plane)
    key = next(piece.key for piece in sandbox.plane.all(TranscriptPiece))
    await sandbox.plane.store.append(
        SessionId("s"), key, spoilt, branch=0, sandbox=sandbox.plane.id, n=9_999, replaces=True
    )
    async with next_sandbox() as running:
        assert not (await resumed(running, session, pending=pending(request))).pending
        await running.plane.first(ConversationReset)
        await running.plane.send(turn("hello", "t2"))
        assert (await running.plane.end_of("t2")).outcome == "completed"
        assert running.plane.all(sandbox_events.AgentDied) == []
        assert await running.run("ls -A /workspace") == (0, "")


async def test_a_question_is_carried_on_and_on(start_sandbox, sandbox):
    """What nobody answers in one container after the other is asked in each, and runs once."""
    await sandbox.plane.send(turn("!bash echo once >> /workspace/ran"))
    request = await sandbox.plane.first(sandbox_events.PermissionRequested)
    session = await agent_session(sandbox.plane)
    running = sandbox
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            await asyncio.to_thread(running.container.kill, "SIGKILL")
            plane = type(running.plane)(running.plane.store)
            running = await stack.enter_async_context(start_sandbox(plane=plane))
            await running.plane.connected()
            assert (await resumed(running, session, pending=pending(request))).pending
            await running.plane.send(SyncTranscript(sync_id="1"))
            assert not (await running.plane.first(TranscriptSynced)).repaired
        await running.plane.send(allowed(request))
        assert (await running.plane.end_of("t1")).outcome == "completed"
        assert await running.run("cat /workspace/ran") == (0, "once")


async def test_model_and_mode_are_as_told(sandbox, next_sandbox, model):
    """A resumed agent has the model and the permission mode that the session has."""
    await sandbox.plane.send(turn("hello"))
    await sandbox.plane.end_of("t1")
    async with next_sandbox() as running:
        await resumed(
            running,
            await agent_session(sandbox.plane),
            model="claude-opus-4-5",
            permission_mode="acceptEdits",
        )
        await running.plane.send(turn("!write /workspace/a.txt hello", "t2"))
        assert (await running.plane.end_of("t2")).outcome == "completed"
        assert running.plane.all(sandbox_events.PermissionRequested) == []
        assert [r.body["model"] for r in model.requests if r.body][-1] == "claude-opus-4-5"


async def test_back_in_the_same_sandbox(sandbox):
    """The agent can be resumed where it is, after turns, and goes on with the conversation."""
    await sandbox.plane.send(turn("hello"))
    await sandbox.plane.end_of("t1")
    await resumed(sandbox, await agent_session(sandbox.plane))
    await sandbox.plane.send(turn("again", "t2"))
    assert (await sandbox.plane.end_of("t2")).outcome == "completed"
    assert sandbox.plane.all(sandbox_events.AgentDied) == []


async def test_todos_are_told_again(sandbox, next_sandbox):
    """A resumed conversation tells its to-do list as it stands."""
    await sandbox.plane.send(turn("!todo"))
    await sandbox.plane.end_of("t1")
    todos = sandbox.plane.all(sandbox_events.TodosChanged)[-1].todos
    async with next_sandbox() as running:
        await resumed(running, await agent_session(sandbox.plane))
        assert (await running.plane.first(sandbox_events.TodosChanged)).todos == todos


async def test_a_subagents_transcript_comes_along(sandbox, next_sandbox):
    """What a subagent wrote is stored under its own name, and is there in the next container."""
    await sandbox.plane.send(turn("!subagent find the answer"))
    await sandbox.plane.end_of("t1")
    await sandbox.plane.send(SyncTranscript(sync_id="1"))
    assert not (await sandbox.plane.first(TranscriptSynced)).repaired
    listing = (
        "cd ~/.claude/projects/-workspace && find . -name '*.json*' -path '*subagents*' | sort"
    )
    before = await sandbox.run(listing)
    assert "agent-" in before[1]
    session = await agent_session(sandbox.plane)
    async with next_sandbox() as running:
        await resumed(running, session)
        assert await running.run(listing) == before
        await running.plane.send(SyncTranscript(sync_id="1"))
        assert not (await running.plane.first(TranscriptSynced)).repaired


async def test_a_permission_survives(sandbox, next_sandbox):
    """What waits for a person in one container is asked again in the next under its name; allowed,
    exactly that runs, once, and its turn goes on to its end."""
    await sandbox.plane.send(turn("!bash echo once >> /workspace/ran"))
    request = await sandbox.plane.first(sandbox_events.PermissionRequested)
    session = await agent_session(sandbox.plane)
    async with next_sandbox() as running:
        answer = await resumed(running, session, pending=pending(request))
        assert answer.pending
        again = await running.plane.first(sandbox_events.PermissionRequested)
        assert (again.permission_id, again.input) == (request.permission_id, request.input)
        await running.plane.send(turn("the control plane sends it again"), allowed(request))
        assert (await running.plane.end_of("t1")).outcome == "completed"
        assert await running.run("cat /workspace/ran") == (0, "once")
        await running.plane.send(turn("hello", "t2"))
        assert (await running.plane.end_of("t2")).outcome == "completed"
        await running.plane.send(SyncTranscript(sync_id="1"))
        assert not (await running.plane.first(TranscriptSynced)).repaired


async def test_a_denied_permission_of_before_does_not_run(sandbox, next_sandbox):
    """Denied tomorrow, it does not run, and Claude is told why."""
    await sandbox.plane.send(turn("!bash touch /workspace/x"))
    request = await sandbox.plane.first(sandbox_events.PermissionRequested)
    session = await agent_session(sandbox.plane)
    async with next_sandbox() as running:
        await resumed(running, session, pending=pending(request))
        await running.plane.send(allowed(request, choice="deny", reason="Not today."))
        assert (await running.plane.end_of("t1")).outcome == "completed"
        [finished] = running.plane.all(sandbox_events.ToolFinished)
        assert "Not today." in finished.content[0].text
        assert await running.run("ls -A /workspace") == (0, "")


async def test_a_question_survives(sandbox, next_sandbox):
    """Claude's question is answered in another container than the one that asked it."""
    await sandbox.plane.send(turn("!ask"))
    asked = await sandbox.plane.first(sandbox_events.QuestionAsked)
    session = await agent_session(sandbox.plane)
    async with next_sandbox() as running:
        assert (await resumed(running, session, pending=pending(asked))).pending
        question = asked.questions[0]
        chosen = question.options[0].label
        answer = AnswerQuestion(question_id=asked.question_id, answers={question.question: chosen})
        await running.plane.send(answer)
        finished = await running.plane.first(sandbox_events.ToolFinished)
        assert chosen in finished.content[0].text
        assert (await running.plane.end_of("t1")).outcome == "completed"


async def test_another_input_than_was_shown_does_not_run(sandbox, next_sandbox):
    """Where the transcript was changed, nothing of it runs, and the turn is told to be lost."""
    await sandbox.plane.send(turn("!bash touch /workspace/shown"))
    request = await sandbox.plane.first(sandbox_events.PermissionRequested)
    session = await agent_session(sandbox.plane)
    other = PendingTool(
        turn_id=TurnId("t1"),
        tool_use_id=request.tool_use_id,
        permission_id=request.permission_id,
        input_hash="0" * 64,
    )
    async with next_sandbox() as running:
        assert not (await resumed(running, session, pending=other)).pending
        await running.plane.send(turn("hello", "t2"))
        assert (await running.plane.end_of("t2")).outcome == "completed"
        assert await running.run("ls -A /workspace") == (0, "")
        assert running.plane.all(sandbox_events.PermissionRequested) == []


async def test_a_policy_judges_what_is_asked_again(sandbox, next_sandbox):
    """What the profile forbids by now does not run, even where a person allowed it before."""
    await sandbox.plane.send(turn("!bash touch /workspace/x"))
    request = await sandbox.plane.first(sandbox_events.PermissionRequested)
    session = await agent_session(sandbox.plane)
    forbidden = [{"tool": "Bash", "pattern": "touch", "reason": "No touching."}]
    async with next_sandbox(forbidden=forbidden) as running:
        await running.plane.send(ResumeAgent(agent_session_id=session, pending=pending(request)))
        await running.plane.first(sandbox_events.AgentResumed)
        await running.plane.send(allowed(request))
        await running.plane.end_of("t1")
        assert await running.run("ls -A /workspace") == (0, "")


async def test_open_questions_are_said_again(sandbox):
    """A control plane that was started anew hears again what is open, and its answer is good."""
    await sandbox.plane.send(turn("!bash touch /workspace/x"))
    request = await sandbox.plane.first(sandbox_events.PermissionRequested)
    sandbox.plane.anew = True
    await sandbox.plane.drop()
    again = await sandbox.plane.first(sandbox_events.PermissionRequested, after=1)
    assert again == request
    assert (await sandbox.plane.connected(times=2)).received == 1
    await sandbox.plane.send(turn("sent twice"), allowed(request))
    assert (await sandbox.plane.end_of("t1")).outcome == "completed"
    assert sandbox.plane.all(sandbox_events.CommandFailed) == []
    assert await sandbox.run("ls -A /workspace") == (0, "x")
