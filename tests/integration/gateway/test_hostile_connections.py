"""Raw bytes on a slot's socket: ambiguous heads, connections of no use, bodies that never end."""

import asyncio
import contextlib
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.testing.scripted_model import ScriptedModel

from .conftest import SLOT, Door, RecordingWatcher, open_gateway, prompt, until

POST = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\n"
BODY = b'{"model":"claude-x","max_tokens":1,"messages":[]}'
LENGTH = b"Content-Length: " + str(len(BODY)).encode() + b"\r\n"


@asynccontextmanager
async def dialled(path: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        yield reader, writer
    finally:
        writer.close()


async def answer_to(path: Path, *parts: bytes, seconds: float = 5) -> bytes:
    """All that comes back until the gateway hangs up; nothing where it hung up in silence."""
    async with dialled(path) as (reader, writer):
        for part in parts:
            writer.write(part)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(seconds):
                return await reader.read()
    return b""


AMBIGUOUS = {
    "te-twice": POST
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "te-list": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "te-tab": POST + b"Transfer-Encoding:\tchunked\r\n" + LENGTH + b"\r\n" + BODY,
    "te-space": POST + b"Transfer-Encoding : chunked\r\n" + LENGTH + b"\r\n" + BODY,
    "te-quoted": POST + b'Transfer-Encoding: "chunked"\r\n' + LENGTH + b"\r\n" + BODY,
    "te-vertical-tab": POST + b"Transfer-Encoding: \x0bchunked\r\n" + LENGTH + b"\r\n" + BODY,
    "te-and-length": POST + b"Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n0\r\n\r\n",
    "same-length-twice": POST + LENGTH + LENGTH + b"\r\n" + BODY,
    "length-list": POST + b"Content-Length: 3, 3\r\n\r\n{}\n",
    "length-plus": POST + b"Content-Length: +3\r\n\r\n{}\n",
    "folded": POST + b"X: a\r\n Content-Length: 3\r\n" + LENGTH + b"\r\n" + BODY,
    "bare-lf": b"POST /v1/messages HTTP/1.1\nHost: x\n" + LENGTH.replace(b"\r", b"") + b"\n" + BODY,
    "bare-cr": POST + b"X: a\rContent-Length: 3\r\n" + LENGTH + b"\r\n" + BODY,
    "nul": POST + b"X: a\x00b\r\n" + LENGTH + b"\r\n" + BODY,
    "expect": POST + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n" + BODY,
    "upgrade": POST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + LENGTH + b"\r\n" + BODY,
    "h2c": POST
    + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    + LENGTH
    + b"\r\n"
    + BODY,
    "trailer": POST + b"Trailer: X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
    "version-1.0": b"POST /v1/messages HTTP/1.0\r\n" + LENGTH + b"\r\n" + BODY,
    "version-0.9": b"GET /v1/models\r\n\r\n",
    "version-2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version-9": b"POST /v1/messages HTTP/9.9\r\nHost: x\r\n" + LENGTH + b"\r\n" + BODY,
    "two-hosts": POST + b"Host: y\r\n" + LENGTH + b"\r\n" + BODY,
    "absolute": b"POST http://gateway.internal/v1/messages HTTP/1.1\r\nHost: x\r\n"
    + LENGTH
    + b"\r\n"
    + BODY,
    "many-headers": POST
    + b"".join(b"X-%d: y\r\n" % n for n in range(500))
    + LENGTH
    + b"\r\n"
    + BODY,
}


@pytest.mark.parametrize("words", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_an_ambiguous_request_is_refused(
    door: Door, model: ScriptedModel, words: bytes
) -> None:
    """A 4xx and the end of the connection, and nothing reaches the model."""
    answer = await answer_to(door.path, words)
    assert answer.startswith(b"HTTP/")
    assert answer.split()[1].startswith(b"4")
    assert b"aiohttp" not in answer
    assert not model.requests


async def test_a_second_request_behind_a_refused_one_is_not_read(
    door: Door, model: ScriptedModel
) -> None:
    """What stands behind a head that was refused is no request."""
    second = POST + LENGTH + b"\r\n" + BODY
    hidden = POST + b"Content-Length: 3\r\nContent-Length: %d\r\n\r\n" % (len(second) + 3)
    await answer_to(door.path, hidden + b"{}\n" + second)
    await answer_to(door.path, POST + b"Expect: x\r\nContent-Length: 3\r\n\r\n{}\n" + second)
    assert not model.requests


async def test_words_of_other_alphabets_in_headers_break_nothing(
    door: Door, model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """What could not be sent on is left out; the request passes, and nothing is logged of it."""
    agent = b"User-Agent: \xff\xfe\r\nX-App: caf\xc3\xa9\r\nConnection: close\r\n"
    answer = await answer_to(door.path, POST + agent + LENGTH + b"\r\n" + BODY)
    assert answer.split()[1] == b"200"
    assert "caf" not in str(model.requests[-1].headers)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize(
    "words",
    [b"", b"POST /v1/messages", POST, POST + b"X: "],
    ids=["nothing", "line", "head", "header"],
)
async def test_a_head_that_does_not_end_is_hung_up_on(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel, words: bytes
) -> None:
    """A connection that makes no request within its time is closed, also one that trickles."""
    path = tmp_path / "gw.sock"
    async with open_gateway(path, watcher, model.url, head_timeout=0.3):
        async with dialled(path) as (reader, writer):
            began = time.monotonic()
            writer.write(words)
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(5):
                    while not reader.at_eof():
                        if words:
                            writer.write(b"a")
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(reader.read(1), 0.05)
            assert time.monotonic() - began < 2
        assert (await Door(path).post(prompt("hello")))[0] == 200


async def test_the_next_head_on_a_kept_connection_has_its_time_too(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """An idle connection is kept; one on which a head began and did not end is closed. An answer
    that takes longer than a head may is not touched."""
    path = tmp_path / "gw.sock"
    whole = POST + LENGTH + b"\r\n" + BODY
    async with (
        open_gateway(path, watcher, model.url, head_timeout=0.3),
        dialled(path) as (reader, writer),
    ):
        writer.write(whole)
        assert b"200" in await reader.readline()
        assert await is_open_for(reader, 0.8)
        writer.write(whole[:30])
        async with asyncio.timeout(2):
            assert await reader.read() == b""
        slow = prompt("!slow 0.8\n!say 2 words", stream=False)
        assert (await Door(path).post(slow))[0] == 200


async def is_open_for(reader: asyncio.StreamReader, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while await reader.read(1 << 16):
                pass
    return not reader.at_eof()


async def test_chunks_are_refused_before_they_are_parsed(
    door: Door, model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """However many and however small: they are told to come with a length, and not waited for."""
    began = time.monotonic()
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    async with dialled(door.path) as (reader, writer):
        writer.write(head + b"1\r\nx\r\n" * 100_000)
        async with asyncio.timeout(3):
            assert b" 411 " in await reader.readline()
    assert time.monotonic() - began < 2
    assert not model.requests
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_body_that_trickles_loses_its_place_early(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """A byte now and then keeps no place for the whole time that a body may take."""
    path = tmp_path / "gw.sock"
    settings = {"body_grace": 0.3, "max_concurrency": 1}
    async with (
        open_gateway(path, watcher, model.url, **settings),
        dialled(path) as (reader, writer),
    ):
        writer.write(POST + b"Content-Length: 1000000\r\n\r\n")
        began = time.monotonic()
        answered = asyncio.create_task(reader.readline())
        while not answered.done() and time.monotonic() - began < 5:
            writer.write(b"x")
            await asyncio.wait([answered], timeout=0.05)
        assert b" 408 " in answered.result()
        assert time.monotonic() - began < 2
        assert (await Door(path).post(prompt("hello")))[0] == 200


async def test_connections_are_taken_no_faster_than_their_pace(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """Who dials without end waits in the kernel; afterwards requests pass as before."""
    path = tmp_path / "gw.sock"
    settings = {"connections_per_second": 20.0, "connection_burst": 5}
    async with open_gateway(path, watcher, model.url, **settings) as gateway:
        taken = count_connections(gateway._slots[SLOT]._runner.server)  # type: ignore[union-attr]
        ends = time.monotonic() + 1.0

        async def dial() -> None:
            while time.monotonic() < ends:
                with contextlib.suppress(OSError):
                    async with dialled(path):
                        pass
                await asyncio.sleep(0)

        await asyncio.gather(*(dial() for _ in range(8)))
        assert 5 <= len(taken) <= 40
        async with asyncio.timeout(10):
            assert (await Door(path).post(prompt("hello")))[0] == 200


def count_connections(server: object) -> list[object]:
    taken: list[object] = []
    made = server.connection_made  # type: ignore[attr-defined]

    def counted(handler: object, transport: object) -> None:
        taken.append(transport)
        made(handler, transport)

    server.connection_made = counted  # type: ignore[attr-defined]
    return taken


async def test_what_costs_nothing_is_limited_too(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """Token counts and the list of models are requests like others."""
    door = Door(tmp_path / "gw.sock")
    async with open_gateway(door.path, watcher, model.url, burst=4, requests_per_minute=60):

        async def models() -> int:
            async with door.client() as client, client.get("/v1/models") as response:
                return response.status

        async def count() -> int:
            body = {"model": "claude-x", "messages": []}
            return (await door.post(body, path="/v1/messages/count_tokens"))[0]

        statuses = await asyncio.gather(*(ask() for _ in range(5) for ask in (models, count)))
    assert statuses.count(429) >= 5
    assert watcher.metered_events == []


async def test_a_closed_slot_is_not_to_be_reached(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """After its end nothing answers on a slot's socket, though its file is still there."""
    path = tmp_path / "gw.sock"
    async with open_gateway(path, watcher, model.url) as gateway:
        async with dialled(path) as (reader, writer):
            await gateway.close(SLOT)
            async with asyncio.timeout(2):
                assert await reader.read() == b""
            del writer
        assert path.exists()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_unix_connection(str(path))


async def test_bodies_that_never_end_cost_bounded_memory(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """Sixty connections that each announce and send much hold no more than the slot's share."""
    path = tmp_path / "gw.sock"
    mib = 1 << 20
    settings = {"slot_body_bytes": 8 * mib, "max_concurrency": 60, "burst": 100}
    async with open_gateway(path, watcher, model.url, **settings) as gateway:
        slot = gateway._slots[SLOT]
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        held = []
        for _ in range(60):
            _, writer = await asyncio.open_unix_connection(str(path))
            writer.write(POST + b"Content-Length: %d\r\n\r\n" % (8 * mib) + b"x" * (mib // 2))
            held.append(writer)
        most = 0
        for _ in range(20):
            await asyncio.sleep(0.05)
            most = max(most, slot.limits.bodies.held)
        for writer in held:
            writer.transport.abort()
        await until(lambda: slot.limits.bodies.held == 0)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most <= 8 * mib
    assert peak - before < 80 * mib  # what the senders of this test hold themselves included
