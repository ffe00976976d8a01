"""Stop really stops: whatever a turn began in its sandbox is gone, and nothing else is."""

import pytest

from orchestrator.protocol import sandbox_events
from orchestrator.protocol.commands import (
    AnswerPermission,
    Interrupt,
    PermissionDecision,
    StartTurn,
)
from orchestrator.protocol.ids import TurnId

LIVING = "cat /proc/[0-9]*/comm | grep -c '^sleep$' || true"
DOUBLE_FORK = "(setsid sh -c '(sleep 3001 &) ; exit' &) ; sleep 3002"
ESCAPES = {
    "foreground": "sleep 3001",
    "background": "sleep 3001 & sleep 3002",
    "nohup": "nohup sleep 3001 >/dev/null 2>&1 & disown; sleep 3002",
    "setsid": "setsid -f sleep 3001; sleep 3002",
    "double-fork": DOUBLE_FORK,
    "breeding": "(while :; do setsid -f sleep 3001; command sleep 0.2; done) & sleep 3002",
    "deaf": "(trap '' TERM INT HUP; sleep 3001; sleep 3003) & sleep 3002",
}


async def allow(plane, *, after: int = 0) -> None:
    request = await plane.first(sandbox_events.PermissionRequested, after=after)
    decision = PermissionDecision(choice="allow", input_hash=request.input_hash)
    await plane.send(AnswerPermission(permission_id=request.permission_id, decision=decision))


async def until_there(sandbox, count: str = "2") -> None:
    waiting = f"until [ $({LIVING}) -ge {count} ]; do :; done"
    assert (await sandbox.run(f"timeout 20 sh -c '{waiting.replace(chr(39), chr(34))}'"))[0] == 0


@pytest.mark.parametrize("command", ESCAPES.values(), ids=ESCAPES.keys())
async def test_no_process_of_the_turn_lives_on(sandbox, command):
    """Processes that left their parent, group and session end with the turn that began them."""
    await sandbox.plane.send(StartTurn(turn_id=TurnId("t1"), text=f"!bash touch x; {command}"))
    await allow(sandbox.plane)
    await until_there(sandbox, "1" if command == ESCAPES["foreground"] else "2")
    await sandbox.plane.send(Interrupt(turn_id=TurnId("t1")))
    assert (await sandbox.plane.end_of("t1")).outcome == "interrupted"
    gone = f'timeout 5 sh -c "until [ \\$({LIVING}) = 0 ]; do sleep 0.01; done"'
    await sandbox.run(gone)
    assert (await sandbox.run(LIVING))[1].splitlines()[-1] == "0"
    await sandbox.plane.send(StartTurn(turn_id=TurnId("t2"), text="hello"))
    assert (await sandbox.plane.end_of("t2")).outcome == "completed"
    assert sandbox.plane.all(sandbox_events.AgentDied) == []


async def test_what_an_earlier_turn_left_running_stays(sandbox):
    """A server that an earlier turn started in the background survives the stop of a later one."""
    await sandbox.plane.send(StartTurn(turn_id=TurnId("t1"), text="!bash setsid -f sleep 3001"))
    await allow(sandbox.plane)
    await sandbox.plane.end_of("t1")
    await sandbox.plane.send(StartTurn(turn_id=TurnId("t2"), text="!bash touch x; sleep 3002"))
    await allow(sandbox.plane, after=1)
    await until_there(sandbox)
    await sandbox.plane.send(Interrupt(turn_id=TurnId("t2")))
    assert (await sandbox.plane.end_of("t2")).outcome == "interrupted"
    assert (await sandbox.run(LIVING))[1] == "1"


async def test_a_subagent_stops(sandbox):
    """A subagent that works ends with the turn that started it."""
    await sandbox.plane.send(StartTurn(turn_id=TurnId("t1"), text="!subagent !slow 600"))
    await sandbox.plane.first(sandbox_events.TaskStarted)
    await sandbox.plane.send(Interrupt(turn_id=TurnId("t1")))
    assert (await sandbox.plane.end_of("t1")).outcome == "interrupted"
    await sandbox.plane.first(sandbox_events.TaskFinished)
