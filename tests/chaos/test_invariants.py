"""The judgement of a chaos run: each invariant sees its violation, and nothing beside it."""

import pytest

from orchestrator.protocol.control_events import (
    CheckpointTaken,
    PromptAccepted,
    PromptRemoved,
    SandboxLost,
    TurnStarted,
)
from orchestrator.protocol.events import Event
from orchestrator.protocol.ids import ClientId, TurnId
from orchestrator.protocol.sandbox_events import TurnEnded
from tests.chaos import invariants
from tests.chaos.player import Sent

ONE, TWO = ClientId("one"), ClientId("two")
ACCEPTED = PromptAccepted(client_id=ONE, text="!bash", by="ada")
STARTED = TurnStarted(turn_id=TurnId("t1"), client_id=ONE)
ENDED = TurnEnded(turn_id=TurnId("t1"), outcome="completed")
LOST = SandboxLost(tag="killed", sentence="It was killed.")
KEPT = CheckpointTaken(checkpoint_id="c1", size=1, entries=1)
SENT = {ONE: Sent(client_id=ONE, token="s0-001", writes=True, confirmed=True)}


def numbered(*events: Event) -> list[tuple[int, Event]]:
    return list(enumerate(events, start=1))


@pytest.mark.parametrize(
    ("events", "wrong"),
    [
        ((ACCEPTED, STARTED, ENDED), 0),
        ((ACCEPTED, PromptRemoved(client_id=ONE)), 0),
        ((ACCEPTED,), 1),
        ((ACCEPTED, STARTED), 1),
        ((ACCEPTED, STARTED, ENDED, ENDED), 1),
        ((ACCEPTED, STARTED, ENDED, PromptRemoved(client_id=ONE)), 1),
        ((ACCEPTED, ACCEPTED, STARTED, ENDED), 1),
        ((ACCEPTED, STARTED, ENDED, TurnEnded(turn_id=TurnId("t2"), outcome="failed")), 1),
    ],
)
def test_one_outcome(events: tuple[Event, ...], wrong: int) -> None:
    """A prompt without an outcome, or with two, is seen; so is an end without a beginning."""
    assert len(invariants.each_prompt_has_one_outcome(events, name="s0")) == wrong


def test_a_confirmed_prompt_that_is_gone_is_seen() -> None:
    """What a person was told is in, is in."""
    check = invariants.confirmed_prompts_are_kept
    assert check([ACCEPTED], SENT.values(), name="s0") == []
    assert len(check([], SENT.values(), name="s0")) == 1


def test_browsers_and_the_log_are_compared_byte_for_byte() -> None:
    """Missing, and different."""
    check = invariants.browsers_saw_the_log
    assert check({1: b"a", 2: b"b"}, {2: b"b"}, name="s0") == []
    assert len(check({1: b"a"}, {1: b"x", 2: b"b"}, name="s0")) == 2
    assert len(invariants.log_is_in_order([1, 3, 3], name="s0")) == 1


@pytest.mark.parametrize(
    ("events", "journal", "wrong"),
    [
        ((ACCEPTED, STARTED, ENDED, KEPT), "s0-001\n", 0),
        ((ACCEPTED, STARTED, ENDED, KEPT), "", 1),
        ((ACCEPTED, STARTED, KEPT, ENDED), "", 0),
        ((ACCEPTED, STARTED, ENDED, LOST, KEPT), "", 0),
        ((ACCEPTED, STARTED, ENDED, KEPT, LOST, KEPT), "", 1),
        ((ACCEPTED, STARTED, ENDED, KEPT), "s0-001\ns0-001\n", 1),
        ((ACCEPTED, STARTED, ENDED, KEPT), "s0-001\nnobody\n", 1),
    ],
)
def test_files(events: tuple[Event, ...], journal: str, wrong: int) -> None:
    """A line that was kept and is lost, one that is there too often, one that nobody wrote."""
    assert len(invariants.files_are_as_written(numbered(*events), SENT, journal, name="s")) == wrong


def test_what_the_model_forgot_is_seen() -> None:
    """Of completed turns alone."""
    check = invariants.model_remembers
    events = numbered(ACCEPTED, STARTED, ENDED)
    assert check(events, SENT, '{"text": "[s0-001]"}', name="s0") == []
    assert len(check(events, SENT, "{}", name="s0")) == 1
    assert check(events[:2], SENT, "{}", name="s0") == []


def test_states_and_log() -> None:
    """A session that failed, and a task that nobody waited for."""
    assert invariants.states_are_well({"s0": "idle", "s1": "hibernated"}) == []
    assert len(invariants.states_are_well({"s0": "failed"})) == 1
    assert len(invariants.log_is_clean("Task exception was never retrieved\n")) == 1
