"""Writes what happens in sessions into the log: their states, their turns, and what went wrong.

No text of a person, of Claude or of a tool is ever written: only ids, tags, counts and times.
"""

from typing import Any

import structlog

from orchestrator.protocol.chat import SessionState
from orchestrator.protocol.control_events import (
    PermissionResolved,
    SandboxAssigned,
    SandboxLost,
    SessionEnded,
    TurnStarted,
    UpstreamFailed,
)
from orchestrator.protocol.events import Event
from orchestrator.protocol.sandbox_events import (
    AgentDied,
    AgentFailed,
    CliStderr,
    CommandFailed,
    MirrorFailed,
    PermissionRequested,
    TurnEnded,
)
from orchestrator.sessions.ports import SessionRecord

MAX_LINE = 500


class SessionLog:
    """A SessionListener."""

    def __init__(self) -> None:
        self._log = structlog.stdlib.get_logger("casemate.sessions")

    def happened(self, session: SessionRecord, event: Event) -> None:
        log = self._log.bind(session_id=session.id, sandbox_id=session.sandbox_id)
        match event:
            case TurnStarted() | SandboxAssigned() | TurnEnded() | SessionEnded():
                name, fields = _progress(event)
                log.info(name, **fields)
            case PermissionRequested():
                log.info("permission.requested", tool=event.tool_name)
            case PermissionResolved():
                log.info("permission.resolved", choice=event.choice, by=event.by)
            case CliStderr():
                lines = [line[:MAX_LINE] for line in event.lines[:20]]
                log.debug("cli.wrote_stderr", lines=lines)
            case AgentFailed() | UpstreamFailed() | AgentDied() | SandboxLost():
                name, fields = _trouble(event)
                log.warning(name, **fields)
            case MirrorFailed():
                log.error("transcript.mirror_failed")
            case CommandFailed():
                log.warning("command.failed", command=event.command)
            case _:
                pass

    def state_changed(
        self, session: SessionRecord, *, before: SessionState | None, after: SessionState | None
    ) -> None:
        if before is not None and after is not None:
            self._log.debug(
                "session.state_changed", session_id=session.id, before=before, after=after
            )


def _progress(
    event: TurnStarted | SandboxAssigned | TurnEnded | SessionEnded,
) -> tuple[str, dict[str, Any]]:
    match event:
        case TurnStarted():
            return "turn.started", {"turn_id": event.turn_id}
        case SandboxAssigned():
            return "sandbox.assigned", {
                "sandbox_id": event.sandbox_id,
                "waited_ms": event.waited_ms,
            }
        case TurnEnded():
            return "turn.ended", {
                "turn_id": event.turn_id,
                "outcome": event.outcome,
                "duration_ms": event.duration_ms,
                "rounds": event.rounds,
            }
        case SessionEnded():
            return "session.ended", {"tag": event.tag, "by": event.by}


def _trouble(
    event: AgentFailed | UpstreamFailed | AgentDied | SandboxLost,
) -> tuple[str, dict[str, Any]]:
    match event:
        case AgentFailed():
            return "agent.failed", {"error": event.error[:MAX_LINE]}
        case UpstreamFailed():
            return "upstream.failed", {"tag": event.tag, "status": event.status}
        case AgentDied():
            return "agent.died", {"exit_code": event.exit_code}
        case SandboxLost():
            return "sandbox.lost", {"tag": event.tag}
