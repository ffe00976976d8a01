"""What a sandbox says: everything that its agent does, asks and needs."""

from typing import Any, Literal

from orchestrator.protocol.event_parts import (
    ContentPart,
    PermissionMode,
    Question,
    Suggestion,
    Todo,
    ToolUseId,
    Usage,
)
from orchestrator.protocol.ids import PermissionId, QuestionId, TurnId
from orchestrator.protocol.wire import Codec, Unrecognised, Wire


class AgentReady(Wire, frozen=True, kw_only=True):
    """The CLI told what it has: said before the first turn's first word, again after a reset."""

    agent_session_id: str
    model: str
    cwd: str
    permission_mode: str
    cli_version: str = ""
    tools: list[str] = []
    slash_commands: list[str] = []
    skills: list[str] = []
    agents: list[str] = []
    mcp_servers: dict[str, str] = {}
    """Name to status."""


class BlockDelta(Wire, frozen=True, kw_only=True):
    """Transient. A piece of a block that is being written.

    Idempotent: `offset` is where `text` begins in the block, in Unicode code points. `message_id`
    and `index` name the block, as they do in the durable event that closes it.
    """

    message_id: str
    index: int
    kind: Literal["text", "thinking", "tool_input"]
    offset: int
    text: str
    tool_use_id: ToolUseId | None = None
    tool_name: str | None = None
    parent: ToolUseId | None = None


class TextWritten(Wire, frozen=True, kw_only=True):
    """Claude wrote this text (Markdown). `parent` is the subagent's tool use, if it was one."""

    message_id: str
    index: int
    text: str
    parent: ToolUseId | None = None
    model: str = ""


class ThoughtWritten(Wire, frozen=True, kw_only=True):
    """Claude thought this."""

    message_id: str
    index: int
    text: str
    parent: ToolUseId | None = None


class ToolStarted(Wire, frozen=True, kw_only=True):
    """Claude called a tool. `server` marks one that the model API runs by itself."""

    tool_use_id: ToolUseId
    message_id: str
    index: int
    name: str
    input: dict[str, Any]
    parent: ToolUseId | None = None
    server: bool = False


class ToolFinished(Wire, frozen=True, kw_only=True):
    """A tool's result, as Claude sees it; `detail` is the CLI's structured form, if it gave one.

    `omitted` counts the characters that were cut to keep the frame in its bounds.
    """

    tool_use_id: ToolUseId
    content: list[ContentPart]
    is_error: bool = False
    detail: Any = None
    omitted: int = 0
    parent: ToolUseId | None = None


class NoteWritten(Wire, frozen=True, kw_only=True):
    """A user-side message that no person typed: a subagent's task, a command's output, a notice."""

    text: str
    origin: str = ""
    parent: ToolUseId | None = None


class AgentFailed(Wire, frozen=True, kw_only=True):
    """The agent could not get an answer from the model. The session lives.

    `error` is the SDK's tag (`rate_limit`, `overloaded`, `authentication_failed`, `server_error`,
    ...); `text` is what the CLI wrote about it.
    """

    error: str
    text: str = ""
    parent: ToolUseId | None = None


class TodosChanged(Wire, frozen=True, kw_only=True):
    """The whole to-do list of the session, as it is now."""

    todos: list[Todo]


class TaskStarted(Wire, frozen=True, kw_only=True):
    """A subagent or background task began."""

    task_id: str
    description: str
    tool_use_id: ToolUseId | None = None
    task_type: str | None = None


class TaskProgressed(Wire, frozen=True, kw_only=True):
    task_id: str
    description: str = ""
    total_tokens: int = 0
    tool_uses: int = 0
    duration_ms: int = 0
    last_tool: str | None = None


class TaskUpdated(Wire, frozen=True, kw_only=True):
    task_id: str
    status: str | None = None
    patch: dict[str, Any] = {}


class TaskFinished(Wire, frozen=True, kw_only=True):
    task_id: str
    status: str
    summary: str = ""
    total_tokens: int = 0
    tool_uses: int = 0
    duration_ms: int = 0
    tool_use_id: ToolUseId | None = None


class StatusReported(Wire, frozen=True, kw_only=True):
    """Transient. What the CLI is busy with: `requesting`, `compacting`, or none."""

    status: str | None
    permission_mode: str | None = None


class ContextCompacted(Wire, frozen=True, kw_only=True):
    """The conversation so far was summarised to make room."""

    trigger: str = ""
    tokens_before: int = 0


class RateLimited(Wire, frozen=True, kw_only=True):
    """The model API's own rate limit for this account changed its state."""

    status: str
    resets_at: int | None = None
    """Unix seconds."""
    limit: str | None = None
    utilization: float | None = None
    """0 to 1."""


class HookRan(Wire, frozen=True, kw_only=True):
    hook: str
    phase: Literal["started", "finished"]
    detail: dict[str, Any] = {}


class ConversationReset(Wire, frozen=True, kw_only=True):
    """`/clear`: the agent forgot the conversation. The session's log keeps it."""

    agent_session_id: str


class MirrorFailed(Wire, frozen=True, kw_only=True):
    """A batch of the transcript could not be mirrored out of the sandbox."""

    error: str


class SystemNoted(Wire, frozen=True, kw_only=True):
    """A system message of the CLI that has no event of its own."""

    subtype: str
    data: dict[str, Any] = {}


class PermissionRequested(Wire, frozen=True, kw_only=True):
    """Claude waits for a person: may this tool run with exactly this input?"""

    permission_id: PermissionId
    tool_name: str
    input: dict[str, Any]
    tool_use_id: ToolUseId | None = None
    title: str | None = None
    display_name: str | None = None
    description: str | None = None
    reason: str | None = None
    blocked_path: str | None = None
    agent: str | None = None
    suggestions: list[Suggestion] = []


class PermissionWithdrawn(Wire, frozen=True, kw_only=True):
    """The question is moot: the turn was interrupted, or the CLI gave up on it."""

    permission_id: PermissionId


class QuestionAsked(Wire, frozen=True, kw_only=True):
    """Claude asks the person something (the AskUserQuestion tool)."""

    question_id: QuestionId
    questions: list[Question]
    tool_use_id: ToolUseId | None = None


class QuestionWithdrawn(Wire, frozen=True, kw_only=True):
    question_id: QuestionId


class ModelChanged(Wire, frozen=True, kw_only=True):
    model: str


class PermissionModeChanged(Wire, frozen=True, kw_only=True):
    mode: PermissionMode


class ContextMeasured(Wire, frozen=True, kw_only=True):
    """Transient. How full the model's context is, in tokens."""

    used: int
    window: int


class MemoryMeasured(Wire, frozen=True, kw_only=True):
    """Transient. The sandbox's memory from its cgroup, in bytes."""

    usage: int
    working_set: int
    limit: int
    oom_kills: int = 0


class CliStderr(Wire, frozen=True, kw_only=True):
    """Transient. What the CLI wrote to its standard error: for the operator's log."""

    lines: list[str]


class CommandFailed(Wire, frozen=True, kw_only=True):
    """The agent could not do what a command asked (an unknown model, a mode that is forbidden)."""

    command: str
    text: str


class TurnEnded(Wire, frozen=True, kw_only=True):
    """The turn's result. `text` is the last answer or, when it failed, what the CLI said of it."""

    turn_id: TurnId
    outcome: Literal["completed", "interrupted", "failed"]
    subtype: str = ""
    text: str = ""
    stop_reason: str | None = None
    duration_ms: int = 0
    api_ms: int = 0
    rounds: int = 0
    cost_usd: float | None = None
    """The CLI's own estimate, of the whole agent session so far."""
    usage: Usage = Usage()
    api_error_status: int | None = None
    errors: list[str] = []
    denials: list[dict[str, Any]] = []


class AgentDied(Wire, frozen=True, kw_only=True):
    """The CLI is gone. The sandbox is of no more use."""

    exit_code: int | None = None
    text: str = ""
    stderr: list[str] = []


SandboxEvent = (
    AgentReady
    | BlockDelta
    | TextWritten
    | ThoughtWritten
    | ToolStarted
    | ToolFinished
    | NoteWritten
    | AgentFailed
    | TodosChanged
    | TaskStarted
    | TaskProgressed
    | TaskUpdated
    | TaskFinished
    | StatusReported
    | ContextCompacted
    | RateLimited
    | HookRan
    | ConversationReset
    | MirrorFailed
    | SystemNoted
    | PermissionRequested
    | PermissionWithdrawn
    | QuestionAsked
    | QuestionWithdrawn
    | ModelChanged
    | PermissionModeChanged
    | ContextMeasured
    | MemoryMeasured
    | CliStderr
    | CommandFailed
    | TurnEnded
    | AgentDied
    | Unrecognised
)

sandbox_event_codec: Codec[SandboxEvent] = Codec(SandboxEvent)
