"""What the control plane says of a session: what people did, and what became of their sandbox."""

from typing import Any, Literal

from orchestrator.protocol.event_parts import Name, Usage
from orchestrator.protocol.ids import ClientId, PermissionId, QuestionId, TurnId
from orchestrator.protocol.wire import Wire


class PromptAccepted(Wire, frozen=True, kw_only=True):
    """A person's prompt is in. It runs at once, or waits its turn in the session's queue."""

    client_id: ClientId
    text: str
    by: str
    """The user's name."""
    queued: bool = False
    again: ClientId | None = None
    """The unfinished prompt that is run again."""


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
    updated_input: dict[str, Any] | None = None
    suggestions: list[int] | None = None
    """As decided: what a sandbox that did not get the decision is told again."""


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
    """The session has its sandbox, with all that it had before: `restored_bytes` of files. One that
    outlived the control plane is not assigned again."""

    sandbox_id: str
    waited_ms: int = 0
    reason: Literal["new", "woken", "recovered", "recycled", "went_back"] = "new"
    checkpoint_id: str = ""
    restored_bytes: int = 0


class SandboxLost(Wire, frozen=True, kw_only=True):
    """The sandbox is gone, and nobody wished it; the sentence says why. The session goes on in
    another one, unless the next event says otherwise."""

    tag: str
    sentence: str


class RecoveryStopped(Wire, frozen=True, kw_only=True):
    """Sandboxes died in a row: the session rests (`hibernated`) until a person sends a prompt."""

    deaths: int
    sentence: str


class SessionHibernated(Wire, frozen=True, kw_only=True):
    """The sandbox was given up in good order; the session wakes with the next prompt or visit."""

    reason: Literal[
        "idle", "host_memory", "memory", "storage", "age", "asked", "shutdown", "upgrade"
    ]
    sentence: str


class CheckpointTaken(Wire, frozen=True, kw_only=True):
    """The files were kept, with the place in the conversation: one can go back to here."""

    checkpoint_id: str
    size: int
    """Bytes, compressed."""
    entries: int
    omitted: int = 0
    """Entries that could not be carried."""
    took_ms: int = 0


class CheckpointFailed(Wire, frozen=True, kw_only=True):
    """The files as they are now are not kept; those of the last checkpoint are."""

    tag: str
    sentence: str


class WentBack(Wire, frozen=True, kw_only=True):
    """Files and conversation are as they were at a checkpoint. Claude knows nothing of what came
    after; this log still does."""

    checkpoint_id: str
    by: str
    branch: int = 0
    """Of the transcript: what the agent writes from now on goes there."""
    agent_session_id: str = ""


class PromptUnfinished(Wire, frozen=True, kw_only=True):
    """The turn of this prompt came to no end because of something that nobody wished. It can be run
    again (`run_again`) or let go (`let_go`)."""

    client_id: ClientId
    text: str
    by: str
    sentence: str
    """Why."""


class PromptLetGo(Wire, frozen=True, kw_only=True):
    """Nobody wants the unfinished prompt any more."""

    client_id: ClientId
    by: str


class LimitNear(Wire, frozen=True, kw_only=True):
    """A limit will be reached soon if it goes on like this."""

    limit: Name
    """`turn_time`, `session_age`, `sandbox_age`, `memory`, `home`, `workspace`, `transcript`."""
    sentence: str
    seconds: int | None = None
    """Until then, where that is known."""


class LimitReached(Wire, frozen=True, kw_only=True):
    """And what was done about it."""

    limit: Name
    sentence: str


class OutOfMemory(Wire, frozen=True, kw_only=True):
    """The kernel killed a program in the sandbox because its memory was full: told by the engine.
    The sandbox may live on."""

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
    | RecoveryStopped
    | SessionHibernated
    | CheckpointTaken
    | CheckpointFailed
    | WentBack
    | PromptUnfinished
    | PromptLetGo
    | LimitNear
    | LimitReached
    | OutOfMemory
    | SessionEnded
)
