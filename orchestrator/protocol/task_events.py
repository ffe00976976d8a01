"""What a sandbox says of its subagents and background tasks: a part of `sandbox_events`."""

from typing import Any

from orchestrator.protocol.event_parts import Count, Name, ToolUseId
from orchestrator.protocol.wire import Wire


class TaskStarted(Wire, frozen=True, kw_only=True):
    """A subagent or background task began."""

    task_id: Name
    description: str
    tool_use_id: ToolUseId | None = None
    task_type: Name | None = None


class TaskProgressed(Wire, frozen=True, kw_only=True):
    task_id: Name
    description: str = ""
    total_tokens: Count = 0
    tool_uses: Count = 0
    duration_ms: Count = 0
    last_tool: Name | None = None


class TaskUpdated(Wire, frozen=True, kw_only=True):
    task_id: Name
    status: Name | None = None
    patch: dict[str, Any] = {}


class TaskFinished(Wire, frozen=True, kw_only=True):
    task_id: Name
    status: Name
    summary: str = ""
    total_tokens: Count = 0
    tool_uses: Count = 0
    duration_ms: Count = 0
    tool_use_id: ToolUseId | None = None
