"""The main job over the public API: ask, watch, approve, stop, end, and nothing is left."""

import asyncio
import json
import time

from orchestrator.protocol.chat import (
    ChooseModel,
    ChoosePermissionMode,
    GiveAnswer,
    Prompt,
    Rename,
    Stop,
)
from orchestrator.protocol.control_events import PromptAccepted, TurnStarted, UsageMetered
from orchestrator.protocol.ids import ClientId
from orchestrator.protocol.sandbox_events import (
    BlockDelta,
    ModelChanged,
    PermissionModeChanged,
    PermissionRequested,
    QuestionAsked,
    TextWritten,
    ThoughtWritten,
    TodosChanged,
    ToolFinished,
    ToolStarted,
    TurnEnded,
)
from orchestrator.protocol.task_events import TaskStarted
from orchestrator.testing.chat_client import ApiClient, Chat, decision_on
from orchestrator.testing.running_casemate import RunningCasemate


async def decide(
    chat: Chat, *, choice: str, after: int = 0, **decision: object
) -> PermissionRequested:
    _, asked = await chat.next(PermissionRequested, after=after)
    await chat.send(decision_on(asked, choice, **decision))
    return asked


def output(finished: ToolFinished) -> str:
    return "".join(part.text for part in finished.content)


async def test_a_prompt_is_answered_in_a_stream(ada: ApiClient, session: str) -> None:
    """Text arrives in pieces that join to what is then written, and the turn has a result."""
    async with ada.chat(session) as chat:
        ended = await chat.turn("!say 40 words")
        assert ended.outcome == "completed"
        written = chat.of(TextWritten)
        deltas = [delta for delta in chat.of(BlockDelta) if delta.kind == "text"]
        first = [delta.text for delta in deltas if delta.message_id == written[0].message_id]
        assert "".join(first) == written[0].text
        assert len(deltas) > 1
        view = await chat.until(lambda c: c.view and c.view.state == "idle" and c.view)
        assert view.cost_usd > 0
        assert view.usage.output_tokens > 0
        assert chat.of(UsageMetered)
        await chat.until(lambda c: c.view and c.view.context_used > 0)
        assert view.title == "!say 40 words"


async def test_thinking_is_shown(ada: ApiClient, session: str) -> None:
    """What Claude thinks comes as its own block."""
    async with ada.chat(session) as chat:
        await chat.turn("!think 12 words")
        assert len(chat.of(ThoughtWritten)[0].text.split()) == 12


async def test_a_command_runs_after_it_was_allowed(ada: ApiClient, session: str) -> None:
    """Bash waits for a person, runs in the sandbox as its own user, and its output is shown."""
    async with ada.chat(session) as chat:
        await chat.prompt("!bash touch made-here; id -u; pwd; ls")
        asked = await decide(chat, choice="allow")
        assert asked.tool_name == "Bash"
        assert "touch made-here" in asked.input["command"]
        _, finished = await chat.next(ToolFinished)
        said = output(finished)
        assert "made-here" in said
        assert "/workspace" in said
        assert int(said.split()[0]) >= 20000
        await chat.next(TurnEnded)


async def test_a_denied_command_does_not_run(ada: ApiClient, session: str) -> None:
    """Claude is told the reason, and nothing happened."""
    async with ada.chat(session) as chat:
        await chat.prompt("!bash touch never-made")
        await decide(chat, choice="deny", reason="not on a Monday")
        _, finished = await chat.next(ToolFinished)
        assert finished.is_error
        assert "not on a Monday" in output(finished)
        seq, _ = await chat.next(TurnEnded)
        await chat.turn("!bash ls -a")
        _, listed = await chat.next(ToolFinished, after=seq)
        assert "never-made" not in output(listed)


async def test_the_input_can_be_changed_before_it_runs(ada: ApiClient, session: str) -> None:
    """What runs is what the person made of it."""
    async with ada.chat(session) as chat:
        await chat.prompt("!bash touch original")
        asked = await decide(
            chat,
            choice="allow",
            updated_input={"command": "touch changed && ls", "description": "x"},
        )
        assert asked.input["command"] == "touch original"
        _, finished = await chat.next(ToolFinished)
        assert "changed" in output(finished)
        assert "original" not in output(finished)


async def test_always_saves_the_rule_that_was_suggested(ada: ApiClient, session: str) -> None:
    """After `allow_always` the same command runs unasked in this session."""
    async with ada.chat(session) as chat:
        await chat.prompt("!bash touch twice")
        asked = await decide(chat, choice="allow_always")
        assert asked.suggestions
        seq, _ = await chat.next(TurnEnded)
        ended = await chat.turn("!bash touch twice")
        assert ended.outcome == "completed"
        assert [e for s, e in chat.events if s > seq and isinstance(e, PermissionRequested)] == []


async def test_deny_and_stop_ends_the_turn(ada: ApiClient, session: str) -> None:
    """The turn is over and the session takes the next prompt."""
    async with ada.chat(session) as chat:
        await chat.prompt("!bash touch x\n!bash touch y")
        await decide(chat, choice="deny_and_stop", reason="stop it")
        seq, ended = await chat.next(TurnEnded)
        assert ended.outcome == "interrupted"
        assert (await chat.turn("hello")).outcome == "completed"
        assert len([e for s, e in chat.events if s <= seq and isinstance(e, ToolStarted)]) == 1


async def test_claude_asks_and_is_answered(ada: ApiClient, session: str) -> None:
    """AskUserQuestion comes as a question, and the answer reaches Claude."""
    async with ada.chat(session) as chat:
        await chat.prompt("!ask")
        _, asked = await chat.next(QuestionAsked)
        question = asked.questions[0]
        answers = {q.question: q.options[-1].label for q in asked.questions}
        await chat.send(GiveAnswer(question_id=asked.question_id, answers=answers))
        _, finished = await chat.next(ToolFinished)
        assert answers[question.question] in output(finished)
        _, ended = await chat.next(TurnEnded)
        assert ended.outcome == "completed"


async def test_stop_stops_at_once(ada: ApiClient, session: str) -> None:
    """A running turn ends within seconds of the wish, and the session goes on."""
    async with ada.chat(session) as chat:
        await chat.prompt("!slow 60")
        await chat.next(TurnStarted)
        await chat.send(Stop())
        _, ended = await chat.next(TurnEnded, limit=15)
        assert ended.outcome == "interrupted"
        assert (await chat.turn("hello")).outcome == "completed"


async def test_stop_while_claude_waits_for_a_person(ada: ApiClient, session: str) -> None:
    """The question is withdrawn, its tool never runs."""
    async with ada.chat(session) as chat:
        await chat.prompt("!bash touch nothing")
        await chat.next(PermissionRequested)
        await chat.send(Stop())
        _, ended = await chat.next(TurnEnded, limit=15)
        assert ended.outcome == "interrupted"
        await chat.until(lambda c: c.view and not c.view.permissions and c.view.state == "idle")


async def test_several_steps_todos_and_a_subagent(ada: ApiClient, session: str) -> None:
    """One turn of several tools: a file is written, to-dos change, a subagent reports under it."""
    async with ada.chat(session) as chat:
        await chat.send(ChoosePermissionMode(mode="acceptEdits"))
        await chat.next(PermissionModeChanged)
        ended = await chat.turn(
            "!write notes.txt written by the test\n!todo\n!subagent hello there"
        )
        assert ended.outcome == "completed"
        tools = {tool.name for tool in chat.of(ToolStarted)}
        assert "Write" in tools
        assert chat.of(TodosChanged)[-1].todos
        assert chat.of(TaskStarted) or [t for t in chat.of(TextWritten) if t.parent]


async def test_model_mode_and_title_change_live(ada: ApiClient, session: str) -> None:
    """The SDK's live changes reach the running client; the new title is everybody's."""
    async with ada.chat(session) as chat:
        await chat.send(ChooseModel(model="claude-haiku-4-5"))
        _, changed = await chat.next(ModelChanged)
        assert changed.model == "claude-haiku-4-5"
        await chat.send(Rename(title="Renamed"))
        await chat.until(lambda c: c.view and c.view.title == "Renamed")
        seq = chat.seq
        await chat.turn("hello")
        models = [e.model for s, e in chat.events if s > seq and isinstance(e, UsageMetered)]
        assert "claude-haiku-4-5" in models


async def test_a_prompt_that_is_sent_twice_runs_once(ada: ApiClient, session: str) -> None:
    """The client's id makes it idempotent."""
    async with ada.chat(session) as chat:
        prompt = Prompt(client_id=ClientId("the-same"), text="hello")
        await chat.send(prompt)
        await chat.send(prompt)
        await chat.next(TurnEnded)
        await chat.send(prompt)
        await chat.turn("again")
        assert [p.client_id for p in chat.of(PromptAccepted)].count(ClientId("the-same")) == 1


async def test_a_prompt_during_a_turn_waits_and_then_runs(ada: ApiClient, session: str) -> None:
    """It is shown in the queue, and runs after the turn before it."""
    async with ada.chat(session) as chat:
        await chat.prompt("!slow 2")
        await chat.next(TurnStarted)
        await chat.prompt("!say 3 words")
        await chat.until(lambda c: c.view and c.view.queue)
        await chat.until(lambda c: len(c.of(TurnEnded)) == 2)
        assert [e.outcome for e in chat.of(TurnEnded)] == ["completed", "completed"]


async def test_two_tabs_see_the_same_and_a_third_catches_up(ada: ApiClient, session: str) -> None:
    """Followers get equal events in equal order; who comes back gets what was missed."""
    async with ada.chat(session) as one, ada.chat(session) as two:
        await one.turn("!say 20 words")
        await two.next(TurnEnded)
        half, epoch = one.seq // 2, one.epoch
        assert [e for s, e in one.events if s > half] == [e for s, e in two.events if s > half]
        async with ada.chat(session, seq=half, epoch=epoch) as three:
            await three.next(TurnEnded)
            assert three.snapshots == 0
            assert [s for s, _ in three.events] == [s for s, _ in one.events if s > half]
        async with ada.chat(session, seq=half, epoch="another") as four:
            assert four.snapshots == 1
            assert four.of(TextWritten) == one.of(TextWritten)


async def test_the_same_stream_as_server_sent_events(ada: ApiClient, session: str) -> None:
    """A program can follow with nothing but HTTP, and prompt by a POST."""
    path = f"/api/v1/sessions/{session}"
    async with ada.http.get(f"{path}/stream", headers={"Accept": "text/event-stream"}) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        status, _, _ = await ada.request("POST", f"{path}/prompts", json={"text": "!say 5 words"})
        assert status == 202
        seen = ""
        async with asyncio.timeout(30):
            async for chunk in stream.content.iter_any():
                seen += chunk.decode()
                if '"turn_ended"' in seen:
                    break
        assert '"text_written"' in seen


async def test_ending_leaves_nothing(
    casemate: RunningCasemate, ada: ApiClient, admin: ApiClient
) -> None:
    """Within two seconds there is no container and no slot of the session; its log stays."""
    view = await ada.create()
    async with ada.chat(view["id"]) as chat:
        await chat.turn("hello")
        current = await chat.until(lambda c: c.view and c.view.sandbox_id and c.view)
    labels = await container_labels(current.sandbox_id)
    slot = next(
        path for path in casemate.slot_directories() if path.name == labels["casemate.slot"]
    )
    began = time.monotonic()
    await ada.end(view["id"])
    assert time.monotonic() - began < 2.0
    assert not slot.exists()
    assert labels["id"] not in await asyncio.to_thread(casemate.containers)
    _, body, _ = await admin.request("GET", "/api/v1/admin/pools")
    members = [member["sandbox_id"] for member in body["pools"][0]["members"]]
    assert current.sandbox_id not in members
    _, page, _ = await ada.request("GET", f"/api/v1/sessions/{view['id']}/events")
    assert "session_ended" in str(page)


async def container_labels(sandbox_id: str) -> dict[str, str]:
    """The labels of a sandbox's container, and its short id as `id`."""
    form = "{{json .Config.Labels}} {{.Id}}"
    process = await asyncio.create_subprocess_exec(
        "docker", "inspect", "--format", form, f"casemate-{sandbox_id}",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    labels, _, container = out.decode().strip().rpartition(" ")
    return {**json.loads(labels), "id": container[:12]}
