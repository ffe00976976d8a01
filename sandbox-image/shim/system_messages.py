"""The CLI's system messages as events. Pure."""

from typing import Any

from claude_agent_sdk import (
    HookEventMessage,
    SystemMessage,
    TaskNotificationMessage,
    TaskProgressMessage,
    TaskStartedMessage,
    TaskUpdatedMessage,
)

from orchestrator.protocol.sandbox_events import (
    AgentReady,
    ContextCompacted,
    HookRan,
    SandboxEvent,
    StatusReported,
    SystemNoted,
)
from orchestrator.protocol.task_events import TaskFinished, TaskProgressed, TaskStarted, TaskUpdated
from shim.foreign_values import (
    as_dict,
    as_int,
    as_list,
    as_text,
    as_text_or_none,
    as_texts,
)

SAID_OTHERWISE = frozenset(
    {"thinking_tokens", "background_tasks_changed", "session_state_changed", "ui_invalidate"}
)
"""Left out: block deltas, the tasks' own events and the turn's result say the same, and the last
one means the CLI's own screen, which nobody sees."""
_ENVELOPE = frozenset({"type", "subtype", "uuid", "session_id", "user_message_uuid",
                       "user_message_uuids"})  # fmt: skip


def plain(message: SystemMessage) -> list[SandboxEvent]:
    """A system message that the SDK has no type of its own for."""
    data = as_dict(message.data)
    match message.subtype:
        case "compact_boundary":
            return [_compacted(as_dict(data.get("compact_metadata")))]
        case subtype if subtype in SAID_OTHERWISE:
            return []
        case subtype:
            return [SystemNoted(subtype=as_text(subtype), data=_content(data))]


def status_reported(message: SystemMessage) -> StatusReported:
    data = as_dict(message.data)
    return StatusReported(
        status=as_text_or_none(data.get("status")),
        permission_mode=as_text_or_none(data.get("permissionMode")),
    )


def agent_ready(message: SystemMessage) -> AgentReady:
    data = as_dict(message.data)
    servers = [as_dict(server) for server in as_list(data.get("mcp_servers"))]
    return AgentReady(
        agent_session_id=as_text(data.get("session_id")),
        model=as_text(data.get("model")),
        cwd=as_text(data.get("cwd")),
        permission_mode=as_text(data.get("permissionMode")),
        cli_version=as_text(data.get("claude_code_version")),
        tools=as_texts(data.get("tools")),
        slash_commands=as_texts(data.get("slash_commands")),
        skills=as_texts(data.get("skills")),
        agents=as_texts(data.get("agents")),
        mcp_servers={as_text(s.get("name")): as_text(s.get("status")) for s in servers},
    )


def task_started(message: TaskStartedMessage) -> TaskStarted:
    return TaskStarted(
        task_id=as_text(message.task_id),
        description=as_text(message.description),
        tool_use_id=as_text_or_none(message.tool_use_id),
        task_type=as_text_or_none(message.task_type),
    )


def task_progressed(message: TaskProgressMessage) -> TaskProgressed:
    return TaskProgressed(
        task_id=as_text(message.task_id),
        description=as_text(message.description),
        last_tool=as_text_or_none(message.last_tool_name),
        **_task_usage(message.usage),
    )


def task_finished(message: TaskNotificationMessage) -> TaskFinished:
    return TaskFinished(
        task_id=as_text(message.task_id),
        status=as_text(message.status),
        summary=as_text(message.summary),
        tool_use_id=as_text_or_none(message.tool_use_id),
        **_task_usage(message.usage),
    )


def task_updated(message: TaskUpdatedMessage) -> TaskUpdated:
    return TaskUpdated(
        task_id=as_text(message.task_id),
        status=as_text_or_none(message.status),
        patch=as_dict(message.patch),
    )


def hook_ran(message: HookEventMessage) -> HookRan:
    return HookRan(
        hook=as_text(message.hook_event_name),
        phase="started" if message.subtype == "hook_started" else "finished",
        detail=_content(as_dict(message.data)),
    )


def _compacted(metadata: dict[str, Any]) -> ContextCompacted:
    return ContextCompacted(
        trigger=as_text(metadata.get("trigger")), tokens_before=as_int(metadata.get("pre_tokens"))
    )


def _task_usage(usage: object) -> dict[str, int]:
    counts = as_dict(usage)
    return {name: as_int(counts.get(name)) for name in ("total_tokens", "tool_uses", "duration_ms")}


def _content(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in _ENVELOPE}
