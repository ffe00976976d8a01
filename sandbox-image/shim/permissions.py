"""Asks a person, through the control plane, what the CLI may do; the CLI waits for the answer.

A request ends in exactly one way: answered, or withdrawn (the CLI gave up on it, the turn was
stopped, the agent is gone). What a person is shown is exactly what will run: an input that is too
large to be shown is denied.
"""

import asyncio
import uuid
from collections.abc import Callable, Collection
from typing import Any

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
from orchestrator.protocol.sandbox_events import (
    PermissionRequested,
    PermissionWithdrawn,
    QuestionAsked,
    QuestionWithdrawn,
    SandboxEvent,
)
from shim.foreign_values import as_dict, as_text_or_none
from shim.questions import read_questions
from shim.suggestions import describe, granted

MAX_WAITING = 64
"""Requests at once. More is no agent at work, but something that floods the person."""
MAX_INPUT_BYTES = 512 << 10
"""JSON bytes of an input that can be shown whole."""
QUESTION_TOOL = "AskUserQuestion"

Say = Callable[[SandboxEvent], None]


class AnswerUnexpected(Exception):
    """There is no such open request: it was answered before, or withdrawn."""


class Permissions:
    """The requests that wait for a person. `can_use_tool` is the SDK's callback.

    `allowed_tools` are whole tools, by name. The image's settings let the CLI heed no rules but
    those that a person grants, so what a profile allows is allowed here.
    """

    def __init__(self, say: Say, *, allowed_tools: Collection[str] = ()) -> None:
        self._say = say
        self._allowed_tools = frozenset(allowed_tools)
        self._permissions: dict[PermissionId, asyncio.Future[PermissionDecision | None]] = {}
        self._questions: dict[QuestionId, asyncio.Future[dict[str, str] | None]] = {}

    async def can_use_tool(
        self, tool_name: str, tool_input: dict[str, Any], context: ToolPermissionContext
    ) -> PermissionResult:
        if tool_name in self._allowed_tools and tool_name != QUESTION_TOOL:
            return PermissionResultAllow()
        if len(self._permissions) + len(self._questions) >= MAX_WAITING:
            return PermissionResultDeny(message="Too many questions are waiting for a person.")
        if not _can_be_shown(tool_input):
            return PermissionResultDeny(message="The input is too large to be shown to a person.")
        if tool_name == QUESTION_TOOL and read_questions(tool_input):
            return await self._ask_question(tool_input, context)
        return await self._ask_permission(tool_name, tool_input, context)

    def answer_permission(self, command: AnswerPermission) -> None:
        """Raises AnswerUnexpected."""
        waiting = self._permissions.get(command.permission_id)
        if waiting is None or waiting.done():
            raise AnswerUnexpected
        waiting.set_result(command.decision)

    def answer_question(self, command: AnswerQuestion) -> None:
        """Raises AnswerUnexpected."""
        waiting = self._questions.get(command.question_id)
        if waiting is None or waiting.done():
            raise AnswerUnexpected
        waiting.set_result(command.answers)

    def withdraw_all(self) -> None:
        """The turn was stopped, or the agent is gone: no answer is needed any more."""
        for permission in self._permissions.values():
            if not permission.done():
                permission.set_result(None)
        for question in self._questions.values():
            if not question.done():
                question.set_result(None)

    async def _ask_permission(
        self, tool_name: str, tool_input: dict[str, Any], context: ToolPermissionContext
    ) -> PermissionResult:
        permission_id = PermissionId(uuid.uuid4().hex)
        waiting = asyncio.get_running_loop().create_future()
        self._permissions[permission_id] = waiting
        decision: PermissionDecision | None = None
        try:
            self._say(_request(permission_id, tool_name, tool_input, context))
            decision = await waiting
        finally:
            del self._permissions[permission_id]
            if decision is None:
                self._say(PermissionWithdrawn(permission_id=permission_id))
        return _result(decision, context.suggestions)

    async def _ask_question(
        self, tool_input: dict[str, Any], context: ToolPermissionContext
    ) -> PermissionResult:
        question_id = QuestionId(uuid.uuid4().hex)
        waiting = asyncio.get_running_loop().create_future()
        self._questions[question_id] = waiting
        answers: dict[str, str] | None = None
        try:
            self._say(
                QuestionAsked(
                    question_id=question_id,
                    questions=read_questions(tool_input),
                    tool_use_id=as_text_or_none(context.tool_use_id),
                )
            )
            answers = await waiting
        finally:
            del self._questions[question_id]
            if answers is None:
                self._say(QuestionWithdrawn(question_id=question_id))
        if answers is None:
            return PermissionResultDeny(message="The turn was stopped.", interrupt=True)
        return PermissionResultAllow(updated_input={**tool_input, "answers": answers})


def _request(
    permission_id: PermissionId,
    tool_name: str,
    tool_input: dict[str, Any],
    context: ToolPermissionContext,
) -> PermissionRequested:
    return PermissionRequested(
        permission_id=permission_id,
        tool_name=tool_name,
        input=as_dict(tool_input),
        tool_use_id=as_text_or_none(context.tool_use_id),
        title=as_text_or_none(context.title),
        display_name=as_text_or_none(context.display_name),
        description=as_text_or_none(context.description),
        reason=as_text_or_none(context.decision_reason),
        blocked_path=as_text_or_none(context.blocked_path),
        agent=as_text_or_none(context.agent_id),
        suggestions=[describe(update) for update in context.suggestions],
    )


def _result(
    decision: PermissionDecision | None, suggestions: list[PermissionUpdate]
) -> PermissionResult:
    if decision is None:
        return PermissionResultDeny(message="The turn was stopped.", interrupt=True)
    if decision.choice in ("deny", "deny_and_stop"):
        return PermissionResultDeny(
            message=decision.reason or "The user does not want this to be done.",
            interrupt=decision.choice == "deny_and_stop",
        )
    always = decision.choice == "allow_always"
    return PermissionResultAllow(
        updated_input=decision.updated_input,
        updated_permissions=granted(suggestions, decision.suggestions) if always else None,
    )


def _can_be_shown(tool_input: dict[str, Any]) -> bool:
    try:
        return len(msgspec.json.encode(tool_input)) <= MAX_INPUT_BYTES
    except (ValueError, TypeError, RecursionError):  # half characters, or nesting without end
        return False
