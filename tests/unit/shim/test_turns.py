from typing import Any

import claude_agent_sdk as sdk
import pytest
from shim.turns import TurnKnown, TurnRunning, Turns

from orchestrator.protocol.ids import TurnId
from orchestrator.protocol.task_events import TaskFinished, TaskStarted


def result(**fields: Any) -> sdk.ResultMessage:
    return sdk.ResultMessage(
        subtype="success", duration_ms=1, duration_api_ms=1, is_error=False, num_turns=1,
        session_id="s", **fields,
    )  # fmt: skip


@pytest.fixture
def said() -> list[Any]:
    return []


@pytest.fixture
def turns(said: list[Any]) -> Turns:
    return Turns(said.append)


async def test_a_turn_ends_with_the_result_of_its_prompt(turns: Turns, said: list[Any]):
    """The result that names the turn's prompt ends it."""
    turn = turns.begin(TurnId("t1"))
    [message] = [message async for message in turn.prompt("hi")]
    assert turns.take(result(user_message_uuids=[message["uuid"]]))
    assert (said[0].turn_id, said[0].outcome) == ("t1", "completed")
    assert turns.current is None


async def test_the_clis_own_turns_end_nothing(turns: Turns, said: list[Any]):
    """A turn that a background task woke has a result that is nobody's."""
    turns.begin(TurnId("t1"))
    assert not turns.take(result(origin={"kind": "task-notification"}))
    assert not turns.take(result(user_message_uuids=["somebody-else's"]))
    assert said == []


async def test_a_result_without_names_ends_the_turn(turns: Turns):
    """Some results (a slash command's) name no prompt; one turn runs at a time."""
    turns.begin(TurnId("t1"))
    assert turns.take(result())


async def test_a_late_result_does_not_end_the_next_turn(turns: Turns, said: list[Any]):
    """A turn that was given up and answers late leaves the next one alone."""
    first = turns.begin(TurnId("t1"))
    turns.cut_off(outcome="interrupted", subtype="interrupt_timeout", text="")
    second = turns.begin(TurnId("t2"))
    assert not turns.take(result(user_message_uuid=first.prompt_id))
    assert turns.take(result(user_message_uuid=second.prompt_id))
    assert [(e.turn_id, e.outcome) for e in said] == [("t1", "interrupted"), ("t2", "completed")]


async def test_one_turn_at_a_time(turns: Turns):
    """A second turn is refused while one runs."""
    turns.begin(TurnId("t1"))
    with pytest.raises(TurnRunning):
        turns.begin(TurnId("t2"))


async def test_a_turn_begins_once(turns: Turns):
    """A turn that is ordered twice is begun once, while it runs and after its end."""
    turns.begin(TurnId("t1"))
    with pytest.raises(TurnKnown):
        turns.begin(TurnId("t1"))
    turns.take(result())
    with pytest.raises(TurnKnown):
        turns.begin(TurnId("t1"))


async def test_a_turn_that_is_taken_up_ends_with_the_next_result(turns: Turns, said: list[Any]):
    """Its prompt was another sandbox's, so whatever result comes first is its own."""
    turns.take_up(TurnId("t1"))
    assert turns.take(result(user_message_uuids=["the-cli's-own"]))
    assert said[0].turn_id == "t1"


async def test_a_turn_that_is_lost_is_not_told(turns: Turns, said: list[Any]):
    """A turn that could not be taken up after all leaves no word, and no result behind."""
    turn = turns.take_up(TurnId("t1"))
    await turns.lose(turn, seconds=0.01)
    assert turns.current is None
    turns.begin(TurnId("t2"))
    assert said == []


async def test_work_in_the_background_belongs_to_its_turn(turns: Turns):
    """What a turn began and did not end is known, so that it can be stopped with it."""
    turn = turns.begin(TurnId("t1"))
    for name in ("a", "b"):
        turns.follow_tasks(TaskStarted(task_id=name, description=""))
    turns.follow_tasks(TaskFinished(task_id="a", status="completed", summary=""))
    assert turn.open_tasks == {"b"}
