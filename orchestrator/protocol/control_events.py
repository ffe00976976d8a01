"""What the control plane says of a session: what people did, and what became of their sandbox."""

from typing import Literal

from orchestrator.protocol.event_parts import Usage
from orchestrator.protocol.ids import ClientId, PermissionId, QuestionId, TurnId
from orchestrator.protocol.wire import Wire


class PromptAccepted(Wire, frozen=True, kw_only=True):
    """A person's prompt is in. It runs at once, or waits its turn in the session's queue."""

    client_id: ClientId
    text: str
    by: str
    """The user's name."""
    queued: bool = False


class PromptRemoved(Wire, frozen=True, kw_only=True):
    """A queued prompt was taken back before it ran."""

    client_id: ClientId


class TurnStarted(Wire, frozen=True, kw_only=True):
    turn_id: TurnId
    client_id: ClientId


class InterruptRequested(Wire, frozen=True, kw_only=True):
    turn_id: TurnId
    by: str


class PermissionResolved(Wire, frozen=True, kw_only=True):
    permission_id: PermissionId
    choice: Literal["allow", "allow_always", "deny", "deny_and_stop"]
    by: str
    reason: str = ""
    changed_input: bool = False
    tool_name: str = ""
    input_hash: str = ""
    """Of what runs now, or was refused: who decided on exactly what."""


class QuestionAnswered(Wire, frozen=True, kw_only=True):
    question_id: QuestionId
    answers: dict[str, str]
    by: str


class SessionRenamed(Wire, frozen=True, kw_only=True):
    title: str


class UpstreamFailed(Wire, frozen=True, kw_only=True):
    """The model API failed as the gateway saw it: a tag, a sentence, and what to do."""

    tag: str
    sentence: str
    advice: str
    status: int | None = None


class EgressRefused(Wire, frozen=True, kw_only=True):
    """The sandbox tried to reach something that its profile does not allow. `count` tells how often
    since it was last said: a loop in a sandbox shall not fill the session."""

    host: str
    """As the sandbox spelled it, made visible and cut to 255 characters."""
    port: int
    tag: str
    """`host_not_allowed`, `port_not_allowed`, `private_address`, `bad_address`, `unresolved`,
    `sni_mismatch`, `no_tls`, `over_budget`, `too_many`, ..."""
    sentence: str
    count: int = 1


class FileUploaded(Wire, frozen=True, kw_only=True):
    """A person put a file into the workspace."""

    path: str
    """Below the workspace, with `/`."""
    size: int
    """Bytes."""
    by: str


class UsageMetered(Wire, frozen=True, kw_only=True):
    """One model request, as the gateway counted it."""

    model: str
    usage: Usage
    cost_usd: float


class SandboxAssigned(Wire, frozen=True, kw_only=True):
    """The session has its sandbox."""

    sandbox_id: str
    waited_ms: int = 0


class SandboxLost(Wire, frozen=True, kw_only=True):
    """The sandbox is gone before the session's end; the sentence says why and what to do."""

    tag: str
    sentence: str


class SessionEnded(Wire, frozen=True, kw_only=True):
    tag: str
    """`ended_by_user`, `sandbox_lost`, `no_sandbox_free`, `shutdown`, ..."""
    sentence: str
    by: str | None = None


ControlEvent = (
    PromptAccepted
    | PromptRemoved
    | TurnStarted
    | InterruptRequested
    | PermissionResolved
    | QuestionAnswered
    | SessionRenamed
    | UpstreamFailed
    | EgressRefused
    | FileUploaded
    | UsageMetered
    | SandboxAssigned
    | SandboxLost
    | SessionEnded
)
