"""Writes what happens in sessions into the log: their states, their turns, and what went wrong.

No text of a person, of Claude or of a tool is ever written: only ids, tags, counts and times. What
a sandbox may choose among these is cut short, and the lines that it causes are counted.
"""

import logging
from typing import Any

import structlog

from orchestrator.protocol.chat import SessionState
from orchestrator.protocol.control_events import (
    CheckpointFailed,
    CheckpointTaken,
    EgressRefused,
    LimitReached,
    OutOfMemory,
    PermissionResolved,
    PromptLetGo,
    PromptUnfinished,
    RecoveryStopped,
    SandboxAssigned,
    SandboxLost,
    SessionEnded,
    SessionHibernated,
    TurnStarted,
    UpstreamFailed,
    WentBack,
)
from orchestrator.protocol.events import Event
from orchestrator.protocol.ids import SessionId
from orchestrator.protocol.sandbox_events import (
    AgentDied,
    AgentFailed,
    AgentResumed,
    CliStderr,
    CommandFailed,
    McpServerFailed,
    MirrorFailed,
    PermissionRequested,
    TurnEnded,
)
from orchestrator.sessions.ports import SessionRecord
from orchestrator.telemetry.line_allowance import LineAllowance

MAX_LINE = 500
MAX_WORD = 80
MAX_NUMBER = (1 << 53) - 1

SAID_BY_SANDBOXES = (
    TurnEnded,
    PermissionRequested,
    CliStderr,
    AgentFailed,
    AgentDied,
    MirrorFailed,
    CommandFailed,
    EgressRefused,
    AgentResumed,
    McpServerFailed,
    OutOfMemory,
)
"""A hostile one says or causes them as often as it likes: their lines are counted."""

Line = tuple[int, str, dict[str, Any]]
"""Level, event, fields."""


class SessionLog:
    """A SessionListener."""

    def __init__(self) -> None:
        self._log = structlog.stdlib.get_logger("casemate.sessions")
        self._allowances: dict[SessionId, LineAllowance] = {}

    def happened(self, session: SessionRecord, event: Event) -> None:
        line = _line(event)
        if line is None:
            return
        log = self._log.bind(session_id=session.id, sandbox_id=session.sandbox_id)
        allowance = self._allowances.setdefault(session.id, LineAllowance())
        if isinstance(event, SAID_BY_SANDBOXES) and not allowance.take():
            return
        if left_out := allowance.forget_left_out():
            log = log.bind(lines_left_out=left_out)
        level, name, fields = line
        log.log(level, name, **fields)

    def state_changed(
        self, session: SessionRecord, *, before: SessionState | None, after: SessionState | None
    ) -> None:
        if after is None:
            self._allowances.pop(session.id, None)
        elif before is not None:
            self._log.debug(
                "session.state_changed", session_id=session.id, before=before, after=after
            )


def _line(event: Event) -> Line | None:  # noqa: PLR0911 - one per case
    match event:
        case TurnStarted() | SandboxAssigned() | TurnEnded() | SessionEnded():
            name, fields = _progress(event)
            return logging.INFO, name, fields
        case PermissionRequested():
            return logging.INFO, "permission.requested", {"tool": _word(event.tool_name)}
        case PermissionResolved():
            return logging.INFO, "permission.resolved", {"choice": event.choice, "by": event.by}
        case CliStderr():
            lines = [line[:MAX_LINE] for line in event.lines[:20]]
            return logging.DEBUG, "cli.wrote_stderr", {"lines": lines}
        case AgentFailed() | UpstreamFailed() | AgentDied() | SandboxLost():
            name, fields = _trouble(event)
            return logging.WARNING, name, fields
        case EgressRefused(host=host, port=port, tag=tag, count=count):
            fields = {"host": host, "port": port, "tag": tag, "count": count}
            return logging.INFO, "egress.refused", fields
        case MirrorFailed():
            return logging.ERROR, "transcript.mirror_failed", {}
        case CommandFailed():
            return logging.WARNING, "command.failed", {"command": _word(event.command)}
        case _:
            return _of_its_stay(event)


def _of_its_stay(event: Event) -> Line | None:  # noqa: PLR0911 - one per case
    """How the session outlives its sandboxes."""
    match event:
        case SessionHibernated(reason=reason):
            return logging.INFO, "session.hibernated", {"reason": reason}
        case RecoveryStopped(deaths=deaths):
            return logging.WARNING, "recovery.stopped", {"deaths": deaths}
        case AgentResumed(took_ms=took, pending=pending):
            return logging.INFO, "agent.resumed", {"took_ms": _number(took), "pending": pending}
        case PromptUnfinished():
            return logging.INFO, "prompt.left_unfinished", {}
        case PromptLetGo(by=by):
            return logging.INFO, "prompt.let_go", {"by": by}
        case WentBack(checkpoint_id=checkpoint, by=by):
            return logging.INFO, "session.went_back", {"checkpoint_id": checkpoint, "by": by}
        case CheckpointTaken() | CheckpointFailed():
            return _checkpoint(event)
        case OutOfMemory() | LimitReached() | McpServerFailed():
            return _breach(event)
        case _:
            return None


def _checkpoint(event: CheckpointTaken | CheckpointFailed) -> Line:
    match event:
        case CheckpointTaken():
            fields = {
                "checkpoint_id": event.checkpoint_id,
                "bytes": event.size,
                "entries": event.entries,
                "omitted": event.omitted,
                "took_ms": event.took_ms,
            }
            return logging.INFO, "checkpoint.taken", fields
        case CheckpointFailed(tag=tag):
            return logging.WARNING, "checkpoint.failed", {"tag": tag}


def _breach(event: OutOfMemory | LimitReached | McpServerFailed) -> Line:
    match event:
        case OutOfMemory():
            return logging.WARNING, "sandbox.ran_out_of_memory", {}
        case LimitReached(limit=limit):
            return logging.WARNING, "limit.reached", {"limit": _word(limit)}
        case McpServerFailed(server=server, why=why):
            return logging.WARNING, "mcp_server.failed", {"server": _word(server), "why": why}


def _word(text: str) -> str:
    """A name that a sandbox chose, as one short printable word."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in text[:MAX_WORD])
    return shown if len(text) <= MAX_WORD else f"{shown}…"


def _number(number: int | None) -> int | None:
    """One that a sandbox chose: they can have thousands of digits."""
    return None if number is None else max(-MAX_NUMBER, min(number, MAX_NUMBER))


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
                "reason": event.reason,
                "restored_bytes": event.restored_bytes,
            }
        case TurnEnded():
            return "turn.ended", {
                "turn_id": _word(event.turn_id),
                "outcome": event.outcome,
                "duration_ms": _number(event.duration_ms),
                "rounds": _number(event.rounds),
            }
        case SessionEnded():
            return "session.ended", {"tag": event.tag, "by": event.by}


def _trouble(
    event: AgentFailed | UpstreamFailed | AgentDied | SandboxLost,
) -> tuple[str, dict[str, Any]]:
    match event:
        case AgentFailed():
            return "agent.failed", {"error": _word(event.error)}
        case UpstreamFailed():
            return "upstream.failed", {"tag": event.tag, "status": event.status}
        case AgentDied():
            return "agent.died", {"exit_code": _number(event.exit_code)}
        case SandboxLost():
            return "sandbox.lost", {"tag": event.tag}
