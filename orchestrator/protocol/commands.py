"""What a sandbox is asked to do: the commands on the link, and the decisions that they carry."""

from typing import Any, Literal

import msgspec

from orchestrator.protocol.event_parts import PermissionMode
from orchestrator.protocol.ids import PermissionId, QuestionId, TurnId
from orchestrator.protocol.transfers import TransferRequest
from orchestrator.protocol.wire import Codec, Unrecognised, Wire


class PermissionDecision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person's answer to exactly what they were shown: `input_hash` is the request's own. One
    that names another input is refused on its way, and again in the sandbox.

    `updated_input` replaces the tool's input (allow only); `reason` is told to Claude (deny only);
    `suggestions` picks by position what "always" saves, all if left out."""

    choice: Literal["allow", "allow_always", "deny", "deny_and_stop"]
    input_hash: str
    updated_input: dict[str, Any] | None = None
    suggestions: list[int] | None = None
    reason: str = ""


class StartTurn(Wire, frozen=True, kw_only=True):
    """A turn that was begun already is not begun again: it may be sent twice."""

    turn_id: TurnId
    text: str


class Interrupt(Wire, frozen=True, kw_only=True):
    """Stop the running turn. Answered by its `TurnEnded`; without a turn it does nothing."""

    turn_id: TurnId


class AnswerPermission(Wire, frozen=True, kw_only=True):
    permission_id: PermissionId
    decision: PermissionDecision


class AnswerQuestion(Wire, frozen=True, kw_only=True):
    """`answers` maps each question's text to its answer; several choices are joined by a comma."""

    question_id: QuestionId
    answers: dict[str, str]


class SetModel(Wire, frozen=True, kw_only=True):
    model: str


class SetPermissionMode(Wire, frozen=True, kw_only=True):
    mode: PermissionMode


class PendingTool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The one tool call for which a person's answer was awaited when the sandbox was given up. It
    is asked again under the id that it had, with exactly the same input, and its turn goes on."""

    turn_id: TurnId
    tool_use_id: str
    permission_id: PermissionId | None = None
    question_id: QuestionId | None = None
    """One of the two."""
    input_hash: str = ""
    """Of a permission's input, as it was shown."""


class ResumeAgent(Wire, frozen=True, kw_only=True):
    """Connect the agent anew, with this earlier conversation from the store and these choices.
    Answered by `AgentResumed`, or by `CommandFailed`; sent before the first turn. Where nothing is
    left of the conversation it begins anew, and `ConversationReset` follows the answer."""

    agent_session_id: str
    model: str = ""
    permission_mode: PermissionMode | None = None
    pending: PendingTool | None = None


class SyncTranscript(Wire, frozen=True, kw_only=True):
    """Say everything of the transcript that was not said yet, repairing what was missed. Answered
    by `TranscriptSynced`."""

    sync_id: str


class OpenTransfer(Wire, frozen=True, kw_only=True):
    """Dial a connection for a transfer (see `transfers`). Late, it is refused there."""

    transfer_id: str
    request: TransferRequest


SandboxCommand = (
    StartTurn
    | Interrupt
    | AnswerPermission
    | AnswerQuestion
    | SetModel
    | SetPermissionMode
    | ResumeAgent
    | SyncTranscript
    | OpenTransfer
    | Unrecognised
)

sandbox_command_codec: Codec[SandboxCommand] = Codec(SandboxCommand)
