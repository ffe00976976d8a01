"""How a turn ended, from the SDK's `ResultMessage`. Pure."""

from typing import Literal

from claude_agent_sdk import ResultMessage

from orchestrator.protocol.event_parts import Usage
from orchestrator.protocol.ids import TurnId
from orchestrator.protocol.sandbox_events import TurnEnded
from shim.foreign_values import (
    as_dict,
    as_float_or_none,
    as_int,
    as_int_or_none,
    as_list,
    as_text,
    as_text_or_none,
)

NOISE = "[ede_diagnostic]"
"""The CLI's note to its own makers, with every interrupt."""

Outcome = Literal["completed", "interrupted", "failed"]


def turn_ended(result: ResultMessage, *, turn_id: TurnId, stopped: bool) -> TurnEnded:
    """`stopped`: a person asked for it. A turn that was done all the same counts as completed."""
    return TurnEnded(
        turn_id=turn_id,
        outcome=_outcome(result, stopped=stopped),
        subtype=as_text(result.subtype),
        text=as_text(result.result),
        stop_reason=as_text_or_none(result.stop_reason),
        duration_ms=as_int(result.duration_ms),
        api_ms=as_int(result.duration_api_ms),
        rounds=as_int(result.num_turns),
        cost_usd=as_float_or_none(result.total_cost_usd),
        usage=_usage(as_dict(result.usage)),
        api_error_status=as_int_or_none(result.api_error_status),
        errors=_errors(result),
        denials=[as_dict(denial) for denial in as_list(result.permission_denials)],
    )


def turn_cut_off(
    turn_id: TurnId, *, outcome: Outcome, subtype: str, text: str, duration_ms: int
) -> TurnEnded:
    """A turn that has no result of its own."""
    return TurnEnded(
        turn_id=turn_id,
        outcome=outcome,
        subtype=subtype,
        text=text,
        duration_ms=duration_ms,
    )


def _errors(result: ResultMessage) -> list[str]:
    texts = [as_text(error) for error in as_list(result.errors)]
    return [text for text in texts if not text.startswith(NOISE)]


def _outcome(result: ResultMessage, *, stopped: bool) -> Outcome:
    failed = bool(result.is_error) or as_text(result.subtype).startswith("error")
    if as_text(result.terminal_reason).startswith("aborted") or (stopped and failed):
        return "interrupted"
    return "failed" if failed else "completed"


def _usage(usage: dict[str, object]) -> Usage:
    return Usage(
        input_tokens=as_int(usage.get("input_tokens")),
        output_tokens=as_int(usage.get("output_tokens")),
        cache_read_tokens=as_int(usage.get("cache_read_input_tokens")),
        cache_write_tokens=as_int(usage.get("cache_creation_input_tokens")),
    )
