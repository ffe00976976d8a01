"""What is due in a session because of its time, its memory or its disks. Pure.

    reached                        in a turn              between turns
    turn time                      InterruptTurn
    interrupted, and still there   KillSandbox
    memory, hard line              InterruptTurn          Recycle
    memory, soft line              Warn                   Recycle (with background programs: Warn)
    home                           Warn                   Recycle
    workspace                      Warn                   Warn
    record of the conversation     Warn                   Warn
    sandbox age                    Warn before            Recycle, once it is quiet
    another image or profile                              HibernateNow, once it is quiet
    idle (also while asking)                              Freeze, then HibernateNow
    session age, time asleep       EndSession             EndSession

Whoever asks keeps `told`: the limit of each `Warn` that was shown goes in, and what is
`FORGOTTEN_WITH_TURN` and `FORGOTTEN_WITH_SANDBOX` goes out again. Every other action carries the
sentence to show once it is done. A sandbox is not exchanged for what it was filled with: only once
something was done in it, and not at once.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from orchestrator.sessions.profiles import Lifetimes
from orchestrator.sessions.watch.limit_warnings import (
    SANDBOX_LEAD,
    SESSION_LEAD,
    Limit,
    Warn,
    warn_at,
    warnings,
)
from orchestrator.sessions.watch.situation import QUIET_SECONDS, SETTLING_SECONDS, Situation
from orchestrator.sessions.watch.wording import duration

__all__ = [
    "FORGOTTEN_WITH_SANDBOX",
    "FORGOTTEN_WITH_TURN",
    "Action",
    "EndSession",
    "Freeze",
    "HibernateNow",
    "InterruptTurn",
    "KillSandbox",
    "Limit",
    "Recycle",
    "Situation",
    "Warn",
    "decide",
    "next_look",
]

Reason = Literal["idle", "memory", "storage", "age", "upgrade"]

INTERRUPT_SECONDS = 30.0
"""How long an interrupted turn may take to end before its sandbox is killed."""
LONGEST_LOOK = 3600.0
SHORTEST_LOOK = 0.05

FORGOTTEN_WITH_TURN: frozenset[str] = frozenset({"turn_time"})
FORGOTTEN_WITH_SANDBOX: frozenset[str] = frozenset({"sandbox_age", "memory", "home", "workspace"})


class Freeze(msgspec.Struct, frozen=True):
    pass


class HibernateNow(msgspec.Struct, frozen=True, kw_only=True):
    reason: Reason
    sentence: str


class Recycle(msgspec.Struct, frozen=True, kw_only=True):
    reason: Reason
    sentence: str


class InterruptTurn(msgspec.Struct, frozen=True, kw_only=True):
    limit: Limit
    sentence: str


class KillSandbox(msgspec.Struct, frozen=True, kw_only=True):
    limit: Limit
    sentence: str


class EndSession(msgspec.Struct, frozen=True, kw_only=True):
    tag: str
    sentence: str


Action = Warn | Freeze | HibernateNow | Recycle | InterruptTurn | KillSandbox | EndSession


def decide(situation: Situation, lifetimes: Lifetimes) -> list[Action]:
    """What to do now: warnings, and at most one thing beside them; first that one's own."""
    if situation.state in {"ending", "ended", "failed"}:
        return []
    done = _end(situation, lifetimes) or _in_turn(situation, lifetimes)
    done = done or _between_turns(situation, lifetimes)
    actions: list[Action] = [
        warning for warning in warnings(situation, lifetimes) if warning.limit not in situation.told
    ]
    if isinstance(done, EndSession):
        return [done]
    if done is not None:
        return [*(one for one in actions if _outlasts(one)), done]
    rests = situation.rests(lifetimes.freeze_after)
    return [*actions, Freeze()] if rests and not situation.frozen else actions


def _outlasts(action: Action) -> bool:
    """It warns of what stays due, whatever becomes of turn and sandbox: not everything that is due
    is possible at once."""
    passing = FORGOTTEN_WITH_TURN | FORGOTTEN_WITH_SANDBOX
    return isinstance(action, Warn) and action.limit not in passing


def next_look(situation: Situation, lifetimes: Lifetimes) -> float:
    """Seconds after which time alone may change what `decide` says; never later than that."""
    later = [seconds for seconds in _moments(situation, lifetimes) if seconds > 0]
    return max(SHORTEST_LOOK, min([LONGEST_LOOK, *later]))


# --- what is done -------------------------------------------------------------------------------


def _end(situation: Situation, lifetimes: Lifetimes) -> Action | None:
    if lifetimes.session is not None and situation.age >= lifetimes.session:
        sentence = (
            f"The session was {duration(lifetimes.session)} old, as old as sessions become here, "
            "and was ended. The conversation stays readable; start a new session."
        )
        return EndSession(tag="session_age", sentence=sentence)
    asleep = situation.asleep if situation.state == "hibernated" else None
    if asleep is not None and lifetimes.keep is not None and asleep >= lifetimes.keep:
        sentence = (
            f"Nobody used the session for {duration(lifetimes.keep)}, so it was ended and its "
            "files were given up. The conversation stays readable; start a new session."
        )
        return EndSession(tag="kept_too_long", sentence=sentence)
    return None


def _in_turn(situation: Situation, lifetimes: Lifetimes) -> Action | None:
    if situation.state not in {"running", "asking"}:
        return None
    limit = _broken_in_turn(situation, lifetimes)
    if situation.interrupted_at is not None:
        if situation.now - situation.interrupted_at < INTERRUPT_SECONDS:
            return None
        sentence = (
            "The turn did not end when it was stopped, so its sandbox was stopped with all that "
            "ran in it."
        )
        return KillSandbox(limit=limit or "stop", sentence=sentence)
    if limit == "turn_time":
        longest = duration(lifetimes.turn or 0)
        sentence = (
            f"The turn ran for {longest}, as long as turns may here, and was stopped. Send another "
            "prompt to go on from where it was."
        )
        return InterruptTurn(limit=limit, sentence=sentence)
    if limit == "memory":
        sentence = (
            "The sandbox's memory was almost full, so the turn was stopped before programs were "
            "killed for it. Ask for the work in smaller steps."
        )
        return InterruptTurn(limit=limit, sentence=sentence)
    return None


def _broken_in_turn(situation: Situation, lifetimes: Lifetimes) -> Limit | None:
    elapsed = situation.turn_seconds
    if elapsed is not None and lifetimes.turn is not None and elapsed >= lifetimes.turn:
        return "turn_time"
    return "memory" if situation.memory >= lifetimes.memory_hard else None


def _between_turns(situation: Situation, lifetimes: Lifetimes) -> Action | None:
    if situation.state == "idle":
        exchanged = _exchange(situation, lifetimes)
        if exchanged is not None:
            return exchanged
    if situation.rests(lifetimes.hibernate_after):
        sentence = (
            f"Nobody used the session for {duration(lifetimes.hibernate_after or 0)}, so its "
            "sandbox was given up. Conversation and files are kept; a prompt wakes it."
        )
        return HibernateNow(reason="idle", sentence=sentence)
    return None


def _exchange(situation: Situation, lifetimes: Lifetimes) -> Action | None:
    memory, settled = situation.memory, situation.is_settled
    is_full = memory >= lifetimes.memory_soft and settled and not situation.busy
    is_at_edge = memory >= lifetimes.memory_hard and situation.worked
    if is_at_edge or is_full:
        return Recycle(
            reason="memory",
            sentence="The sandbox's memory was nearly full, so it was exchanged for a fresh one. "
            "Conversation and files are the same; programs in the background were stopped.",
        )
    if situation.home >= lifetimes.storage_soft and settled and not situation.busy:
        return Recycle(
            reason="storage",
            sentence="The sandbox's home directory was nearly full, so the sandbox was exchanged "
            "for a fresh one. Conversation and files are the same.",
        )
    if not situation.is_quiet:
        return None
    if lifetimes.sandbox is not None and situation.sandbox_age >= lifetimes.sandbox:
        return Recycle(
            reason="age",
            sentence=f"The sandbox was {duration(lifetimes.sandbox)} old and was exchanged for a "
            "fresh one. Conversation and files are the same; programs in the background were "
            "stopped.",
        )
    if not situation.is_current and not situation.busy:
        return HibernateNow(
            reason="upgrade",
            sentence="There is a newer version of the sandbox. Yours was given up while nothing "
            "ran in it; a prompt wakes the session in a new one.",
        )
    return None


def _moments(situation: Situation, lifetimes: Lifetimes) -> Iterator[float]:
    """Seconds until each thing that time alone may bring about; past ones are negative."""
    if situation.interrupted_at is not None:
        yield situation.interrupted_at + INTERRUPT_SECONDS - situation.now
    turn, idle = situation.turn_seconds, situation.idle_seconds
    spans = [
        (turn, lifetimes.turn, None),
        (situation.age, lifetimes.session, SESSION_LEAD),
        (situation.asleep, lifetimes.keep, None),
        (idle, lifetimes.freeze_after, None),
        (idle, lifetimes.hibernate_after, None),
        (idle, QUIET_SECONDS, None),
    ]
    if situation.assigned_at is not None:
        age = situation.sandbox_age
        spans += [(age, lifetimes.sandbox, SANDBOX_LEAD), (age, SETTLING_SECONDS, None)]
    for elapsed, limit, lead in spans:
        if elapsed is not None and limit is not None:
            yield limit - elapsed
            yield warn_at(limit, lead) - elapsed
