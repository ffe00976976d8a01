"""Asks a person, through the control plane, what the CLI may do; the CLI waits for the answer.

A request ends in exactly one way: answered, or withdrawn (the CLI gave up on it, the turn was
stopped, the agent is gone). What a person is shown is exactly what will run: an input that cannot
be shown whole is denied, an answer holds for the input that it names, and what was shown is what
the CLI is told to run.
"""

import asyncio
import uuid
from collections.abc import Callable, Collection
from typing import Any, Protocol

import msgspec
from claude_agent_sdk import (
    PermissionResult,
    PermissionResultAllow,
    PermissionResultDeny,
    PermissionUpdate,
    ToolPermissionContext,
)

from orchestrator.protocol.commands import AnswerPermission, AnswerQuestion, PermissionDecision
from orchestrator.protocol.ids import PermissionId, QuestionId
from orchestrator.protocol.input_hash import input_hash
from orchestrator.protocol.intricacy import too_intricate
from orchestrator.protocol.link import MAX_EVENT_BYTES
from orchestrator.protocol.sandbox_events import (
    PermissionRequested,
    PermissionWithdrawn,
    QuestionAsked,
    QuestionWithdrawn,
    SandboxEvent,
    sandbox_event_codec,
)
from shim.bounds import bounded
from shim.foreign_values import as_dict, as_text_or_none
from shim.questions import read_questions
from shim.suggestions import describe, granted

MAX_WAITING = 64
"""Requests at once. More is no agent at work, but something that floods the person."""
MAX_WAITING_BYTES = 6 << 20
"""JSON bytes of all that wait. The control plane keeps a little more."""
MAX_INPUT_BYTES = 512 << 10
"""JSON bytes of an input that can be shown whole."""
MAX_REQUEST_BYTES = MAX_EVENT_BYTES - (64 << 10)
"""JSON bytes of a request with all that the CLI says of it. A longer event would be cut."""
TOO_LARGE = "The input is too large to be shown to a person."
TOO_MANY = "Too many questions are waiting for a person."
STOPPED = "The turn was stopped."
QUESTION_TOOL = "AskUserQuestion"

Say = Callable[[SandboxEvent], None]


class Forbids(Protocol):
    """Whether an input that a person wrote is one that the profile forbids: the CLI has no hook for
    those. The reason, or None."""

    async def __call__(
        self, tool_name: str, tool_input: dict[str, Any], *, tool_use_id: str | None
    ) -> str | None: ...


async def _nothing(*_given: object, **_also: object) -> str | None:
    return None


class AnswerUnexpected(Exception):
    """There is no such open request: it was answered before, or withdrawn."""


class InputChanged(Exception):
    """The answer names another input than the one that waits. It counts as a denial."""


class _Open(msgspec.Struct, frozen=True):
    """A request that waits for a person."""

    request: PermissionRequested
    answer: "asyncio.Future[PermissionDecision | None]"


class Permissions:
    """The requests that wait for a person. `can_use_tool` is the SDK's callback.

    `allowed_tools` are whole tools, by name. The image's settings let the CLI heed no rules but
    those that a person grants, so what a profile allows is allowed here.
    """

    def __init__(
        self, say: Say, *, allowed_tools: Collection[str] = (), forbids: Forbids = _nothing
    ) -> None:
        self._say = say
        self._forbids = forbids
        self._allowed_tools = frozenset(allowed_tools)
        self._permissions: dict[PermissionId, _Open] = {}
        self._questions: dict[QuestionId, asyncio.Future[dict[str, str] | None]] = {}
        self._sizes: dict[str, int] = {}
        """JSON bytes of each that waits, by its id."""

    async def can_use_tool(
        self, tool_name: str, tool_input: dict[str, Any], context: ToolPermissionContext
    ) -> PermissionResult:
        if tool_name in self._allowed_tools and tool_name != QUESTION_TOOL:
            return PermissionResultAllow()
        if len(self._sizes) >= MAX_WAITING:
            return PermissionResultDeny(message=TOO_MANY)
        shown = _as_shown(tool_input)
        if shown is None:
            return PermissionResultDeny(message=TOO_LARGE)
        if tool_name == QUESTION_TOOL and read_questions(shown):
            asked = _question(shown, context)
            refusal = self._take_place(asked.question_id, asked)
            return refusal or await self._ask_question(asked, shown)
        request = _request(tool_name, shown, context)
        refusal = self._take_place(request.permission_id, request)
        return refusal or await self._ask_permission(request, context)

    def answer_permission(self, command: AnswerPermission) -> None:
        """Raises AnswerUnexpected, InputChanged."""
        waiting = self._permissions.get(command.permission_id)
        if waiting is None or waiting.answer.done():
            raise AnswerUnexpected
        if command.decision.input_hash != waiting.request.input_hash:
            waiting.answer.set_result(None)
            raise InputChanged
        waiting.answer.set_result(command.decision)

    def answer_question(self, command: AnswerQuestion) -> None:
        """Raises AnswerUnexpected."""
        waiting = self._questions.get(command.question_id)
        if waiting is None or waiting.done():
            raise AnswerUnexpected
        waiting.set_result(command.answers)

    def withdraw_all(self) -> None:
        """The turn was stopped, or the agent is gone: no answer is needed any more."""
        for permission in self._permissions.values():
            if not permission.answer.done():
                permission.answer.set_result(None)
        for question in self._questions.values():
            if not question.done():
                question.set_result(None)

    def _take_place(
        self, key: str, asked: PermissionRequested | QuestionAsked
    ) -> PermissionResultDeny | None:
        """Whoever asks then gives the place back."""
        size = _size(asked)
        if size is None:
            return PermissionResultDeny(message=TOO_LARGE)
        if sum(self._sizes.values()) + size > MAX_WAITING_BYTES:
            return PermissionResultDeny(message=TOO_MANY)
        self._sizes[key] = size
        return None

    async def _ask_permission(
        self, request: PermissionRequested, context: ToolPermissionContext
    ) -> PermissionResult:
        answer = asyncio.get_running_loop().create_future()
        self._permissions[request.permission_id] = _Open(request, answer)
        decision: PermissionDecision | None = None
        try:
            self._say(request)
            decision = await answer
        finally:
            del self._permissions[request.permission_id]
            del self._sizes[request.permission_id]
            if decision is None:
                self._say(PermissionWithdrawn(permission_id=request.permission_id))
        result = _result(decision, request, context.suggestions)
        if decision is None or decision.updated_input is None:
            return result
        reason = await self._forbids(
            request.tool_name, decision.updated_input, tool_use_id=request.tool_use_id
        )
        return result if reason is None else PermissionResultDeny(message=reason)

    async def _ask_question(
        self, asked: QuestionAsked, tool_input: dict[str, Any]
    ) -> PermissionResult:
        question_id = asked.question_id
        waiting = asyncio.get_running_loop().create_future()
        self._questions[question_id] = waiting
        answers: dict[str, str] | None = None
        try:
            self._say(asked)
            answers = await waiting
        finally:
            del self._questions[question_id]
            del self._sizes[question_id]
            if answers is None:
                self._say(QuestionWithdrawn(question_id=question_id))
        if answers is None:
            return PermissionResultDeny(message=STOPPED, interrupt=True)
        return PermissionResultAllow(updated_input={**tool_input, "answers": answers})


def _request(
    tool_name: str, shown: dict[str, Any], context: ToolPermissionContext
) -> PermissionRequested:
    return PermissionRequested(
        permission_id=PermissionId(uuid.uuid4().hex),
        tool_name=tool_name,
        input=shown,
        input_hash=input_hash(tool_name, shown),
        tool_use_id=as_text_or_none(context.tool_use_id),
        title=as_text_or_none(context.title),
        display_name=as_text_or_none(context.display_name),
        description=as_text_or_none(context.description),
        reason=as_text_or_none(context.decision_reason),
        blocked_path=as_text_or_none(context.blocked_path),
        agent=as_text_or_none(context.agent_id),
        suggestions=[describe(update) for update in context.suggestions],
    )


def _question(shown: dict[str, Any], context: ToolPermissionContext) -> QuestionAsked:
    return QuestionAsked(
        question_id=QuestionId(uuid.uuid4().hex),
        questions=read_questions(shown),
        tool_use_id=as_text_or_none(context.tool_use_id),
    )


def _result(
    decision: PermissionDecision | None,
    request: PermissionRequested,
    suggestions: list[PermissionUpdate],
) -> PermissionResult:
    """What is allowed goes back whole: not "the input", whichever that is, but this one."""
    if decision is None:
        return PermissionResultDeny(message=STOPPED, interrupt=True)
    if decision.choice in ("deny", "deny_and_stop"):
        return PermissionResultDeny(
            message=decision.reason or "The user does not want this to be done.",
            interrupt=decision.choice == "deny_and_stop",
        )
    always = decision.choice == "allow_always"
    changed = decision.updated_input
    return PermissionResultAllow(
        updated_input=request.input if changed is None else changed,
        updated_permissions=granted(suggestions, decision.suggestions) if always else None,
    )


def _as_shown(tool_input: dict[str, Any]) -> dict[str, Any] | None:
    """The input as whoever reads its JSON has it. None for what cannot be shown whole."""
    try:
        body = msgspec.json.encode(as_dict(tool_input))
        if len(body) > MAX_INPUT_BYTES:
            return None
        return msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, TypeError, RecursionError):  # half characters, or nesting without end
        return None


def _size(asked: PermissionRequested | QuestionAsked) -> int | None:
    """Its JSON bytes; None for what would not cross the link exactly as it is (see `fitting`): what
    is cut is not shown whole, and an input that is cut has another hash."""
    if too_intricate(asked) or bounded(asked) is not asked:
        return None
    try:
        size = len(sandbox_event_codec.encode(asked).encode())
    except (ValueError, TypeError, RecursionError):
        return None
    return size if size <= MAX_REQUEST_BYTES else None
