"""What is due in a session, by its time, memory and disks: as a table, and for any situation."""

import math
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.protocol.chat import SessionState
from orchestrator.sessions.profiles import Lifetimes
from orchestrator.sessions.watch.watch import (
    FORGOTTEN_WITH_SANDBOX,
    FORGOTTEN_WITH_TURN,
    EndSession,
    Freeze,
    HibernateNow,
    InterruptTurn,
    KillSandbox,
    Limit,
    Recycle,
    Situation,
    Warn,
    decide,
    next_look,
)
from orchestrator.sessions.watch.wording import duration

replace = msgspec.structs.replace

NOW = 1_000_000.0
LIFETIMES = Lifetimes(session=500_000.0)
NEVER = Lifetimes(
    freeze_after=None, hibernate_after=None, turn=None, sandbox=None, session=None, keep=None
)
GIB = 1 << 30


def idle(seconds: float = 0.0, **more: Any) -> Situation:
    known = {"assigned_at": NOW - 1000, "memory_limit": GIB, "home_size": GIB}
    return Situation(
        state="idle",
        now=NOW,
        idle_since=NOW - seconds,
        **(known | {"workspace_size": GIB} | more),
    )


def running(seconds: float = 0.0, **more: Any) -> Situation:
    return replace(idle(), state="running", idle_since=None, turn_since=NOW - seconds, **more)


def part(of: float) -> int:
    return math.ceil(of * GIB)


def names(situation: Situation, lifetimes: Lifetimes = LIFETIMES) -> list[str]:
    """Each action in short: its kind and what it is for."""
    short = []
    for action in decide(situation, lifetimes):
        why = getattr(action, "limit", "") or getattr(action, "reason", "")
        short.append(f"{type(action).__name__} {why or getattr(action, 'tag', '')}".strip())
    return short


TABLE = {
    "fresh": (idle(), []),
    "idle, not yet frozen": (idle(119), []),
    "record at 80 %": (idle(record=0.8), ["Warn transcript"]),
    "record, told": (running(record=0.9, told=frozenset({"transcript"})), []),
    "record, and its sandbox due": (
        idle(1800, record=0.9),
        ["Warn transcript", "HibernateNow idle"],
    ),
    "memory of what it was filled with": (
        idle(61, working_set=part(0.99), worked=False),
        ["Warn memory"],
    ),
    "home of what it was filled with": (idle(home_used=part(0.9), worked=False), ["Warn home"]),
    "idle for freeze_after": (idle(120), ["Freeze"]),
    "frozen already": (idle(500, frozen=True), []),
    "background programs": (idle(5000, busy=True), []),
    "idle for hibernate_after": (idle(1800, frozen=True), ["HibernateNow idle"]),
    "asking for hibernate_after": (replace(idle(1800), state="asking"), ["HibernateNow idle"]),
    "asking, nobody waits": (replace(idle(), state="asking", idle_since=None), []),
    "turn, fresh": (running(), []),
    "turn, at 80 %": (running(2880), ["Warn turn_time"]),
    "turn, told": (running(2880, told=frozenset({"turn_time"})), []),
    "turn, over": (running(3600), ["InterruptTurn turn_time"]),
    "turn, over, asking": (replace(running(9999), state="asking"), []),
    "interrupted": (running(3601, interrupted_at=NOW - 1), []),
    "interrupted for long": (running(3630, interrupted_at=NOW - 30), ["KillSandbox turn_time"]),
    "stopped by a person": (running(50, interrupted_at=NOW - 30), ["KillSandbox stop"]),
    "turn, memory soft": (running(working_set=part(0.8)), ["Warn memory"]),
    "turn, memory hard": (running(working_set=part(0.95)), ["InterruptTurn memory"]),
    "idle, memory soft": (idle(working_set=part(0.8)), ["Recycle memory"]),
    "idle, just under": (idle(working_set=part(0.8) - 2), []),
    "idle, soft, just filled": (
        idle(working_set=part(0.8), assigned_at=NOW - 10),
        ["Warn memory"],
    ),
    "idle, hard, just filled": (
        idle(working_set=part(0.95), assigned_at=NOW - 10),
        ["Recycle memory"],
    ),
    "idle, soft, background": (idle(working_set=part(0.8), busy=True), ["Warn memory"]),
    "idle, hard, background": (idle(working_set=part(0.95), busy=True), ["Recycle memory"]),
    "turn, home": (running(home_used=part(0.85)), ["Warn home"]),
    "idle, home": (idle(home_used=part(0.85)), ["Recycle storage"]),
    "idle, workspace": (idle(workspace_used=part(0.85)), ["Warn workspace"]),
    "sandbox, soon old": (idle(assigned_at=NOW - 85_500), ["Warn sandbox_age"]),
    "sandbox, old, in use": (
        idle(59, assigned_at=NOW - 86_400, told=FORGOTTEN_WITH_SANDBOX),
        [],
    ),
    "sandbox, old": (idle(60, assigned_at=NOW - 86_400), ["Recycle age"]),
    "sandbox, old, in a turn": (
        running(assigned_at=NOW - 86_400, told=FORGOTTEN_WITH_SANDBOX),
        [],
    ),
    "another image, in use": (idle(59, is_current=False), []),
    "another image": (idle(60, is_current=False), ["HibernateNow upgrade"]),
    "another image, background": (idle(60, is_current=False, busy=True), []),
    "session, soon old": (idle(age=496_400.0), ["Warn session_age"]),
    "session, old": (idle(age=500_000.0), ["EndSession session_age"]),
    "session, old, in a turn": (running(age=500_000.0), ["EndSession session_age"]),
    "asleep": (Situation(state="hibernated", now=NOW, asleep=100.0), []),
    "asleep for keep": (
        Situation(state="hibernated", now=NOW, asleep=90 * 86_400.0),
        ["EndSession kept_too_long"],
    ),
    "waking": (Situation(state="waking", now=NOW, working_set=GIB, memory_limit=GIB), []),
    "over": (Situation(state="ended", now=NOW, age=500_000.0), []),
    "several": (
        running(2880, working_set=part(0.9), home_used=part(0.9), workspace_used=part(0.9)),
        ["Warn turn_time", "Warn memory", "Warn home", "Warn workspace"],
    ),
    "unknown sizes": (Situation(state="idle", now=NOW, working_set=GIB, home_used=GIB), []),
}


@pytest.mark.parametrize("case", TABLE)
def test_what_is_due(case: str) -> None:
    """In each situation exactly what the table says is due."""
    situation, due = TABLE[case]
    assert names(situation) == due


@pytest.mark.parametrize("case", TABLE)
def test_nothing_is_due_by_time_where_times_are_never(case: str) -> None:
    """A profile whose times are all None never acts for time."""
    situation = replace(TABLE[case][0], working_set=0, home_used=0, workspace_used=0, record=0.0)
    if situation.interrupted_at is None and situation.is_current:
        assert decide(situation, NEVER) == []


def test_each_limit_warns_before_and_says_after() -> None:
    """Every limit but a person's own stop has a warning, and every other action a sentence."""
    shown = [action for situation, _ in TABLE.values() for action in decide(situation, LIFETIMES)]
    warned = {action.limit for action in shown if isinstance(action, Warn)}
    assert warned == set(get_args(Limit)) - {"stop"}
    for action in shown:
        if not isinstance(action, Freeze):
            assert action.sentence.endswith(".")
            assert "None" not in action.sentence
            assert "a moment" not in action.sentence


def test_warning_says_how_long() -> None:
    """A warning of a time says how much of it is left, for programs and for people."""
    [warning] = decide(running(2880), LIFETIMES)
    assert isinstance(warning, Warn)
    assert warning.seconds == 720
    assert "in 12 minutes" in warning.sentence


def test_what_is_forgotten() -> None:
    """What is told once per turn or per sandbox is told again in the next one."""
    assert FORGOTTEN_WITH_TURN | FORGOTTEN_WITH_SANDBOX | {
        "session_age",
        "transcript",
        "stop",
    } == set(get_args(Limit))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (90 * 86_400, "90 days"),
        (86_400, "1 day"),
        (86_400 * 1.5, "36 hours"),
        (3600, "1 hour"),
        (5400, "90 minutes"),
        (1800, "30 minutes"),
        (754, "12 minutes"),
        (60, "1 minute"),
        (59.5, "1 minute"),
        (90, "90 seconds"),
        (12.9, "12 seconds"),
        (1, "1 second"),
        (0.2, "a moment"),
        (0, "a moment"),
    ],
)
def test_times_are_said_in_words(seconds: float, words: str) -> None:
    """A time is said in one unit that fits it, and never longer than it is."""
    assert duration(seconds) == words


SECONDS = st.floats(0, 200_000, allow_nan=False)
BYTES = st.integers(0, 2 * GIB)
MAYBE = st.one_of(st.none(), SECONDS)


@st.composite
def situations(draw: Any) -> Situation:
    def since() -> float | None:
        passed = draw(MAYBE)
        return None if passed is None else NOW - passed

    return Situation(
        state=draw(st.sampled_from(get_args(SessionState))),
        now=NOW,
        frozen=draw(st.booleans()),
        busy=draw(st.booleans()),
        idle_since=since(),
        turn_since=since(),
        assigned_at=since(),
        age=draw(SECONDS),
        asleep=draw(MAYBE),
        working_set=draw(BYTES),
        memory_limit=draw(st.sampled_from([0, GIB])),
        home_used=draw(BYTES),
        home_size=draw(st.sampled_from([0, GIB])),
        workspace_used=draw(BYTES),
        workspace_size=draw(st.sampled_from([0, GIB])),
        is_current=draw(st.booleans()),
        interrupted_at=since(),
        told=draw(st.frozensets(st.sampled_from(get_args(Limit)))),
    )


LIFETIMES_OF_ALL_KINDS = st.builds(
    Lifetimes,
    freeze_after=MAYBE,
    hibernate_after=MAYBE,
    turn=MAYBE,
    sandbox=MAYBE,
    session=MAYBE,
    keep=MAYBE,
)


def later(situation: Situation, seconds: float) -> Situation:
    asleep = None if situation.asleep is None else situation.asleep + seconds
    return replace(
        situation, now=situation.now + seconds, age=situation.age + seconds, asleep=asleep
    )


@settings(max_examples=400)
@given(situations(), LIFETIMES_OF_ALL_KINDS, st.floats(0, 1))
def test_nothing_changes_before_the_next_look(
    situation: Situation, lifetimes: Lifetimes, share: float
) -> None:
    """Until the next look, time alone changes nothing of what is due."""
    seconds = next_look(situation, lifetimes)
    assert 0 < seconds <= 3600
    before = later(situation, max(0.0, seconds * share - 0.06))
    assert names(before, lifetimes) == names(situation, lifetimes)


@settings(max_examples=400)
@given(situations(), LIFETIMES_OF_ALL_KINDS)
def test_one_thing_at_a_time(situation: Situation, lifetimes: Lifetimes) -> None:
    """Whatever the situation: nothing is told twice, at most one thing is done, and what is over
    is left alone."""
    actions = decide(situation, lifetimes)
    warned = [action.limit for action in actions if isinstance(action, Warn)]
    done = [action for action in actions if not isinstance(action, Warn)]
    assert len(done) <= 1
    assert len(set(warned)) == len(warned)
    assert not set(warned) & situation.told
    if set(warned) - {"session_age", "transcript"}:
        assert done in ([], [Freeze()])
    if situation.state in {"ending", "ended", "failed"}:
        assert actions == []
    if situation.state in {"waiting", "waking", "hibernated"}:
        assert all(isinstance(action, EndSession) for action in actions)
    for action in done:
        match action:
            case InterruptTurn() | KillSandbox():
                assert situation.state in {"running", "asking"}
            case Recycle():
                assert situation.state == "idle"
            case HibernateNow() | Freeze():
                assert situation.state in {"idle", "asking"}
                assert not situation.busy
            case _:
                assert isinstance(action, EndSession)
