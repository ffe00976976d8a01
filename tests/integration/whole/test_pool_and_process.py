"""The pool under twenty sessions, and the process at its end: nothing lost, nothing left."""

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.protocol.chat import End, Prompt
from orchestrator.protocol.control_events import SandboxLost, TurnStarted
from orchestrator.protocol.ids import ClientId
from orchestrator.protocol.sandbox_events import TurnEnded
from orchestrator.sandboxes.image_builder import BuiltImage
from orchestrator.testing.chat_client import ApiClient
from orchestrator.testing.running_casemate import RunningCasemate, running_casemate
from orchestrator.testing.scripted_model import ScriptedModel

from .conftest import PASSWORD, environment

SMALL = {
    "CASEMATE_POOL_MINIMUM": "2",
    "CASEMATE_POOL_MAXIMUM": "2",
    "CASEMATE_POOL_WAIT_LIMIT": "150",
}


async def until_gone(casemate: RunningCasemate, *, kept: int = 0, limit: float = 30) -> None:
    deadline = time.monotonic() + limit
    while len(casemate.containers()) > kept or len(casemate.slot_directories()) > kept:
        assert time.monotonic() < deadline, (casemate.containers(), casemate.slot_directories())
        await asyncio.sleep(0.2)


async def until_ready(casemate: RunningCasemate, number: int, *, limit: float = 60) -> None:
    async with ApiClient.signed_in(casemate.url, "admin", PASSWORD) as admin:
        async with asyncio.timeout(limit):
            while (await pool_of(admin))["ready"] < number:
                await asyncio.sleep(0.1)


async def pool_of(admin: ApiClient) -> dict[str, Any]:
    _, body, _ = await admin.request("GET", "/api/v1/admin/pools")
    return dict(body["pools"][0])


@pytest.mark.timeout(300)
async def test_twenty_sessions_on_a_pool_of_two(
    sandbox_image: BuiltImage, model: ScriptedModel
) -> None:
    """None fails, none is lost, they are served in the order they came, and nothing is left."""
    assert sandbox_image
    users = {"admin": PASSWORD, "ada": PASSWORD}
    with running_casemate(environment(model) | SMALL, users=users) as casemate:
        await until_ready(casemate, 2)
        async with ApiClient.signed_in(casemate.url, "ada", PASSWORD) as ada:
            opened = await asyncio.gather(*(ada.create(respond_async=True) for _ in range(20)))
            views = sorted(opened, key=lambda view: view.get("place") or 0)
            assert [view.get("place") for view in views] == [None, None, *range(1, 19)]
            served: list[int] = []

            async def use(number: int, session: str) -> str:
                async with ada.chat(session) as chat:
                    await chat.until(lambda c: c.view and c.view.state == "idle", limit=200)
                    served.append(number)
                    ended = await chat.turn(f"!say {number + 3} words", limit=60)
                    await chat.send(End())
                    await chat.until(lambda c: c.view and c.view.state == "ended")
                    return ended.outcome

            outcomes = await asyncio.gather(
                *(use(number, view["id"]) for number, view in enumerate(views))
            )
            assert outcomes == ["completed"] * 20
            out_of_order = sum(abs(number - place) > 1 for place, number in enumerate(served))
            assert out_of_order == 0, served
            await until_gone(casemate, kept=2)
        assert casemate.stop() == 0
        assert casemate.containers() == []
        assert casemate.slot_directories() == []


async def test_a_full_pool_answers_with_a_time_to_try_again(
    sandbox_image: BuiltImage, model: ScriptedModel
) -> None:
    """Without `respond-async` a claim that waited too long is 429 with `Retry-After`, and leaves no
    session behind; with it the session says why it failed."""
    assert sandbox_image
    tight = {
        "CASEMATE_POOL_MINIMUM": "1",
        "CASEMATE_POOL_MAXIMUM": "1",
        "CASEMATE_POOL_WAIT_LIMIT": "1",
    }
    with running_casemate(environment(model) | tight, users={"ada": PASSWORD}) as casemate:
        async with ApiClient.signed_in(casemate.url, "ada", PASSWORD) as ada:
            taken = await ada.create()
            status, problem, headers = await ada.request("POST", "/api/v1/sessions", json={})
            assert status == 429
            assert int(headers["Retry-After"]) >= 1
            assert problem["detail"]
            _, page, _ = await ada.request("GET", "/api/v1/sessions")
            assert [view["id"] for view in page["sessions"]] == [taken["id"]]
            waiting = await ada.create(respond_async=True)
            async with ada.chat(waiting["id"]) as chat:
                view = await chat.until(lambda c: c.view and c.view.state == "failed" and c.view)
                assert view.ending.tag == "no_sandbox_free"


async def test_pool_sizes_change_live(
    casemate: RunningCasemate, admin: ApiClient, ada: ApiClient
) -> None:
    """An admin's new minimum is reached at once; users may not look; nonsense is refused."""
    path = "/api/v1/admin/pools/default"
    status, _, _ = await admin.request("PUT", path, json={"min": 3, "max": 8})
    assert status == 200

    await until_ready(casemate, 3)
    assert (await admin.request("PUT", path, json={"min": 9, "max": 8}))[0] in {400, 422}
    assert (await admin.request("PUT", path, json={"min": -1, "max": 8}))[0] in {400, 422}
    assert (await ada.request("PUT", path, json={"min": 1, "max": 1}))[0] == 403
    assert (await ada.request("GET", "/api/v1/admin/pools"))[0] == 403
    assert (await admin.request("PUT", path, json={"min": 2, "max": 8}))[0] == 200
    await until_gone(casemate, kept=8)


async def test_a_sandbox_that_dies_is_explained(ada: ApiClient) -> None:
    """The container is killed in a turn: the person reads why, and the session goes on."""
    view = await ada.create()
    async with ada.chat(view["id"]) as chat:
        await chat.prompt("!slow 60")
        await chat.next(TurnStarted)
        current = await chat.until(lambda c: c.view and c.view.sandbox_id and c.view)
        subprocess.run(
            ["docker", "kill", f"casemate-{current.sandbox_id}"], check=True, capture_output=True
        )
        _, lost = await chat.next(SandboxLost, limit=15)
        assert lost.sentence
        await chat.until(lambda c: c.view and c.view.state == "idle", limit=60)
        assert chat.of(TurnEnded)[-1].outcome == "failed"


async def test_sigterm_ends_it_in_good_order(
    sandbox_image: BuiltImage, model: ScriptedModel
) -> None:
    """Exit status 0 in the middle of a turn; no container and no slot is left."""
    assert sandbox_image
    with running_casemate(environment(model), users={"ada": PASSWORD}) as casemate:
        async with ApiClient.signed_in(casemate.url, "ada", PASSWORD) as ada:
            view = await ada.create()
            async with ada.chat(view["id"]) as chat:
                await chat.prompt("!slow 60")
                await chat.next(TurnStarted)
                status = await asyncio.to_thread(casemate.stop)
        assert status == 0, casemate.log[-3000:]
        assert casemate.containers() == []
        assert casemate.slot_directories() == []


async def test_a_killed_one_leaves_nothing(sandbox_image: BuiltImage, model: ScriptedModel) -> None:
    """After SIGKILL, and a while, the broker it started removes everything and ends; at the next
    start the session is still there with its events, and goes on in another sandbox."""
    assert sandbox_image
    told = environment(model) | {"CASEMATE_BROKER_GRACE": "2"}
    with running_casemate(told, users={"ada": PASSWORD}) as casemate:
        async with ApiClient.signed_in(casemate.url, "ada", PASSWORD) as ada:
            view = await ada.create()
            async with ada.chat(view["id"]) as chat:
                await chat.send(Prompt(client_id=ClientId("first"), text="!say 3 words"))
                await chat.next(TurnEnded)
        broker = casemate.broker_pid
        casemate.stop(with_signal=signal.SIGKILL)
        await until_gone(casemate)
        await until_ended(broker)
        casemate.start()
        async with ApiClient.signed_in(casemate.url, "ada", PASSWORD) as ada:
            _, again, _ = await ada.request("GET", f"/api/v1/sessions/{view['id']}")
            assert again["state"] not in {"failed", "ended"}
            async with ada.chat(view["id"]) as chat:
                assert (await chat.turn("!say 3 words", limit=60)).outcome == "completed"
            _, page, _ = await ada.request("GET", f"/api/v1/sessions/{view['id']}/events")
            assert "turn_ended" in str(page)


async def until_ended(pid: int, *, limit: float = 20) -> None:
    async with asyncio.timeout(limit):
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.05)


async def test_what_both_left_is_swept_by_the_next(
    sandbox_image: BuiltImage, model: ScriptedModel
) -> None:
    """When control plane and broker are killed together, the next start removes what they left."""
    assert sandbox_image
    with running_casemate(environment(model), users={"ada": PASSWORD}) as casemate:
        async with ApiClient.signed_in(casemate.url, "ada", PASSWORD) as ada:
            await ada.create()
        broker = casemate.broker_pid
        os.kill(casemate.pid, signal.SIGSTOP)  # so that it cannot start another one
        os.kill(broker, signal.SIGKILL)
        casemate.stop(with_signal=signal.SIGKILL)
        left = set(casemate.containers())
        assert left
        assert casemate.slot_directories()
        casemate.start()
        assert left.isdisjoint(casemate.containers())


async def test_a_broker_that_is_killed(sandbox_image: BuiltImage, model: ScriptedModel) -> None:
    """The broker is killed in a turn: the person reads what happened, health says so, and soon a
    new broker has new sandboxes ready, with nothing left of the old ones."""
    assert sandbox_image
    people = {"ada": PASSWORD, "admin": PASSWORD}
    with running_casemate(environment(model), users=people) as casemate:
        async with ApiClient.signed_in(casemate.url, "ada", PASSWORD) as ada:
            view = await ada.create()
            async with ada.chat(view["id"]) as chat:
                await chat.prompt("!slow 60")
                await chat.next(TurnStarted)
                before, broker = set(casemate.containers()), casemate.broker_pid
                os.kill(broker, signal.SIGKILL)
                _, lost = await chat.next(SandboxLost, limit=60)
                assert lost.tag == "broker_lost", lost
                await chat.until(lambda c: c.view and c.view.state == "idle", limit=60)
            await until_ready(casemate, 1)
            assert casemate.broker_pid != broker
            assert before.isdisjoint(casemate.containers())
            second = await ada.create()
            async with ada.chat(second["id"]) as chat:
                assert (await chat.turn("!say 3 words", limit=60)).outcome == "completed"
        assert casemate.stop() == 0
        assert casemate.containers() == []
        assert casemate.slot_directories() == []
