"""An outage of the model API: one word for everybody, and no storm of errors."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest
import structlog

from orchestrator.gateway.gateway import Gateway
from orchestrator.protocol.ids import SessionId, SlotId
from orchestrator.sandboxes.slot_sockets import listen
from orchestrator.testing.scripted_model import ScriptedModel

from .conftest import PROFILE, SESSION, SLOT, Door, RecordingWatcher, open_gateway, prompt, until
from .test_real_agent import agent, person, texts  # noqa: F401 - fixtures

QUICK = {"outage_pause": 1.0}


@asynccontextmanager
async def second_door(gateway: Gateway, path: Path) -> AsyncIterator[Door]:
    """Of another session at the same gateway."""
    slot = SlotId("2" * 32)
    await gateway.open(slot, model=listen(path), egress=None)
    gateway.admit(slot, session_id=SessionId("session-2"), profile=PROFILE)
    yield Door(path)
    await gateway.close(slot)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def test_an_outage_is_told_once_and_fails_fast(
    tmp_path: Path, watcher: RecordingWatcher
) -> None:
    """Five attempts reach nobody; from then on every session is answered at once, in words, with
    what keeps the CLI from trying again, and each session's people read of it once."""
    url = f"http://127.0.0.1:{free_port()}"
    async with (
        open_gateway(tmp_path / "gw.sock", watcher, url) as gateway,
        second_door(gateway, tmp_path / "2.sock") as other,
    ):
        door = Door(tmp_path / "gw.sock")
        statuses = [(await door.post(prompt("hello")))[0] for _ in range(5)]
        assert statuses == [502] * 5
        answers = [await one.post(prompt("hello")) for one in (door, other) for _ in range(10)]
        assert gateway.problem is not None
        assert gateway._slots[SLOT].admission.budget.used == 0
    for status, headers, content in answers:
        assert status == 503
        assert headers["x-should-retry"] == "false"
        assert 1 <= int(headers["retry-after"]) <= 15
        message = msgspec.json.decode(content)["error"]["message"]
        assert "could not be reached" in message
        assert "tries again in" in message
    [(is_open, sentence, told_until)] = watcher.states
    assert is_open
    assert sentence
    assert told_until
    told = [(session, event.tag) for session, event in watcher.failures]
    assert told[-2:] == [(SESSION, "upstream_down"), ("session-2", "upstream_down")]
    assert len(told) == 3  # and the failure itself, once


async def test_it_is_over_with_the_first_answer(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """Of many requests at once one tries, and with the beginning of its answer all may go on: a
    long answer keeps nobody waiting."""
    async with (
        open_gateway(tmp_path / "gw.sock", watcher, model.url, **QUICK) as gateway,
        second_door(gateway, tmp_path / "2.sock") as other,
    ):
        door = Door(tmp_path / "gw.sock")
        for one in (door, door, door, other, other):
            assert (await one.post(prompt("!fail 503")))[0] == 503
        seen = len(model.requests)
        assert (await door.post(prompt("hello")))[0] == 503
        assert len(model.requests) == seen
        await until(lambda: gateway._breaker._circuit.state == "half_open")
        long = asyncio.create_task(door.post(prompt("!say 2 words\n!slow 5", stream=True)))
        await until(lambda: len(model.requests) > seen)
        await until(lambda: not gateway.problem)
        began = time.monotonic()
        assert (await other.post(prompt("hello")))[0] == 200
        assert time.monotonic() - began < 2
        long.cancel()
    assert [state[0] for state in watcher.states] == [True, False]


async def test_a_client_that_hangs_up_is_no_outage(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """However often, before or in the middle of the answer."""
    async with open_gateway(tmp_path / "gw.sock", watcher, model.url) as gateway:
        door = Door(tmp_path / "gw.sock")
        for n in range(12):
            async with door.client() as client:
                asked = asyncio.create_task(
                    client.post("/v1/messages", json=prompt("!slow 60", stream=bool(n % 2)))
                )
                await until(lambda n=n: len(model.requests) > n)
                asked.cancel()
        await until(lambda: not gateway._slots[SLOT].limits.concurrency._running)
        assert (await door.post(prompt("hello")))[0] == 200
    assert not watcher.states


async def test_a_reader_that_stalls_gives_its_place_back(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """A frozen sandbox reads nothing: its request holds its place, its body and its connection to
    the model for a limited time, and that is no failure of anybody."""
    settings = {"write_timeout": 0.5, "token_budget": 10**9}
    async with open_gateway(tmp_path / "gw.sock", watcher, model.url, **settings) as gateway:
        slot = gateway._slots[SLOT]
        connector = aiohttp.UnixConnector(path=str(tmp_path / "gw.sock"))
        async with aiohttp.ClientSession(connector=connector, read_bufsize=1024) as client:
            asked = client.post(
                "http://gateway.internal/v1/messages",
                json=prompt("!say 400000 words", system="x" * (2 << 20), stream=True),
            )
            async with asked as response:
                assert response.status == 200
                await until(lambda: not slot.limits.concurrency._running, seconds=20)
                assert slot.limits.bodies.held == 0
                assert not slot.admission.budget._reserved
    assert not watcher.states
    assert not watcher.failures


async def test_a_stalled_body_gives_its_place_back(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """A sandbox that is frozen while it sends is refused after the body's time, and has reserved
    nothing."""
    async with open_gateway(tmp_path / "gw.sock", watcher, model.url, body_grace=0.3) as gateway:
        slot = gateway._slots[SLOT]
        reader, writer = await asyncio.open_unix_connection(tmp_path / "gw.sock")
        writer.write(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 999\r\n\r\n{")
        await until(lambda: slot.limits.concurrency._running)
        await until(lambda: not slot.limits.concurrency._running)
        assert b"408" in await reader.readline()
        writer.close()
    assert not model.requests


async def test_tokens_of_earlier_sandboxes_count(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """A budget is the session's: neither another sandbox nor a restart makes it new."""
    profile = msgspec.structs.replace(PROFILE, token_budget=1000)
    async with open_gateway(tmp_path / "gw.sock", watcher, model.url, profile=profile) as gateway:
        slot = SlotId("3" * 32)
        await gateway.open(slot, model=listen(tmp_path / "3.sock"), egress=None)
        gateway.admit(slot, session_id=SESSION, profile=profile, used_tokens=1000)
        status, _, content = await Door(tmp_path / "3.sock").post(prompt("hello"))
    assert status == 403
    assert b"budget of 1,000 tokens" in content


class TestTheAgentInAnOutage:
    @pytest.fixture
    async def door(self, tmp_path: Path, watcher: RecordingWatcher) -> AsyncIterator[Door]:
        url = f"http://127.0.0.1:{free_port()}"
        async with open_gateway(tmp_path / "gw.sock", watcher, url):
            door = Door(tmp_path / "gw.sock")
            for _ in range(5):
                await door.post(prompt("hello"))
            yield door

    async def test_its_turn_ends_at_once_and_plainly(self, agent, watcher) -> None:  # noqa: F811
        """No retries, no waiting: the sentence, and a result that says that it failed with 503."""
        with structlog.testing.capture_logs() as logs:
            began = time.monotonic()
            blocks, result = await agent.ask("hello")
            took = time.monotonic() - began
        assert took < 2
        assert result.is_error
        assert result.api_error_status == 503
        assert "could not be reached" in texts(blocks)
        asked = [log for log in logs if log["event"] == "gateway_request.refused"]
        assert len(asked) <= 2
        assert [event.tag for _, event in watcher.failures][-1] == "upstream_down"
