"""What runs in a `FakeSandbox`: an agent that obeys the scripted model's prompts, line by line."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from orchestrator.protocol.commands import (
    AnswerPermission,
    AnswerQuestion,
    PermissionDecision,
    StartTurn,
)
from orchestrator.protocol.event_parts import ContentPart, Option, Question, Rule, Suggestion, Usage
from orchestrator.protocol.ids import PermissionId, QuestionId, TurnId
from orchestrator.protocol.input_hash import input_hash
from orchestrator.protocol.sandbox_events import (
    AgentDied,
    AgentFailed,
    AgentReady,
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


class FakeAgent:
    """One agent. `say` takes its events; `die` is called when it is told to die."""

    def __init__(
        self, name: str, *, say: Callable[[SandboxEvent], None], die: Callable[[], None]
    ) -> None:
        self._name = name
        self._say = say
        self._die = die
        self._ids = itertools.count(1)
        self._turn: asyncio.Task[None] | None = None
        self._answers: dict[str, asyncio.Future[AnswerPermission | AnswerQuestion]] = {}
        self._always_allowed: set[str] = set()
        self._greeted = False

    def start(self, command: StartTurn) -> None:
        self._turn = asyncio.create_task(self._run(command), name=f"fake-turn-{self._name}")

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
        if self._turn is not None:
            self._turn.cancel()

    async def _run(self, start: StartTurn) -> None:
        if not self._greeted:
            self._greeted = True
            self._say(
                AgentReady(
                    agent_session_id=f"agent-{self._name}",
                    model="fake-model",
                    cwd="/workspace",
                    permission_mode="default",
                )
            )
        outcome: TurnEnded | None = None
        for line in start.text.splitlines() or [""]:
            outcome = await self._step(start.turn_id, line)
            if outcome is not None:
                break
        self._turn = None
        self._say(outcome or _completed(start.turn_id))

    async def _step(self, turn_id: TurnId, line: str) -> TurnEnded | None:
        """One line of the prompt; a result when it ends the turn."""
        word, _, rest = line.partition(" ")
        match word:
            case "!bash":
                return await self._bash(turn_id, rest)
            case "!ask":
                await self._ask()
            case "!say":
                await self._write(" ".join(f"word{i}" for i in range(int(rest.split()[0]))))
            case "!slow":
                await asyncio.sleep(float(rest))
                await self._write(f"That took {rest} seconds.")
            case "!fail":
                return self._fail(turn_id, int(rest))
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
        decision = await self._ask_permission(tool_use_id, command)
        allowed = decision.choice in {"allow", "allow_always"}
        output = f"{BASH_OUTPUT}: {command}" if allowed else (decision.reason or "denied")
        content = [ContentPart(kind="text", text=output)]
        self._say(ToolFinished(tool_use_id=tool_use_id, content=content, is_error=not allowed))
        if decision.choice == "deny_and_stop":
            return _interrupted(turn_id)
        await self._write(f"I ran `{command}`." if allowed else "I was not allowed to run that.")
        return None

    async def _ask_permission(self, tool_use_id: str, command: str) -> PermissionDecision:
        tool_input = {"command": command}
        named = input_hash("Bash", tool_input)
        if command in self._always_allowed:
            return PermissionDecision(choice="allow", input_hash=named)
        permission_id = PermissionId(self._new_id("perm"))
        suggestion = Suggestion(
            kind="addRules", rules=[Rule(tool="Bash", content=command)], behavior="allow"
        )
        self._say(
            PermissionRequested(
                permission_id=permission_id,
                tool_name="Bash",
                input=tool_input,
                input_hash=named,
                tool_use_id=tool_use_id,
                suggestions=[suggestion],
            )
        )
        answer = await self._answer(permission_id)
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

    async def _ask(self) -> None:
        question_id = QuestionId(self._new_id("question"))
        options = [Option(label="Red"), Option(label="Blue")]
        question = Question(question="Which colour?", header="Colour", options=options)
        self._say(QuestionAsked(question_id=question_id, questions=[question]))
        answer = await self._answer(question_id)
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

    async def _answer(self, key: str) -> AnswerPermission | AnswerQuestion:
        self._answers[key] = asyncio.get_running_loop().create_future()
        return await self._answers[key]

    def _withdraw(self, key: str) -> None:
        del self._answers[key]
        if key.startswith("perm"):
            self._say(PermissionWithdrawn(permission_id=PermissionId(key)))
        else:
            self._say(QuestionWithdrawn(question_id=QuestionId(key)))

    def _new_id(self, kind: str) -> str:
        return f"{kind}-{self._name}-{next(self._ids)}"


def _completed(turn_id: TurnId) -> TurnEnded:
    usage = Usage(input_tokens=10, output_tokens=5)
    return TurnEnded(turn_id=turn_id, outcome="completed", rounds=1, usage=usage)


def _interrupted(turn_id: TurnId) -> TurnEnded:
    return TurnEnded(turn_id=turn_id, outcome="interrupted")


def _error_tag(status: int) -> str:
    tags = {401: "authentication_failed", 429: "rate_limit", 529: "overloaded"}
    return tags.get(status, "server_error")
