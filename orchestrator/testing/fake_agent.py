"""What runs in a `FakeSandbox`: an agent that obeys the scripted model's prompts, line by line."""

import asyncio
import itertools
import re
from collections.abc import Callable
from typing import Any

import msgspec

from orchestrator.protocol.commands import (
    AnswerPermission,
    AnswerQuestion,
    PendingTool,
    PermissionDecision,
    ResumeAgent,
    StartTurn,
)
from orchestrator.protocol.event_parts import ContentPart, Option, Question, Rule, Suggestion, Usage
from orchestrator.protocol.ids import PermissionId, QuestionId, TurnId
from orchestrator.protocol.input_hash import input_hash
from orchestrator.protocol.sandbox_events import (
    AgentDied,
    AgentFailed,
    AgentReady,
    AgentResumed,
    BlockDelta,
    CommandFailed,
    PermissionRequested,
    PermissionWithdrawn,
    QuestionAsked,
    QuestionWithdrawn,
    SandboxEvent,
    TextWritten,
    ToolFinished,
    ToolStarted,
    TurnEnded,
)
from orchestrator.testing.fake_transcript import FakeTranscript

GREETING = "This is a fake sandbox. You said: "
BASH_OUTPUT = "fake output"
MAX_PIECE = 64


def permission_request(key: str, tool_name: str, tool_input: dict[str, Any]) -> PermissionRequested:
    """As an honest sandbox asks: with the hash of what it shows."""
    return PermissionRequested(
        permission_id=PermissionId(key),
        tool_name=tool_name,
        input=tool_input,
        input_hash=input_hash(tool_name, tool_input),
    )


class _ToolRow(msgspec.Struct, frozen=True):
    """What the fake writes into its transcript of a call for which it waits; other rows have no
    id."""

    id: str = ""
    tool: str = "bash"
    command: str = ""
    left: list[str] = []


class _Awaited:
    """A call that comes back with a conversation."""

    def __init__(self, pending: PendingTool, row: _ToolRow) -> None:
        self.pending = pending
        self.row = row
        self.is_asked = asyncio.Event()


class FakeAgent:
    """One agent. `say` takes its events; `die` is called when it is told to die."""

    def __init__(
        self,
        name: str,
        *,
        say: Callable[[SandboxEvent], None],
        die: Callable[[], None],
        transcript: FakeTranscript | None = None,
    ) -> None:
        self._name = name
        self._say = say
        self._die = die
        self._transcript = transcript
        self._session = f"agent-{name}"
        self._resuming: asyncio.Task[None] | None = None
        self._begun: set[TurnId] = set()
        self._open: dict[str, PermissionRequested | QuestionAsked] = {}
        self._ids = itertools.count(1)
        self._turn: asyncio.Task[None] | None = None
        self._answers: dict[str, asyncio.Future[AnswerPermission | AnswerQuestion]] = {}
        self._always_allowed: set[str] = set()
        self._greeted = False
        self.loaded: bytes | None = None
        """The transcript that it resumed with."""
        self.resumes = True
        """Whether it can resume at all. Where nothing is loaded, it begins anew."""
        self.resumes_pending = True
        """Whether a tool call that was awaited comes back."""
        self._left: list[str] = []
        """Lines of the running prompt after the one that is obeyed."""

    def start(self, command: StartTurn) -> None:
        if command.turn_id in self._begun:
            return
        self._begun.add(command.turn_id)
        self._turn = asyncio.create_task(self._run(command), name=f"fake-turn-{self._name}")

    def resume(self, command: ResumeAgent) -> None:
        self._resuming = asyncio.create_task(
            self._resume(command), name=f"fake-resume-{self._name}"
        )

    async def _resume(self, command: ResumeAgent) -> None:
        if self._transcript is not None:
            self.loaded = await self._transcript.ask("load", command.agent_session_id)
        if not self.resumes:
            self._say(CommandFailed(command="resume_agent", text="No conversation found."))
            return
        self._session, self._greeted = command.agent_session_id, True
        again = None if command.pending is None else self._awaited(command.pending)
        if again is not None:
            self._begun.add(again.pending.turn_id)
            self._turn = asyncio.create_task(self._run_again(again), name=f"fake-turn-{self._name}")
            await again.is_asked.wait()
        resumed = AgentResumed(agent_session_id=command.agent_session_id, pending=again is not None)
        self._say(resumed)

    def _awaited(self, pending: PendingTool) -> _Awaited | None:
        """The call, as the transcript has it; None where it does not come back as it was."""
        for line in (self.loaded or b"").splitlines() if self.resumes_pending else []:
            row = msgspec.json.decode(line, type=_ToolRow)
            named = input_hash("Bash", {"command": row.command})
            wanted = pending.input_hash or named
            if row.id == pending.tool_use_id and (row.tool == "question" or named == wanted):
                return _Awaited(pending, row)
        return None

    async def _run_again(self, again: _Awaited) -> None:
        """From the call that was awaited, without a prompt."""
        turn_id, outcome = again.pending.turn_id, None
        if again.row.tool == "question":
            await self._ask(again)
        else:
            outcome = await self._finish_bash(turn_id, again.row.id, again.row.command, again)
        await self._finish(turn_id, again.row.left, outcome)

    def say_open_questions(self) -> None:
        """Once more, for a control plane that does not know them."""
        for event in self._open.values():
            self._say(event)

    def take_answer(self, key: str, command: AnswerPermission | AnswerQuestion) -> None:
        answer = self._answers.pop(key, None)
        if answer is not None and not answer.done():
            answer.set_result(command)

    async def interrupt(self, turn_id: TurnId) -> None:
        turn, self._turn = self._turn, None
        if turn is None:
            return
        turn.cancel()
        await asyncio.wait([turn], timeout=5)
        for key in list(self._answers):
            self._withdraw(key)
        self._say(_interrupted(turn_id))

    def kill(self) -> None:
        for task in (self._turn, self._resuming):
            if task is not None:
                task.cancel()

    async def _run(self, start: StartTurn) -> None:
        if not self._greeted:
            self._greeted = True
            self._say(
                AgentReady(
                    agent_session_id=self._session,
                    model="fake-model",
                    cwd="/workspace",
                    permission_mode="default",
                )
            )
        self._remember({"type": "user", "turn": start.turn_id})
        await self._finish(start.turn_id, start.text.splitlines() or [""], None)

    async def _finish(self, turn_id: TurnId, lines: list[str], outcome: TurnEnded | None) -> None:
        self._left = list(lines)
        while self._left and outcome is None:
            outcome = await self._step(turn_id, self._left.pop(0))
        self._turn = None
        self._remember({"type": "assistant", "turn": turn_id})
        self._say(outcome or _completed(turn_id))

    def _remember(self, row: dict[str, Any]) -> None:
        if self._transcript is not None:
            self._transcript.write(self._session, row)

    async def _step(self, turn_id: TurnId, line: str) -> TurnEnded | None:
        """One line of the prompt; a result when it ends the turn."""
        word, _, rest = line.partition(" ")
        match word:
            case "!bash":
                return await self._bash(turn_id, rest)
            case "!ask":
                await self._ask()
            case "!say" if _is_number(rest.partition(" ")[0]):
                await self._write(" ".join(f"word{i}" for i in range(int(float(rest.split()[0])))))
            case "!slow" if _is_number(rest):
                await asyncio.sleep(float(rest))
                await self._write(f"That took {rest} seconds.")
            case "!fail" if _is_number(rest):
                return self._fail(turn_id, int(float(rest)))
            case "!die":
                self._say(AgentDied(exit_code=-9, text="The CLI was killed."))
                self._die()
            case _:
                await self._write(GREETING + line)
        return None

    async def _write(self, text: str) -> None:
        message_id = self._new_id("msg")
        for start in range(0, len(text), MAX_PIECE):
            piece = text[start : start + MAX_PIECE]
            self._say(
                BlockDelta(message_id=message_id, index=0, kind="text", offset=start, text=piece)
            )
            await asyncio.sleep(0)
        self._say(TextWritten(message_id=message_id, index=0, text=text, model="fake-model"))

    async def _bash(self, turn_id: TurnId, command: str) -> TurnEnded | None:
        tool_use_id = self._new_id("toolu")
        self._say(
            ToolStarted(
                tool_use_id=tool_use_id,
                message_id=self._new_id("msg"),
                index=0,
                name="Bash",
                input={"command": command},
            )
        )
        return await self._finish_bash(turn_id, tool_use_id, command)

    async def _finish_bash(
        self, turn_id: TurnId, tool_use_id: str, command: str, again: _Awaited | None = None
    ) -> TurnEnded | None:
        decision = await self._ask_permission(tool_use_id, command, again)
        allowed = decision.choice in {"allow", "allow_always"}
        output = f"{BASH_OUTPUT}: {command}" if allowed else (decision.reason or "denied")
        content = [ContentPart(kind="text", text=output)]
        self._say(ToolFinished(tool_use_id=tool_use_id, content=content, is_error=not allowed))
        if decision.choice == "deny_and_stop":
            return _interrupted(turn_id)
        await self._write(f"I ran `{command}`." if allowed else "I was not allowed to run that.")
        return None

    async def _ask_permission(
        self, tool_use_id: str, command: str, again: _Awaited | None
    ) -> PermissionDecision:
        tool_input = {"command": command}
        named = input_hash("Bash", tool_input)
        if command in self._always_allowed:
            return PermissionDecision(choice="allow", input_hash=named)
        permission_id = again.pending.permission_id if again else None
        permission_id = permission_id or PermissionId(self._new_id("perm"))
        suggestion = Suggestion(
            kind="addRules", rules=[Rule(tool="Bash", content=command)], behavior="allow"
        )
        request = PermissionRequested(
            permission_id=permission_id,
            tool_name="Bash",
            input=tool_input,
            input_hash=named,
            tool_use_id=tool_use_id,
            suggestions=[suggestion],
        )
        if again is None:
            self._remember(
                {"type": "tool", "id": tool_use_id, "command": command, "left": self._left}
            )
        answer = await self._answer(permission_id, request, again)
        assert isinstance(answer, AnswerPermission)
        if answer.decision.input_hash != named:
            return self._refuse_answer(permission_id, named)
        if answer.decision.choice == "allow_always":
            self._always_allowed.add(command)
        return answer.decision

    def _refuse_answer(self, permission_id: PermissionId, named: str) -> PermissionDecision:
        """It was for something else: nothing runs, and the turn is over."""
        self._say(CommandFailed(command="answer_permission", text="That was for another input."))
        self._say(PermissionWithdrawn(permission_id=permission_id))
        return PermissionDecision(choice="deny_and_stop", input_hash=named)

    async def _ask(self, again: _Awaited | None = None) -> None:
        question_id = again.pending.question_id if again else None
        question_id = question_id or QuestionId(self._new_id("question"))
        tool_use_id = again.row.id if again else self._new_id("toolu")
        if again is None:
            row = {"type": "tool", "tool": "question", "id": tool_use_id, "left": self._left}
            self._remember(row)
        options = [Option(label="Red"), Option(label="Blue")]
        question = Question(question="Which colour?", header="Colour", options=options)
        asked = QuestionAsked(
            question_id=question_id, questions=[question], tool_use_id=tool_use_id
        )
        answer = await self._answer(question_id, asked, again)
        assert isinstance(answer, AnswerQuestion)
        await self._write(f"You chose {', '.join(answer.answers.values())}.")

    def _fail(self, turn_id: TurnId, status: int) -> TurnEnded:
        self._say(AgentFailed(error=_error_tag(status), text=f"API Error: {status}"))
        return TurnEnded(
            turn_id=turn_id,
            outcome="failed",
            text=f"API Error: {status}",
            api_error_status=status,
        )

    async def _answer(
        self,
        key: str,
        event: PermissionRequested | QuestionAsked,
        again: _Awaited | None,
    ) -> AnswerPermission | AnswerQuestion:
        self._open[key] = event
        self._answers[key] = asyncio.get_running_loop().create_future()
        self._say(event)
        if again is not None:
            again.is_asked.set()
        try:
            return await self._answers[key]
        finally:
            del self._open[key]

    def _withdraw(self, key: str) -> None:
        del self._answers[key]
        if key.startswith("perm"):
            self._say(PermissionWithdrawn(permission_id=PermissionId(key)))
        else:
            self._say(QuestionWithdrawn(question_id=QuestionId(key)))

    def _new_id(self, kind: str) -> str:
        return f"{kind}-{self._name}-{next(self._ids)}"


def _is_number(text: str) -> bool:
    """Else the line is no command, and answered like any other."""
    return re.fullmatch(r"\d{1,6}(\.\d+)?", text) is not None


def _completed(turn_id: TurnId) -> TurnEnded:
    usage = Usage(input_tokens=10, output_tokens=5)
    return TurnEnded(turn_id=turn_id, outcome="completed", rounds=1, usage=usage)


def _interrupted(turn_id: TurnId) -> TurnEnded:
    return TurnEnded(turn_id=turn_id, outcome="interrupted")


def _error_tag(status: int) -> str:
    tags = {401: "authentication_failed", 429: "rate_limit", 529: "overloaded"}
    return tags.get(status, "server_error")
