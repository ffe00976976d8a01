"""What a person is asked, and what the CLI is told of the answer. Pure.

What is shown is exactly what will run: an input that cannot be shown whole is not asked about, and
what was shown is what the CLI is told to run.
"""

import uuid
from typing import Any

import msgspec
from claude_agent_sdk import (
    PermissionResult,
    PermissionResultAllow,
    PermissionResultDeny,
    PermissionUpdate,
    ToolPermissionContext,
)

from orchestrator.protocol.commands import PendingTool, PermissionDecision
from orchestrator.protocol.ids import PermissionId, QuestionId
from orchestrator.protocol.input_hash import input_hash
from orchestrator.protocol.intricacy import too_intricate
from orchestrator.protocol.link import MAX_EVENT_BYTES
from orchestrator.protocol.sandbox_events import (
    PermissionRequested,
    PermissionWithdrawn,
    QuestionAsked,
    QuestionWithdrawn,
    sandbox_word_codec,
)
from shim.bounds import bounded
from shim.foreign_values import as_dict, as_text_or_none
from shim.questions import read_questions
from shim.suggestions import describe, granted

MAX_INPUT_BYTES = 512 << 10
"""JSON bytes of an input that can be shown whole."""
MAX_REQUEST_BYTES = MAX_EVENT_BYTES - (64 << 10)
"""JSON bytes of a request with all that the CLI says of it. A longer event would be cut."""
STOPPED = "The turn was stopped."
QUESTION_TOOL = "AskUserQuestion"

Asked = PermissionRequested | QuestionAsked


def asked_about(tool_name: str, shown: dict[str, Any], context: ToolPermissionContext) -> Asked:
    if tool_name == QUESTION_TOOL and read_questions(shown):
        return question_of(shown, context)
    return request_of(tool_name, shown, context)


def name_of(asked: Asked) -> str:
    return asked.permission_id if isinstance(asked, PermissionRequested) else asked.question_id


def withdrawn(asked: Asked) -> PermissionWithdrawn | QuestionWithdrawn:
    if isinstance(asked, PermissionRequested):
        return PermissionWithdrawn(permission_id=asked.permission_id)
    return QuestionWithdrawn(question_id=asked.question_id)


def as_before(asked: Asked, pending: PendingTool) -> Asked | None:
    """Under the name that it had. None for what is not what was asked then."""
    match asked:
        case PermissionRequested(input_hash=pending.input_hash) if pending.permission_id:
            return msgspec.structs.replace(asked, permission_id=pending.permission_id)
        case QuestionAsked() if pending.question_id:
            return msgspec.structs.replace(asked, question_id=pending.question_id)
        case _:
            return None


def request_of(
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


def question_of(shown: dict[str, Any], context: ToolPermissionContext) -> QuestionAsked:
    return QuestionAsked(
        question_id=QuestionId(uuid.uuid4().hex),
        questions=read_questions(shown),
        tool_use_id=as_text_or_none(context.tool_use_id),
    )


def result_of(
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


def as_shown(tool_input: dict[str, Any]) -> dict[str, Any] | None:
    """The input as whoever reads its JSON has it. None for what cannot be shown whole."""
    try:
        body = msgspec.json.encode(as_dict(tool_input))
        if len(body) > MAX_INPUT_BYTES:
            return None
        return msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, TypeError, RecursionError):  # half characters, or nesting without end
        return None


def size_of(asked: PermissionRequested | QuestionAsked) -> int | None:
    """Its JSON bytes; None for what would not cross the link exactly as it is (see `fitting`): what
    is cut is not shown whole, and an input that is cut has another hash."""
    if too_intricate(asked) or bounded(asked) is not asked:
        return None
    try:
        size = len(sandbox_word_codec.encode(asked).encode())
    except (ValueError, TypeError, RecursionError):
        return None
    return size if size <= MAX_REQUEST_BYTES else None
