"""Answers as they flow: at once, with bounded memory, and no longer than somebody listens."""

import asyncio
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from orchestrator.testing.scripted_model import ScriptedModel

from .conftest import SLOT, Door, RecordingWatcher, open_gateway, prompt, until

PIECE = b"x" * (64 << 10)
PIECES = 1024


async def test_words_are_passed_on_one_by_one(door: Door) -> None:
    """The first word is there long before the last."""
    async with door.client() as client:
        started = time.monotonic()
        body = prompt("!say 20 words at 40/s", stream=True)
        async with client.post("/v1/messages", json=body) as response:
            first = None
            async for line in response.content:
                if first is None and b"text_delta" in line:
                    first = time.monotonic() - started
            whole = time.monotonic() - started
    assert first is not None
    assert first < whole / 2


async def test_who_hangs_up_stops_the_model(
    door: Door, model: ScriptedModel, watcher: RecordingWatcher
) -> None:
    """The upstream's answer ends when the sandbox goes, and what had come is counted."""
    async with door.client() as client:
        body = prompt("!say 9999 words at 100/s", stream=True)
        response = await client.post("/v1/messages", json=body)
        seen = b""
        while seen.count(b"text_delta") < 20:
            seen += await response.content.readany()
        response.close()
        await until(lambda: model.streaming == 0 and watcher.metered_events)
    assert model.hung_up == 1
    [(_, metered)] = watcher.metered_events
    assert 20 <= metered.usage.output_tokens < 500
    assert watcher.failures == []


async def test_who_hangs_up_before_the_answer_stops_the_model(
    door: Door, model: ScriptedModel, watcher: RecordingWatcher
) -> None:
    """A request that is given up while the model is silent is given up at the model too."""
    async with door.client() as client:
        body = prompt("!slow 60\n!say 3 words", stream=False)
        request = asyncio.create_task(client.post("/v1/messages", json=body))
        await until(lambda: len(model.requests) == 1)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
    await until(lambda: model.hung_up == 1 and model.streaming == 0)
    assert watcher.failures == []


class Firehose:
    """An upstream that writes 64 MiB as fast as it can, and counts."""

    def __init__(self) -> None:
        self.pieces = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(PIECES):
            await response.write(PIECE)
            self.pieces += 1
        await response.write(b'\n\ndata: {"type":"message_stop"}\n\n')
        return response

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/v1/messages", self.answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()


async def test_a_slow_reader_slows_the_upstream_down(
    tmp_path: Path, watcher: RecordingWatcher
) -> None:
    """While the sandbox reads nothing the upstream is held back; then all of it arrives."""
    firehose = Firehose()
    door = Door(tmp_path / "gw.sock")
    async with (
        firehose.serve() as url,
        open_gateway(door.path, watcher, url),
        door.client() as client,
        client.post("/v1/messages", json=prompt("hello", stream=True)) as response,
    ):
        await standstill(lambda: firehose.pieces)
        assert firehose.pieces < PIECES / 2
        received = 0
        async for piece in response.content.iter_any():
            received += len(piece)
        assert received > PIECES * len(PIECE)


async def test_a_reader_that_stopped_is_dropped(tmp_path: Path, watcher: RecordingWatcher) -> None:
    """A sandbox that leaves its answer unread for too long loses it, and no one is alarmed."""
    firehose = Firehose()
    door = Door(tmp_path / "gw.sock")
    async with (
        firehose.serve() as url,
        open_gateway(door.path, watcher, url, write_timeout=0.2) as gateway,
    ):
        _, writer = await asyncio.open_unix_connection(str(door.path))
        body = b'{"model":"claude-x","max_tokens":1,"messages":[],"stream":true}'
        head = f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(head.encode() + body)
        slot = next(iter(gateway._slots.values()))
        await until(lambda: slot.limits.concurrency._running == 1)
        await until(lambda: slot.limits.concurrency._running == 0)
        writer.close()
    assert watcher.failures == []


async def test_slow_readers_cost_bounded_memory(tmp_path: Path, watcher: RecordingWatcher) -> None:
    """Twelve answers of 64 MiB that nobody reads hold less than a MiB each in the gateway."""
    firehose = Firehose()
    path = tmp_path / "gw.sock"
    body = b'{"model":"claude-x","max_tokens":1,"messages":[],"stream":true}'
    head = f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    async with firehose.serve() as url, open_gateway(path, watcher, url) as gateway:
        runner = gateway._slots[SLOT]._runner
        assert runner is not None
        tracemalloc.start()
        writers = []
        for _ in range(12):
            _, writer = await asyncio.open_unix_connection(str(path))
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(head.encode() + body)
            writers.append(writer)
        await until(lambda: firehose.pieces >= 12)
        await standstill(lambda: firehose.pieces)
        server = runner.server
        assert server is not None
        waiting = [transport.get_write_buffer_size() for transport in server._connections.values()]
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        for writer in writers:
            writer.transport.abort()
    assert len(waiting) == 12
    assert max(waiting) <= 256 << 10
    assert held < 12 << 20
    assert firehose.pieces < 12 * PIECES / 8


async def standstill(count: Callable[[], int]) -> None:
    last = -1
    while last != count():
        last = count()
        await asyncio.sleep(0.3)
