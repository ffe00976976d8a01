"""Casemate is killed and started again: what its people see of it."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from orchestrator.protocol.chat import Prompt
from orchestrator.protocol.control_events import SandboxAssigned, SandboxLost
from orchestrator.protocol.ids import ClientId
from orchestrator.protocol.sandbox_events import PermissionRequested, TurnEnded
from orchestrator.sandboxes.image_builder import BuiltImage
from orchestrator.testing.chat_client import ApiClient, decision_on
from orchestrator.testing.running_casemate import NotRunning, RunningCasemate, running_casemate
from orchestrator.testing.scripted_model import ScriptedModel

from .conftest import PASSWORD, environment

pytestmark = pytest.mark.timeout(180)


def brokers(casemate: RunningCasemate) -> bool:
    try:
        return bool(casemate.broker_pid)
    except NotRunning:
        return False


@pytest.mark.parametrize("away", [0.0, 5.0])
async def test_a_turn_goes_on(sandbox_image: BuiltImage, model: ScriptedModel, away: float) -> None:
    """SIGKILL in the middle of a turn: the next start finds broker and sandbox, the turn ends as if
    nothing had happened, and the session's next one works in the same sandbox."""
    assert sandbox_image
    with running_casemate(environment(model), users={"ada": PASSWORD}) as casemate:
        async with ApiClient.signed_in(casemate.url, "ada", PASSWORD) as ada:
            view = await ada.create()
            async with ada.chat(view["id"]) as chat:
                text = "!bash touch made-by-test; sleep 3"
                await chat.send(Prompt(client_id=ClientId("first"), text=text))
                _, asked = await chat.next(PermissionRequested)
                await chat.send(decision_on(asked, "allow"))
                await asyncio.sleep(0.5)
                before = await chat.until(lambda c: c.view and c.view.sandbox_id and c.view)
        broker = casemate.broker_pid
        casemate.stop(with_signal=signal.SIGKILL)
        await asyncio.sleep(away)
        casemate.start()
        assert casemate.broker_pid == broker
        async with (
            ApiClient.signed_in(casemate.url, "ada", PASSWORD) as ada,
            ada.chat(view["id"]) as chat,
        ):
            _, ended = await chat.next(TurnEnded)
            assert ended.outcome == "completed"
            after = await chat.until(lambda c: c.view and c.view.state == "idle" and c.view)
            assert after.sandbox_id == before.sandbox_id
            assert (await chat.turn("!say 3 words")).outcome == "completed"
            assert chat.of(SandboxLost) == []
            assert len(chat.of(SandboxAssigned)) <= 1
        assert casemate.stop() == 0
        assert not brokers(casemate)
        assert casemate.containers() == []
        assert casemate.slot_directories() == []


async def test_nobody_starts_it_again(sandbox_image: BuiltImage, model: ScriptedModel) -> None:
    """After SIGKILL, and nobody starts it again: broker, containers and slots are gone after the
    grace, and not before."""
    assert sandbox_image
    told = environment(model) | {"CASEMATE_BROKER_GRACE": "3"}
    with running_casemate(told, users={"ada": PASSWORD}) as casemate:
        async with ApiClient.signed_in(casemate.url, "ada", PASSWORD) as ada:
            await ada.create()
        broker, left = casemate.broker_pid, len(casemate.containers())
        casemate.stop(with_signal=signal.SIGKILL)
        await asyncio.sleep(1)
        assert len(casemate.containers()) == left
        deadline = time.monotonic() + 30
        while Path(f"/proc/{broker}").exists() or casemate.containers():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
        assert casemate.slot_directories() == []
