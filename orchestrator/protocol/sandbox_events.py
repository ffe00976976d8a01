"""What a sandbox says: everything that its agent does, asks and needs."""

from typing import Annotated, Any, Literal

import msgspec

from orchestrator.protocol.event_parts import (
    IS_NAME,
    ContentPart,
    Count,
    ExitCode,
    Name,
    Names,
    PathText,
    PermissionMode,
    Question,
    Suggestion,
    Todo,
    ToolUseId,
    Usage,
)
from orchestrator.protocol.ids import PermissionId, QuestionId, TurnId
from orchestrator.protocol.task_events import (
    TaskFinished,
    TaskProgressed,
    TaskStarted,
    TaskUpdated,
)
from orchestrator.protocol.transcripts import TranscriptWord
from orchestrator.protocol.wire import Codec, Unrecognised, Wire


class AgentReady(Wire, frozen=True, kw_only=True):
    """The CLI told what it has: said before the first turn's first word, again after a reset."""

    agent_session_id: Name
    model: Name
    cwd: PathText
    permission_mode: Name
    cli_version: Name = ""
    tools: Names = []
    slash_commands: Names = []
    skills: Names = []
    agents: Names = []
    mcp_servers: Annotated[dict[Name, Name], msgspec.Meta(max_length=500)] = {}
    """Name to status."""


class BlockDelta(Wire, frozen=True, kw_only=True):
    """Transient. A piece of a block that is being written.

    Idempotent: `offset` is where `text` begins in the block, in Unicode code points. `message_id`
    and `index` name the block, as they do in the durable event that closes it.
    """

    message_id: Name
    index: Count
    kind: Literal["text", "thinking", "tool_input"]
    offset: Count
    text: str
    tool_use_id: ToolUseId | None = None
    tool_name: Name | None = None
    parent: ToolUseId | None = None


class TextWritten(Wire, frozen=True, kw_only=True):
    """Claude wrote this text (Markdown). `parent` is the subagent's tool use, if it was one."""

    message_id: Name
    index: Count
    text: str
    parent: ToolUseId | None = None
    model: Name = ""
    cut: bool = False
    """The sandbox was lost before this was finished; said by the control plane."""


class ThoughtWritten(Wire, frozen=True, kw_only=True):
    """Claude thought this."""

    message_id: Name
    index: Count
    text: str
    parent: ToolUseId | None = None
    cut: bool = False
    """As in `TextWritten`."""


class ToolStarted(Wire, frozen=True, kw_only=True):
    """Claude called a tool. `server` marks one that the model API runs by itself."""

    tool_use_id: ToolUseId
    message_id: Name
    index: Count
    name: Name
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
    omitted: Count = 0
    parent: ToolUseId | None = None


class NoteWritten(Wire, frozen=True, kw_only=True):
    """A user-side message that no person typed: a subagent's task, a command's output, a notice."""

    text: str
    origin: Name = ""
    parent: ToolUseId | None = None


class AgentFailed(Wire, frozen=True, kw_only=True):
    """The agent could not get an answer from the model. The session lives.

    `error` is the SDK's tag (`rate_limit`, `overloaded`, `authentication_failed`, `server_error`,
    ...); `text` is what the CLI wrote about it.
    """

    error: Name
    text: str = ""
    parent: ToolUseId | None = None


class TodosChanged(Wire, frozen=True, kw_only=True):
    """The whole to-do list of the session, as it is now."""

    todos: list[Todo]


class StatusReported(Wire, frozen=True, kw_only=True):
    """Transient. What the CLI is busy with: `requesting`, `compacting`, or none."""

    status: Name | None
    permission_mode: Name | None = None


class ContextCompacted(Wire, frozen=True, kw_only=True):
    """The conversation so far was summarised to make room."""

    trigger: Name = ""
    tokens_before: Count = 0


class RateLimited(Wire, frozen=True, kw_only=True):
    """The model API's own rate limit for this account changed its state."""

    status: Name
    resets_at: Count | None = None
    """Unix seconds."""
    limit: Name | None = None
    utilization: float | None = None
    """0 to 1."""


class HookRan(Wire, frozen=True, kw_only=True):
    hook: Name
    phase: Literal["started", "finished"]
    detail: dict[str, Any] = {}


class ConversationReset(Wire, frozen=True, kw_only=True):
    """`/clear`, or nothing was left to be resumed: the agent forgot the conversation. The session's
    log keeps it."""

    agent_session_id: Name


class MirrorFailed(Wire, frozen=True, kw_only=True):
    """A batch of the transcript could not be mirrored out of the sandbox."""

    error: Name


class SystemNoted(Wire, frozen=True, kw_only=True):
    """A system message of the CLI that has no event of its own."""

    subtype: Name
    data: dict[str, Any] = {}


class ToolForbidden(Wire, frozen=True, kw_only=True):
    """A rule of the profile or a policy refused a tool before anybody was asked."""

    tool_name: Name
    reason: str
    policy: Name
    """`profile`, or the policy plugin's name."""
    tool_use_id: ToolUseId | None = None


class PromptBlocked(Wire, frozen=True, kw_only=True):
    """A guardrail kept the turn's prompt from Claude."""

    turn_id: Annotated[TurnId, IS_NAME]
    reason: str
    policy: Name


class PromptAnnotated(Wire, frozen=True, kw_only=True):
    """A guardrail let the prompt pass and gave Claude this beside it."""

    turn_id: Annotated[TurnId, IS_NAME]
    note: str
    policy: Name


class PermissionRequested(Wire, frozen=True, kw_only=True):
    """Claude waits for a person: may this tool run with exactly this input?"""

    permission_id: Annotated[PermissionId, IS_NAME]
    tool_name: Name
    input: dict[str, Any]
    input_hash: Name = ""
    """Of `input` (see `input_hash`). A decision names it, and holds for nothing else."""
    tool_use_id: ToolUseId | None = None
    title: str | None = None
    display_name: Name | None = None
    description: str | None = None
    reason: str | None = None
    blocked_path: PathText | None = None
    agent: Name | None = None
    suggestions: list[Suggestion] = []


class PermissionWithdrawn(Wire, frozen=True, kw_only=True):
    """The question is moot: the turn was interrupted, or the CLI gave up on it."""

    permission_id: Annotated[PermissionId, IS_NAME]


class QuestionAsked(Wire, frozen=True, kw_only=True):
    """Claude asks the person something (the AskUserQuestion tool)."""

    question_id: Annotated[QuestionId, IS_NAME]
    questions: list[Question]
    tool_use_id: ToolUseId | None = None


class QuestionWithdrawn(Wire, frozen=True, kw_only=True):
    question_id: Annotated[QuestionId, IS_NAME]


class ModelChanged(Wire, frozen=True, kw_only=True):
    model: Name


class PermissionModeChanged(Wire, frozen=True, kw_only=True):
    mode: PermissionMode


class ContextMeasured(Wire, frozen=True, kw_only=True):
    """Transient. How full the model's context is, in tokens."""

    used: Count
    window: Count


class MemoryMeasured(Wire, frozen=True, kw_only=True):
    """Transient. The sandbox's memory from its cgroup, in bytes."""

    usage: Count
    working_set: Count
    limit: Count
    oom_kills: Count = 0


class StorageMeasured(Wire, frozen=True, kw_only=True):
    """Transient. What the sandbox's file systems hold, in bytes: both are in memory, and bounded.
    `home` has the CLI's own files (`~/.claude`)."""

    home_used: Count
    home_size: Count
    workspace_used: Count
    workspace_size: Count


class AgentResumed(Wire, frozen=True, kw_only=True):
    """The agent was connected anew with an earlier conversation of its session."""

    agent_session_id: Name
    took_ms: Count = 0
    pending: bool = False
    """The tool call that was awaited is there and is asked again; else its turn is lost."""


class McpServerFailed(Wire, frozen=True, kw_only=True):
    """A tool server of the profile does not serve this session (any more). The session goes on
    without its tools, and Claude is told."""

    server: Name
    why: Literal["not_started", "died", "too_slow", "broken_off", "too_much"]
    """`broken_off`: it failed so often that it is not called for a while."""
    text: str = ""


class CliStderr(Wire, frozen=True, kw_only=True):
    """Transient. What the CLI wrote to its standard error: for the operator's log."""

    lines: list[str]


class CommandFailed(Wire, frozen=True, kw_only=True):
    """The agent could not do what a command asked (an unknown model, a mode that is forbidden)."""

    command: Name
    text: str


class TurnEnded(Wire, frozen=True, kw_only=True):
    """The turn's result. `text` is the last answer or, when it failed, what the CLI said of it."""

    turn_id: Annotated[TurnId, IS_NAME]
    outcome: Literal["completed", "interrupted", "failed"]
    subtype: Name = ""
    text: str = ""
    stop_reason: Name | None = None
    duration_ms: Count = 0
    api_ms: Count = 0
    rounds: Count = 0
    cost_usd: float | None = None
    """The CLI's own estimate, of the whole agent session so far."""
    usage: Usage = Usage()
    api_error_status: Count | None = None
    errors: list[str] = []
    denials: list[dict[str, Any]] = []


class AgentDied(Wire, frozen=True, kw_only=True):
    """The CLI is gone. The sandbox is of no more use."""

    exit_code: ExitCode | None = None
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
    | ToolForbidden
    | PromptBlocked
    | PromptAnnotated
    | PermissionRequested
    | PermissionWithdrawn
    | QuestionAsked
    | QuestionWithdrawn
    | ModelChanged
    | PermissionModeChanged
    | ContextMeasured
    | MemoryMeasured
    | StorageMeasured
    | AgentResumed
    | McpServerFailed
    | CliStderr
    | CommandFailed
    | TurnEnded
    | AgentDied
    | Unrecognised
)

SandboxWord = SandboxEvent | TranscriptWord
"""All that comes over the link: what happens in the session, and what only the control plane is
told."""

sandbox_word_codec: Codec[SandboxWord] = Codec(SandboxWord)
