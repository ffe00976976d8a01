"""What a sandbox or a host can cost the egress proxy, and for how long."""

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from orchestrator.gateway.egress.streams import StreamBroken

from .egress_world import SLOT, World, everything, opened_world, request, until


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened_world(tmp_path) as opened:
        yield opened


async def _nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes what comes and never answers."""
    with contextlib.suppress(OSError):
        await reader.read()
    writer.close()


async def _flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers without end."""
    await reader.read(1)
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    with contextlib.suppress(OSError):
        while True:
            writer.write(bytes(1 << 16))
            await writer.drain()


async def test_bytes_are_counted_exactly(world: World) -> None:
    """In a tunnel all that was on the wire counts; one byte more than allowed does not pass."""
    received = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(1000):
            received.extend(piece)
        writer.close()

    await world.raw_host("ok.test", listen)
    hello = _hello()
    await world.open_proxy(msgspec.structs.replace(world.egress, max_bytes_up=len(hello) + 1000))
    _, stream = await world.connect("ok.test:443")
    await stream.write(hello + b"x" * 600)
    await until(lambda: len(received) == len(hello) + 600)
    await stream.write(b"x" * 400)
    await until(lambda: len(received) == len(hello) + 1000)
    assert world.watcher.told == []
    await stream.write(b"x")
    with contextlib.suppress(StreamBroken):
        await everything(stream)
    assert len(received) == len(hello) + 1000
    assert world.watcher.told == [("ok.test", 443, "over_budget")]
    answer, _ = await world.connect("ok.test:443")
    assert answer.startswith(b"HTTP/1.1 403 blocked")


def _hello() -> bytes:
    import ssl

    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(
        ssl.MemoryBIO(), outgoing, server_hostname="ok.test"
    )
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def test_what_comes_is_counted_too(world: World) -> None:
    """A host that sends without end is cut at the session's budget."""
    await world.raw_host("plain.test", _flood, port=80)
    await world.open_proxy(msgspec.structs.replace(world.egress, max_bytes_down=1 << 20))
    with contextlib.suppress(StreamBroken):
        assert len(await world.get("http://plain.test/")) <= (1 << 20) * 1.01
    await until(lambda: world.watcher.told == [("plain.test", 80, "over_budget")])


async def test_a_flood_that_nobody_reads_is_held_back(world: World) -> None:
    """Thirty-two of them at once cost the proxy a few MiB, not what was sent."""
    await world.raw_host("plain.test", _flood, port=80)
    await world.open_proxy()
    tracemalloc.start()
    streams = [await world.dial() for _ in range(32)]
    for stream in streams:
        stream._reader._transport.pause_reading()  # type: ignore[attr-defined]
        await stream.write(b"GET http://plain.test/ HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: len(world.network.called) == 32)
    await asyncio.sleep(1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 48 << 20, peak  # the flooding hosts' own buffers are in it


@pytest.mark.parametrize("sent", [b"", b"CONNECT ok.test:443 HTTP/1.1\r\nHost:"])
async def test_a_slow_head_is_cut_off(world: World, sent: bytes) -> None:
    """One that never ends, or never begins."""
    await world.open_proxy(head_timeout=0.2)
    assert (await world.say(sent)).startswith(b"HTTP/1.1 408 blocked")
    assert [event.tag for event in world.watcher.refused] == ["too_slow"]


async def test_a_slow_hello_is_cut_off(world: World) -> None:
    """A tunnel in which nothing, or half of TLS's first message, was said."""
    await world.raw_host("ok.test", _nothing)
    await world.open_proxy(head_timeout=0.2)
    for first in (b"", b"\x16\x03\x01\x00"):
        _, stream = await world.connect("ok.test:443")
        await stream.write(first)
        assert await everything(stream) == b""
    assert {event.tag for event in world.watcher.refused} == {"too_slow"}


async def test_a_host_that_never_answers_is_given_up(world: World) -> None:
    """And the sandbox is told which."""
    await world.raw_host("plain.test", _nothing, port=80)
    await world.open_proxy(idle_timeout=0.3)
    assert (await world.get("http://plain.test/")).startswith(
        b"HTTP/1.1 504 blocked: plain.test:80"
    )


async def test_a_host_that_is_not_reached_in_time_is_given_up(world: World) -> None:
    """A lookup or a connection that hangs holds nobody for long."""
    await world.host("ok.test")
    await world.open_proxy(connect_timeout=0.2)

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    world.network.connect = hang  # type: ignore[method-assign,assignment]
    answer, _ = await world.connect("ok.test:443")
    assert answer.startswith(b"HTTP/1.1 502 blocked")
    world.network.resolve = hang  # type: ignore[method-assign,assignment]
    answer, _ = await world.connect("ok.test:443")
    assert answer.startswith(b"HTTP/1.1 502 blocked")
    assert [event.tag for event in world.watcher.refused] == ["unreachable", "unresolved"]


async def test_slow_names_of_one_slot_hold_nobody_else_up(world: World) -> None:
    """A lookup that was given up counts until the system is done with it: a loop of slow names
    takes no more of the resolver's threads than the slot may have."""
    await world.host("ok.test")
    await world.open_proxy(connect_timeout=0.1, lookups=2)
    done = asyncio.Event()
    asked = 0
    real = world.network.resolve

    async def slow(host: str) -> object:
        nonlocal asked
        asked += 1
        await done.wait()
        return await real(host)

    world.network.resolve = slow  # type: ignore[method-assign,assignment]
    for _ in range(5):
        assert (await world.connect("ok.test:443"))[0].startswith(b"HTTP/1.1 502 blocked")
    assert asked == 2
    done.set()
    await asyncio.sleep(0)
    assert (await world.connect("ok.test:443"))[0].startswith(b"HTTP/1.1 200 ")


async def test_an_idle_tunnel_is_cut(world: World) -> None:
    """Sooner, when one side has said that it is done."""
    await world.raw_host("ok.test", _nothing)
    await world.open_proxy(idle_timeout=0.5, half_closed_timeout=0.2)
    _, stream = await world.connect("ok.test:443")
    await stream.write(_hello())
    with contextlib.suppress(StreamBroken):
        assert await everything(stream) == b""
    assert world.watcher.told == []


async def test_no_tunnel_lasts_for_ever(world: World) -> None:
    """Whatever passes through it."""
    await world.raw_host("ok.test", _flood)
    await world.open_proxy(total_timeout=0.3)
    _, stream = await world.connect("ok.test:443")
    await stream.write(_hello())
    with contextlib.suppress(StreamBroken):
        await everything(stream)


async def test_a_slot_is_no_faster_than_it_may_be(world: World) -> None:
    """All its connections together; what is faster is slowed down, not cut."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000))
        await writer.drain()
        writer.close()

    await world.raw_host("plain.test", send, port=80)
    await world.open_proxy(bytes_per_second=1_000_000)
    began = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(world.get("http://plain.test/") for _ in range(2)))
    assert all(len(answer) > 1_000_000 for answer in answers)
    assert 0.7 < asyncio.get_running_loop().time() - began < 5


async def test_connections_are_counted(world: World) -> None:
    """Those beyond the bound are turned away at once, until one of the others ends."""
    await world.raw_host("ok.test", _nothing)
    await world.open_proxy(max_connections=3)
    held = [await world.connect("ok.test:443") for _ in range(3)]
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer, _ in held)
    answer, _ = await world.connect("ok.test:443")
    assert answer.startswith(b"HTTP/1.1 429 blocked")
    held[0][1].abort()

    async def room() -> bool:
        return (await world.connect("ok.test:443"))[0].startswith(b"HTTP/1.1 200 ")

    async with asyncio.timeout(5):
        while not await room():
            await asyncio.sleep(0.02)


async def test_all_slots_share_a_bound(world: World) -> None:
    """However many slots there are, the server has room for so many connections."""
    await world.raw_host("ok.test", _nothing)
    await world.open_proxy(total_connections=2)
    for status in (b"200", b"200", b"429"):
        assert (await world.connect("ok.test:443"))[0].startswith(b"HTTP/1.1 " + status)


async def test_a_loop_of_connections_is_slowed_down(world: World) -> None:
    """Beyond the rate they are refused, and not at once."""
    await world.open_proxy(burst=2, connections_per_minute=60)
    answers = await asyncio.gather(*(world.get("http://evil.test/") for _ in range(4)))
    assert [answer[9:12] for answer in sorted(answers)] == [b"403", b"403", b"429", b"429"]


async def test_dialling_in_a_loop_costs_the_dialler(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that are turned away at once are paced, too: the rest waits in the kernel."""
    monkeypatch.setattr("orchestrator.gateway.egress.slot.TAKEN_PER_SECOND", 5.0)
    monkeypatch.setattr("orchestrator.gateway.egress.slot.TAKEN_AT_ONCE", 3)
    await world.open_proxy(max_connections=1)
    answered = 0

    async def dial() -> None:
        nonlocal answered
        while True:
            stream = await world.dial()
            await everything(stream)
            answered += 1

    held = await world.dial()
    loops = [asyncio.create_task(dial()) for _ in range(10)]
    await asyncio.sleep(1)
    for each in loops:
        each.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    assert 3 <= answered <= 9
    held.abort()


async def test_closing_the_slot_cuts_everything(world: World) -> None:
    """Tunnels, requests and what waits: at once."""
    await world.raw_host("ok.test", _nothing)
    proxy = await world.open_proxy()
    _, tunnel = await world.connect("ok.test:443")
    await tunnel.write(_hello())
    waiting = await world.dial()
    await until(lambda: len(proxy._slots[SLOT]._connections) == 2)
    async with asyncio.timeout(2):
        await proxy.close(SLOT)
    for stream in (tunnel, waiting):
        with contextlib.suppress(StreamBroken):
            assert await everything(stream) == b""


async def test_a_hundred_requests_leave_nothing_behind(world: World) -> None:
    """No task, no connection."""
    await world.host("ok.test")
    await world.open_proxy()
    for _ in range(25):
        assert b"GET /" in await world.fetch("ok.test:443", request("ok.test"))
    await until(lambda: not any(t.get_name().startswith("egress") for t in asyncio.all_tasks()))
