"""Asks a person, through the control plane, what the CLI may do; the CLI waits for the answer.

A request ends in exactly one way: answered, or withdrawn (the CLI gave up on it, the turn was
stopped, the agent is gone). What a person is shown is exactly what will run: an input that cannot
be shown whole is denied, an answer holds for the input that it names, and what was shown is what
the CLI is told to run.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Protocol

import msgspec
from claude_agent_sdk import (
    PermissionResult,
    PermissionResultAllow,
    PermissionResultDeny,
    ToolPermissionContext,
)

from orchestrator.protocol.commands import (
    AnswerPermission,
    AnswerQuestion,
    PendingTool,
    PermissionDecision,
)
from orchestrator.protocol.ids import PermissionId, QuestionId
from orchestrator.protocol.sandbox_events import (
    PermissionRequested,
    QuestionAsked,
    SandboxEvent,
)
from shim.permission_requests import (
    QUESTION_TOOL,
    STOPPED,
    Asked,
    as_before,
    as_shown,
    asked_about,
    name_of,
    result_of,
    size_of,
    withdrawn,
)

MAX_WAITING = 64
"""Requests at once. More is no agent at work, but something that floods the person."""
MAX_WAITING_BYTES = 6 << 20
"""JSON bytes of all that wait. The control plane keeps a little more."""
TOO_LARGE = "The input is too large to be shown to a person."
TOO_MANY = "Too many questions are waiting for a person."
ANOTHER = "This is not what was asked before."

Say = Callable[[SandboxEvent], None]


class Forbids(Protocol):
    """Whether an input that a person wrote is one that the profile forbids: the CLI has no hook for
    those. The reason, or None."""

    async def __call__(
        self, tool_name: str, tool_input: dict[str, Any], *, tool_use_id: str | None
    ) -> str | None: ...


class BeforeAsking(Protocol):
    """Returns when a person may be asked about this use of a tool."""

    async def __call__(self, tool_use_id: str | None) -> None: ...


async def _nothing(*_given: object, **_also: object) -> None:
    return None


class AnswerUnexpected(Exception):
    """There is no such open request: it was answered before, or withdrawn."""


class InputChanged(Exception):
    """The answer names another input than the one that waits. It counts as a denial."""


class _Open(msgspec.Struct, frozen=True):
    """What waits for a person. Its answer is a decision, or what was chosen for each question; None
    where no answer is needed any more."""

    asked: Asked
    answer: "asyncio.Future[Any]"


class Expected:
    """What an earlier sandbox had asked, and whether it was asked again."""

    def __init__(self, pending: PendingTool) -> None:
        self.pending = pending
        self._came: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def came(self, *, well: bool) -> None:
        if not self._came.done():
            self._came.set_result(well)

    async def was_asked(self, *, seconds: float) -> bool:
        """False is final: what asks later is denied."""
        await asyncio.wait({self._came}, timeout=seconds)
        self.came(well=False)
        return self._came.result()

    @property
    def is_given_up(self) -> bool:
        return self._came.done()


class Permissions:
    """The requests that wait for a person. `can_use_tool` is the SDK's callback.

    `allowed_tools` are whole tools, by name. The image's settings let the CLI heed no rules but
    those that a person grants, so what a profile allows is allowed here.
    """

    def __init__(
        self,
        say: Say,
        *,
        allowed_tools: Collection[str] = (),
        forbids: Forbids = _nothing,
        before_asking: BeforeAsking = _nothing,
    ) -> None:
        self._say = say
        self._before_asking = before_asking
        self._forbids = forbids
        self._allowed_tools = frozenset(allowed_tools)
        self._open: dict[str, _Open] = {}
        self._sizes: dict[str, int] = {}
        """JSON bytes of each that waits, by its id."""
        self._expected: Expected | None = None
        self._is_closing = False

    def expect(self, pending: PendingTool) -> Expected:
        """A resumed CLI will ask again what an earlier one did; it goes by the name that it had."""
        self._expected = Expected(pending)
        return self._expected

    def close(self) -> None:
        """The sandbox is given up: what is open stays so, and is asked again in the next one."""
        self._is_closing = True

    async def can_use_tool(
        self, tool_name: str, tool_input: dict[str, Any], context: ToolPermissionContext
    ) -> PermissionResult:
        """The SDK's callback."""
        expected = self._take_expected(context.tool_use_id)
        if expected is None and tool_name in self._allowed_tools and tool_name != QUESTION_TOOL:
            return PermissionResultAllow()
        shown = as_shown(tool_input)
        if shown is None:
            return PermissionResultDeny(message=TOO_LARGE)
        asked = asked_about(tool_name, shown, context)
        if expected is not None:
            before = None if expected.is_given_up else as_before(asked, expected.pending)
            expected.came(well=before is not None)
            if before is None:
                return PermissionResultDeny(message=ANOTHER, interrupt=True)
            asked = before
        refusal = self._take_place(asked)
        if refusal is not None:
            return refusal
        if isinstance(asked, QuestionAsked):
            return await self._ask_question(asked, shown)
        return await self._ask_permission(asked, context, judge=expected is not None)

    def answer_permission(self, command: AnswerPermission) -> None:
        """Raises AnswerUnexpected, InputChanged."""
        waiting = self._waiting(command.permission_id)
        assert isinstance(waiting.asked, PermissionRequested)
        if command.decision.input_hash != waiting.asked.input_hash:
            waiting.answer.set_result(None)
            raise InputChanged
        waiting.answer.set_result(command.decision)

    def answer_question(self, command: AnswerQuestion) -> None:
        """Raises AnswerUnexpected."""
        self._waiting(command.question_id).answer.set_result(command.answers)

    def _waiting(self, name: PermissionId | QuestionId) -> _Open:
        waiting = self._open.get(name)
        if waiting is None or waiting.answer.done():
            raise AnswerUnexpected
        return waiting

    def withdraw_all(self) -> None:
        """The turn was stopped, or the agent is gone: no answer is needed any more."""
        for waiting in self._open.values():
            if not waiting.answer.done():
                waiting.answer.set_result(None)

    def say_again(self) -> None:
        """What is open, under the names that it was asked by before."""
        for waiting in self._open.values():
            if not waiting.answer.done():
                self._say(waiting.asked)

    def _take_expected(self, tool_use_id: str | None) -> Expected | None:
        expected = self._expected
        if expected is None or expected.pending.tool_use_id != tool_use_id:
            return None
        self._expected = None
        return expected

    def _take_place(self, asked: Asked) -> PermissionResultDeny | None:
        """Whoever asks then gives the place back."""
        size = size_of(asked)
        if size is None:
            return PermissionResultDeny(message=TOO_LARGE)
        too_many = len(self._sizes) >= MAX_WAITING
        if too_many or sum(self._sizes.values()) + size > MAX_WAITING_BYTES:
            return PermissionResultDeny(message=TOO_MANY)
        self._sizes[name_of(asked)] = size
        return None

    async def _ask(self, asked: Asked) -> Any:
        """The answer, or None. Not said is what was withdrawn before it was asked, and what is
        withdrawn while the sandbox is given up."""
        name = name_of(asked)
        waiting = self._open[name] = _Open(asked, asyncio.get_running_loop().create_future())
        was_asked, answer = False, None
        try:
            await self._before_asking(asked.tool_use_id)
            if not waiting.answer.done():
                self._say(asked)
                was_asked = True
            answer = await waiting.answer
        finally:
            del self._open[name]
            del self._sizes[name]
            if was_asked and answer is None and not self._is_closing:
                self._say(withdrawn(asked))
        return answer

    async def _ask_permission(
        self, request: PermissionRequested, context: ToolPermissionContext, *, judge: bool
    ) -> PermissionResult:
        """`judge`: also what nobody changed. The hooks of a resumed CLI are late for it."""
        decision: PermissionDecision | None = await self._ask(request)
        result = result_of(decision, request, context.suggestions)
        if not isinstance(result, PermissionResultAllow):
            return result
        if not judge and (decision is None or decision.updated_input is None):
            return result
        reason = await self._forbids(
            request.tool_name, result.updated_input or {}, tool_use_id=request.tool_use_id
        )
        return result if reason is None else PermissionResultDeny(message=reason)

    async def _ask_question(
        self, asked: QuestionAsked, tool_input: dict[str, Any]
    ) -> PermissionResult:
        answers: dict[str, str] | None = await self._ask(asked)
        if answers is None:
            return PermissionResultDeny(message=STOPPED, interrupt=True)
        return PermissionResultAllow(updated_input={**tool_input, "answers": answers})
