"""What people are told before a limit is reached. Pure."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from orchestrator.sessions.profiles import Lifetimes
from orchestrator.sessions.watch.situation import Situation
from orchestrator.sessions.watch.wording import duration

Limit = Literal[
    "turn_time", "session_age", "sandbox_age", "memory", "home", "workspace", "transcript", "stop"
]

WARN_AT = 0.8
"""Part of a time after which people are warned, unless its lead is shorter."""
SANDBOX_LEAD = 900.0
SESSION_LEAD = 3600.0


class Warn(msgspec.Struct, frozen=True, kw_only=True):
    limit: Limit
    sentence: str
    seconds: int | None = None
    """Until then, where that is known."""


def warnings(situation: Situation, lifetimes: Lifetimes) -> Iterator[Warn]:
    """Whether or not they were told already."""
    if situation.state not in {"idle", "running", "asking"}:
        return
    yield from _time_warnings(situation, lifetimes)
    if situation.memory >= lifetimes.memory_soft:
        sentence = f"The sandbox's memory is nearly full. {_of_memory(situation)}"
        yield Warn(limit="memory", sentence=sentence)
    if situation.home >= lifetimes.storage_soft:
        yield Warn(
            limit="home",
            sentence="The sandbox's home directory is nearly full. The sandbox is exchanged for a "
            "fresh one between turns.",
        )
    if situation.workspace >= lifetimes.storage_soft:
        yield Warn(
            limit="workspace",
            sentence="The workspace is nearly full. Let Claude remove what is not needed any more: "
            "when it is full, files cannot be written.",
        )
    if situation.record >= WARN_AT:
        yield Warn(
            limit="transcript",
            sentence="The record of this conversation is nearly as large as Casemate keeps of one. "
            "The session ends when it is full: download what you need, and start a new one.",
        )


def _of_memory(situation: Situation) -> str:
    if situation.state != "idle":
        return (
            "The sandbox is exchanged for a fresh one after this turn; if its memory fills up "
            "before, the turn is stopped."
        )
    if situation.busy:
        return "Stop what runs in the background, or the sandbox is exchanged when it is full."
    return "Let Claude remove what is not needed any more, or ask for less at once."


def _time_warnings(situation: Situation, lifetimes: Lifetimes) -> Iterator[Warn]:
    left = _left(situation.turn_seconds, lifetimes.turn)
    if left is not None and situation.interrupted_at is None:
        sentence = f"This turn is stopped in {duration(left)} if it is not done by then."
        yield Warn(limit="turn_time", sentence=sentence, seconds=int(left))
    left = _left(situation.sandbox_age, lifetimes.sandbox, lead=SANDBOX_LEAD)
    if left is not None:
        sentence = (
            f"In {duration(left)} the sandbox is exchanged for a fresh one, between turns. "
            "Programs in the background are stopped then."
        )
        yield Warn(limit="sandbox_age", sentence=sentence, seconds=int(left))
    left = _left(situation.age, lifetimes.session, lead=SESSION_LEAD)
    if left is not None:
        sentence = (
            f"This session ends in {duration(left)}: then it is as old as sessions become here. "
            "Download what you need."
        )
        yield Warn(limit="session_age", sentence=sentence, seconds=int(left))


def _left(elapsed: float | None, limit: float | None, *, lead: float | None = None) -> float | None:
    """Seconds until the limit, once it is time to warn."""
    if elapsed is None or limit is None or elapsed < warn_at(limit, lead):
        return None
    return max(0.0, limit - elapsed)


def warn_at(limit: float, lead: float | None) -> float:
    """Seconds of `limit` after which it is time."""
    return limit * WARN_AT if lead is None else max(limit * WARN_AT, limit - lead)
