import asyncio

import claude_agent_sdk
import pytest

from orchestrator.protocol import sandbox_events
from orchestrator.protocol.commands import (
    AnswerPermission,
    AnswerQuestion,
    Interrupt,
    PermissionDecision,
    SetModel,
    SetPermissionMode,
    StartTurn,
)
from orchestrator.protocol.ids import PermissionId, TurnId
from orchestrator.protocol.link import PROTOCOL_VERSION
from orchestrator.protocol.wire import Unrecognised

KILL_CLI = "kill -9 $(grep -l '^claude$' /proc/[0-9]*/comm | cut -d/ -f3)"


def turn(text: str, turn_id: str = "t1") -> StartTurn:
    return StartTurn(turn_id=TurnId(turn_id), text=text)


async def answer(plane, *, after: int = 0, **decision) -> sandbox_events.PermissionRequested:
    request = await plane.first(sandbox_events.PermissionRequested, after=after)
    await plane.send(
        AnswerPermission(
            permission_id=request.permission_id,
            decision=PermissionDecision(**{"input_hash": request.input_hash} | decision),
        )
    )
    return request


async def test_hello_says_what_runs(sandbox, sandbox_image):
    """A ready sandbox names its image, its SDK and CLI, and how long its start took."""
    hello = sandbox.plane.hello
    assert (hello.protocol, hello.version) == (PROTOCOL_VERSION, sandbox_image.version)
    assert hello.sdk_version == claude_agent_sdk.__version__
    assert hello.cli_version
    assert set(hello.startup_ms) == {"import", "connect"}


async def test_a_turn(sandbox):
    """An answer streams in pieces that add up to the durable text, and ends with a result."""
    await sandbox.plane.send(turn("!think 5 words\n!say 40 words"))
    ended = await sandbox.plane.end_of("t1")
    assert ended.outcome == "completed"
    assert ended.usage.output_tokens > 0
    written = sandbox.plane.all(sandbox_events.TextWritten)
    for finished in (*written, *sandbox.plane.all(sandbox_events.ThoughtWritten)):
        pieces = [
            delta
            for delta in sandbox.plane.all(sandbox_events.BlockDelta)
            if (delta.message_id, delta.index) == (finished.message_id, finished.index)
        ]
        text = ""
        for piece in pieces:
            assert piece.offset == len(text)
            text += piece.text
        assert text == finished.text
    assert written
    assert sandbox.plane.all(sandbox_events.AgentReady)[0].cwd == "/workspace"


async def test_measurements_follow_a_turn(sandbox):
    """After a turn the context's and the memory's fill are told."""
    await sandbox.plane.send(turn("hello"))
    context = await sandbox.plane.first(sandbox_events.ContextMeasured)
    memory = await sandbox.plane.first(sandbox_events.MemoryMeasured)
    assert 0 < context.used < context.window
    assert 0 < memory.working_set <= memory.usage < memory.limit


async def test_a_command_runs_after_it_was_allowed(sandbox):
    """A command waits for a person, then runs, and its result comes with its structure."""
    await sandbox.plane.send(turn("!bash echo $((6*7)) > /workspace/answer"))
    request = await answer(sandbox.plane, choice="allow")
    assert request.tool_name == "Bash"
    assert "answer" in request.input["command"]
    assert request.suggestions
    finished = await sandbox.plane.first(sandbox_events.ToolFinished)
    assert not finished.is_error
    assert isinstance(finished.detail, dict)
    assert await sandbox.run("cat /workspace/answer") == (0, "42")


async def test_a_changed_input_is_what_runs(sandbox):
    """A person can change a command; the agent's own never runs."""
    await sandbox.plane.send(turn("!bash touch /workspace/original"))
    await answer(
        sandbox.plane, choice="allow", updated_input={"command": "touch /workspace/changed"}
    )
    await sandbox.plane.end_of("t1")
    assert await sandbox.run("ls /workspace") == (0, "changed")


async def test_a_granted_rule_asks_no_second_time(sandbox):
    """With "always", the same command runs again unasked, and no settings file was written."""
    await sandbox.plane.send(turn("!bash touch x\n!bash touch x"))
    await answer(sandbox.plane, choice="allow_always", suggestions=[0])
    ended = await sandbox.plane.end_of("t1")
    assert ended.outcome == "completed"
    assert len(sandbox.plane.all(sandbox_events.PermissionRequested)) == 1
    assert len(sandbox.plane.all(sandbox_events.ToolFinished)) == 2
    assert await sandbox.run("ls -A /workspace") == (0, "x")


async def test_deny_and_stop(sandbox):
    """A denied command does not run; with "stop" its turn ends, and the next one works."""
    await sandbox.plane.send(turn("!bash touch /workspace/x"))
    await answer(sandbox.plane, choice="deny_and_stop", reason="No.")
    assert (await sandbox.plane.end_of("t1")).outcome == "interrupted"
    assert await sandbox.run("ls -A /workspace") == (0, "")
    await sandbox.plane.send(turn("hello", "t2"))
    assert (await sandbox.plane.end_of("t2")).outcome == "completed"


async def test_a_question_is_answered(sandbox):
    """Claude's question reaches a person, and their answer reaches Claude."""
    await sandbox.plane.send(turn("!ask"))
    asked = await sandbox.plane.first(sandbox_events.QuestionAsked)
    question = asked.questions[0]
    chosen = question.options[0].label
    await sandbox.plane.send(
        AnswerQuestion(question_id=asked.question_id, answers={question.question: chosen})
    )
    finished = await sandbox.plane.first(sandbox_events.ToolFinished)
    assert chosen in finished.content[0].text
    assert (await sandbox.plane.end_of("t1")).outcome == "completed"


async def test_todos(sandbox):
    """The to-do list that Claude makes is told as a list."""
    await sandbox.plane.send(turn("!todo"))
    changed = await sandbox.plane.first(sandbox_events.TodosChanged)
    assert changed.todos
    assert (await sandbox.plane.end_of("t1")).outcome == "completed"


async def test_a_subagent_speaks_under_its_tool_use(sandbox):
    """What a subagent says and does is marked with the tool use that started it."""
    await sandbox.plane.send(turn("!subagent find the answer"))
    started = await sandbox.plane.first(sandbox_events.TaskStarted)
    finished = await sandbox.plane.first(sandbox_events.TaskFinished)
    assert finished.task_id == started.task_id
    parents = {event.parent for event in sandbox.plane.all(sandbox_events.TextWritten)}
    assert started.tool_use_id in parents


async def test_an_interrupt_ends_the_turn(sandbox):
    """A stopped turn ends as interrupted within a second or two, and the next one works."""
    await sandbox.plane.send(turn("!slow 60"))
    await sandbox.plane.first(sandbox_events.StatusReported)
    await sandbox.plane.send(Interrupt(turn_id=TurnId("t1")))
    assert (await sandbox.plane.end_of("t1")).outcome == "interrupted"
    await sandbox.plane.send(turn("hello", "t2"))
    assert (await sandbox.plane.end_of("t2")).outcome == "completed"


async def test_an_interrupt_withdraws_what_was_asked(sandbox):
    """A question whose turn was stopped is withdrawn, and a late answer to it refused."""
    await sandbox.plane.send(turn("!bash touch /workspace/x"))
    request = await sandbox.plane.first(sandbox_events.PermissionRequested)
    await sandbox.plane.send(Interrupt(turn_id=TurnId("t1")))
    withdrawn = await sandbox.plane.first(sandbox_events.PermissionWithdrawn)
    assert withdrawn.permission_id == request.permission_id
    assert (await sandbox.plane.end_of("t1")).outcome == "interrupted"
    await answer(sandbox.plane, choice="allow")
    failed = await sandbox.plane.first(sandbox_events.CommandFailed)
    assert failed.command == "answer_permission"
    assert await sandbox.run("ls -A /workspace") == (0, "")


async def test_model_and_mode_change_live(sandbox, model):
    """Another model answers the next turn, and another mode stops the asking."""
    await sandbox.plane.send(
        SetModel(model="claude-opus-4-5"), SetPermissionMode(mode="acceptEdits")
    )
    await sandbox.plane.first(sandbox_events.ModelChanged)
    await sandbox.plane.first(sandbox_events.PermissionModeChanged)
    await sandbox.plane.send(turn("!write /workspace/a.txt hello"))
    assert (await sandbox.plane.end_of("t1")).outcome == "completed"
    assert sandbox.plane.all(sandbox_events.PermissionRequested) == []
    asked = {request.body["model"] for request in model.requests if request.body}
    assert "claude-opus-4-5" in asked


async def test_commands_that_make_no_sense_hurt_nothing(sandbox):
    """An unknown command, an answer to nothing and a second turn fail by themselves."""
    nothing = AnswerPermission(
        permission_id=PermissionId("gone"),
        decision=PermissionDecision(choice="allow", input_hash=""),
    )
    await sandbox.plane.send(
        Unrecognised(tag="fly", raw={}),
        nothing,
        Interrupt(turn_id=TurnId("gone")),
        turn("!slow 2"),
        turn("hello", "t2"),
    )
    await sandbox.plane.until(lambda: len(sandbox.plane.all(sandbox_events.CommandFailed)) == 3)
    assert (await sandbox.plane.end_of("t1")).outcome == "completed"


async def test_a_failed_model_ends_the_turn_and_not_the_agent(sandbox):
    """When the model API refuses, the turn fails with its status, and the next one works."""
    await sandbox.plane.send(turn("!fail 400"))
    ended = await sandbox.plane.end_of("t1")
    assert (ended.outcome, ended.api_error_status) == ("failed", 400)
    assert await sandbox.plane.first(sandbox_events.AgentFailed)
    await sandbox.plane.send(turn("hello", "t2"))
    assert (await sandbox.plane.end_of("t2")).outcome == "completed"


async def test_a_broken_link_loses_and_repeats_nothing(sandbox):
    """Events said while nobody listened arrive afterwards, in order; repeated commands run once."""
    await sandbox.plane.send(turn("!say 2000 words at 1000/s"))
    await sandbox.plane.first(sandbox_events.BlockDelta)
    await sandbox.plane.drop()
    await sandbox.plane.connected(times=2)
    await sandbox.plane.send(repeat=True)
    assert (await sandbox.plane.end_of("t1")).outcome == "completed"
    assert sandbox.plane.numbers == sorted(set(sandbox.plane.numbers))
    assert sandbox.plane.numbers[-1] - sandbox.plane.numbers[0] + 1 == len(sandbox.plane.numbers)
    assert sandbox.plane.all(sandbox_events.CommandFailed) == []


async def test_what_was_not_acknowledged_comes_again(sandbox):
    """A control plane that held nothing safely gets everything again, from the first event on."""
    sandbox.plane.acknowledges = False
    await sandbox.plane.send(turn("hello"))
    await sandbox.plane.end_of("t1")
    before = len(sandbox.plane.numbers)
    await sandbox.plane.drop()
    await sandbox.plane.until(lambda: len(sandbox.plane.numbers) >= 2 * before)
    assert sandbox.plane.numbers[before : 2 * before] == sandbox.plane.numbers[:before]


async def test_a_killed_cli_in_a_turn(sandbox):
    """When the CLI dies, that is told, and nothing of its turn: what becomes of that is not for its
    sandbox to say."""
    await sandbox.plane.send(turn("!slow 60"))
    await sandbox.plane.first(sandbox_events.StatusReported)
    await sandbox.run(KILL_CLI)
    died = await sandbox.plane.first(sandbox_events.AgentDied)
    assert died.exit_code == -9
    assert sandbox.plane.all(sandbox_events.TurnEnded) == []


async def test_a_killed_cli_between_turns(sandbox):
    """When the CLI dies while nobody asks it anything, that is told at once."""
    await sandbox.run(KILL_CLI)
    died = await sandbox.plane.first(sandbox_events.AgentDied)
    assert died.exit_code == -9
    assert sandbox.plane.all(sandbox_events.TurnEnded) == []


async def test_an_agent_that_cannot_start_says_why(start_sandbox, slots):
    """A sandbox whose setup cannot be read dials all the same, and says what is wrong."""
    async with start_sandbox() as running:
        await running.plane.connected()
    create = slots.create

    def spoiled(slot_id, setup):
        slot = create(slot_id, setup)
        (slot.path / "agent.json").write_text('{"model": 5}')
        return slot

    slots.create = spoiled
    async with start_sandbox() as running:
        hello = await running.plane.connected()
        assert "setup" in hello.failure


async def test_sigterm_ends_it_cleanly(sandbox):
    """A sandbox that is told to stop is gone within its grace, without an error."""
    await sandbox.plane.send(turn("hello"))
    await sandbox.plane.end_of("t1")
    sandbox.container.kill("SIGTERM")
    state = await asyncio.to_thread(sandbox.container.wait, timeout=10)
    assert state["StatusCode"] == 0
    assert "Traceback" not in await sandbox.logs()


async def test_the_workspace_cannot_shadow_the_shim(sandbox):
    """Modules that the agent writes are not what the shim would import at its next start."""
    program = "import shim, sys; assert shim.__file__.startswith('/opt/casemate'), shim.__file__"
    await sandbox.run("cd /workspace && echo 'exit(9)' > shim.py && cp shim.py msgspec.py")
    code, output = await sandbox.run(
        f'cd /workspace && PYTHONPATH=/workspace /opt/casemate/bin/python3 -I -c "{program}"'
    )
    assert (code, output) == (0, "")


@pytest.mark.parametrize("file", ["environ", "mem", "maps", "fd/0"])
async def test_the_shim_is_closed_to_the_agents_tools(sandbox, file):
    """A tool of the same user cannot read the shim's memory, environment or open files."""
    pid = (await sandbox.run("grep -lx python3 /proc/[0-9]*/comm | cut -d/ -f3"))[1]
    assert pid.isdigit()
    code, output = await sandbox.run(f"head -c1 /proc/{pid}/{file}")
    assert (code, "Permission denied" in output) == (1, True)


async def test_settings_in_the_workspace_have_no_effect(sandbox):
    """Hooks and rules that the agent writes into its workspace neither run nor allow anything."""
    settings = (
        '{"permissions":{"allow":["Bash(touch:*)"],"defaultMode":"bypassPermissions"},'
        '"hooks":{"UserPromptSubmit":[{"hooks":[{"type":"command",'
        '"command":"touch /tmp/hooked"}]}]}}'
    )
    await sandbox.run(
        f"mkdir -p /workspace/.claude && echo '{settings}' > /workspace/.claude/settings.json &&"
        f" mkdir -p /home/agent/.claude && cp /workspace/.claude/settings.json /home/agent/.claude/"
    )
    await sandbox.plane.send(turn("!bash touch /workspace/x"))
    await answer(sandbox.plane, choice="deny")
    await sandbox.plane.end_of("t1")
    assert (await sandbox.run("ls /tmp/hooked"))[0] != 0
