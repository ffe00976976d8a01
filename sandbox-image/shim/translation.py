"""SDK message → the events that it is to us. Pure and total: no message raises.

What has no event of its own becomes `SystemNoted`, so that nothing the CLI says is lost and nothing
it will say one day ends a session. `ResultMessage` is the turn's: see `turn_results`.
"""

from collections.abc import Iterable
from typing import Any, get_args

from claude_agent_sdk import (
    AssistantMessage,
    ConversationResetMessage,
    HookEventMessage,
    MirrorErrorMessage,
    RateLimitEvent,
    ResultMessage,
    ServerToolResultBlock,
    ServerToolUseBlock,
    StreamEvent,
    SystemMessage,
    TaskNotificationMessage,
    TaskProgressMessage,
    TaskStartedMessage,
    TaskUpdatedMessage,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    UserMessage,
)

from orchestrator.protocol.event_parts import PermissionMode
from orchestrator.protocol.sandbox_events import (
    AgentFailed,
    AgentReady,
    ConversationReset,
    MirrorFailed,
    PermissionModeChanged,
    RateLimited,
    SandboxEvent,
    SystemNoted,
    TextWritten,
    ThoughtWritten,
    ToolFinished,
    ToolStarted,
)
from shim import system_messages
from shim.blocks import Blocks
from shim.foreign_values import (
    as_dict,
    as_float_or_none,
    as_int_or_none,
    as_list,
    as_text,
    as_text_or_none,
)
from shim.notes import note
from shim.todos import TodoList
from shim.tool_results import content_parts


class Translator:
    """Holds what it takes to name blocks, follow the to-do list and tell news from repeats."""

    def __init__(self) -> None:
        self._blocks = Blocks()
        self._todos = TodoList()
        self._ready: AgentReady | None = None
        self._mode: str | None = None

    def resumed(self, entries: Iterable[dict[str, Any]]) -> list[SandboxEvent]:
        """The conversation goes on where this transcript ends. What there was to do is told again:
        it may be another list than the one that was seen last."""
        return [*self._todos.retrace(entries)]

    def translate(self, message: object) -> list[SandboxEvent]:
        try:
            return self._translate(message)
        except Exception as error:  # noqa: BLE001 - total: a message of no known shape is noted
            return [SystemNoted(subtype="untranslatable", data=_about(message, error))]

    def _translate(self, message: object) -> list[SandboxEvent]:  # noqa: PLR0911 - one per type
        match message:
            case StreamEvent():
                parent = as_text_or_none(message.parent_tool_use_id)
                return [*self._blocks.streamed(as_dict(message.event), parent=parent)]
            case AssistantMessage():
                return self._assistant(message)
            case UserMessage():
                return self._user(message)
            case SystemMessage():
                return self._system(message)
            case RateLimitEvent():
                return [_rate_limited(message)]
            case ConversationResetMessage():
                reset = ConversationReset(agent_session_id=as_text(message.new_conversation_id))
                return [reset, *self._todos.forget()]
            case ResultMessage():
                return []
            case _:
                return [SystemNoted(subtype="unknown_message", data=_about(message))]

    def _assistant(self, message: AssistantMessage) -> list[SandboxEvent]:
        parent = as_text_or_none(message.parent_tool_use_id)
        if message.error:
            texts = [as_text(b.text) for b in as_list(message.content) if isinstance(b, TextBlock)]
            failed = AgentFailed(error=as_text(message.error), text="\n".join(texts), parent=parent)
            return [failed]
        events: list[SandboxEvent] = []
        for block in as_list(message.content):
            events += self._block(block, message, parent)
        return events

    def _block(
        self, block: object, message: AssistantMessage, parent: str | None
    ) -> list[SandboxEvent]:
        message_id = as_text(message.message_id or message.uuid)
        match block:
            case TextBlock():
                index = self._blocks.finish(message_id, "text")
                text, model = as_text(block.text), as_text(message.model)
                return [
                    TextWritten(
                        message_id=message_id, index=index, text=text, parent=parent, model=model
                    )
                ] if text else []  # fmt: skip
            case ThinkingBlock():
                index = self._blocks.finish(message_id, "thinking")
                text = as_text(block.thinking)
                return [
                    ThoughtWritten(message_id=message_id, index=index, text=text, parent=parent)
                ] if text else []  # fmt: skip
            case ToolUseBlock() | ServerToolUseBlock():
                return self._tool_use(block, message_id, parent)
            case ToolResultBlock() | ServerToolResultBlock():
                self._blocks.finish(message_id, None)
                return [_tool_finished(block, detail=None, parent=parent)]
            case _:
                return [SystemNoted(subtype="unknown_block", data=_about(block))]

    def _tool_use(
        self, block: ToolUseBlock | ServerToolUseBlock, message_id: str, parent: str | None
    ) -> list[SandboxEvent]:
        started = ToolStarted(
            tool_use_id=as_text(block.id),
            message_id=message_id,
            index=self._blocks.finish(message_id, "tool_input", tool_use_id=as_text(block.id)),
            name=as_text(block.name),
            input=as_dict(block.input),
            parent=parent,
            server=isinstance(block, ServerToolUseBlock),
        )
        todos = self._todos.tool_started(
            started.tool_use_id, started.name, started.input, parent=parent
        )
        return [started, *todos]

    def _user(self, message: UserMessage) -> list[SandboxEvent]:
        """Tool results, and what was said in the person's place."""
        parent = as_text_or_none(message.parent_tool_use_id)
        origin = as_text(as_dict(message.origin).get("kind"))
        if isinstance(message.content, str):
            return note(message.content, origin=origin, parent=parent)
        blocks = as_list(message.content)
        results = [block for block in blocks if isinstance(block, ToolResultBlock)]
        detail = message.tool_use_result if len(results) == 1 else None
        events: list[SandboxEvent] = []
        for block in blocks:
            if isinstance(block, ToolResultBlock):
                events += self._tool_result(block, detail, parent)
            elif isinstance(block, TextBlock):
                events += note(as_text(block.text), origin=origin, parent=parent)
        return events

    def _tool_result(
        self, block: ToolResultBlock, detail: object, parent: str | None
    ) -> list[SandboxEvent]:
        finished = _tool_finished(block, detail=detail, parent=parent)
        changed = self._todos.tool_finished(
            finished.tool_use_id, detail, is_error=finished.is_error
        )
        return [finished, *changed]

    def _system(self, message: SystemMessage) -> list[SandboxEvent]:  # noqa: PLR0911 - as above
        match message:
            case TaskStartedMessage():
                return [system_messages.task_started(message)]
            case TaskProgressMessage():
                return [system_messages.task_progressed(message)]
            case TaskNotificationMessage():
                return [system_messages.task_finished(message)]
            case TaskUpdatedMessage():
                return [system_messages.task_updated(message)]
            case HookEventMessage():
                return [system_messages.hook_ran(message)]
            case MirrorErrorMessage():
                return [MirrorFailed(error=as_text(message.error))]
            case SystemMessage(subtype="init"):
                return self._init(message)
            case SystemMessage(subtype="status"):
                return self._status(message)
            case _:
                return system_messages.plain(message)

    def _init(self, message: SystemMessage) -> list[SandboxEvent]:
        """The CLI says it before every turn; it is news once."""
        ready = system_messages.agent_ready(message)
        if ready == self._ready:
            return []
        self._ready = ready
        self._mode = ready.permission_mode
        return [ready]

    def _status(self, message: SystemMessage) -> list[SandboxEvent]:
        """A granted rule or an approved plan can change the mode; that is news that stays."""
        reported = system_messages.status_reported(message)
        mode = _known_mode(reported.permission_mode)
        if mode is None or mode == self._mode:
            return [reported]
        self._mode = mode
        return [reported, PermissionModeChanged(mode=mode)]


def _tool_finished(
    block: ToolResultBlock | ServerToolResultBlock, *, detail: object, parent: str | None
) -> ToolFinished:
    return ToolFinished(
        tool_use_id=as_text(block.tool_use_id),
        content=content_parts(block.content),
        is_error=bool(getattr(block, "is_error", False)),
        detail=detail if isinstance(detail, dict | list) else None,
        parent=parent,
    )


def _known_mode(mode: str | None) -> PermissionMode | None:
    return next((known for known in get_args(PermissionMode) if known == mode), None)


def _rate_limited(message: RateLimitEvent) -> RateLimited:
    info = message.rate_limit_info
    return RateLimited(
        status=as_text(info.status),
        resets_at=as_int_or_none(info.resets_at),
        limit=as_text_or_none(info.rate_limit_type),
        utilization=as_float_or_none(info.utilization),
    )


def _about(value: object, error: Exception | None = None) -> dict[str, Any]:
    """What can be said of a value without knowing its shape."""
    described: dict[str, Any] = {"type": type(value).__name__}
    if error is not None:
        described["error"] = type(error).__name__
    return described
