import asyncio
import contextlib
import json
import resource
import struct

import pytest
from websockets.asyncio.client import unix_connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from orchestrator.protocol.commands import StartTurn
from orchestrator.protocol.link import MAX_FRAME_BYTES
from orchestrator.protocol.sandbox_events import AgentDied, TextWritten
from orchestrator.protocol.wire import Unrecognised
from orchestrator.sandboxes.settings import LinkSettings
from orchestrator.sandboxes.shim_link import ShimLink
from orchestrator.sandboxes.slot_sockets import listen

HELLO = {"type": "hello", "protocol": 1, "version": "v"}


def text(n, content="x"):
    return [n, {"type": "text_written", "message_id": "m", "index": 0, "text": content}]


def memory(n, usage=5):
    return [n, {"type": "memory_measured", "usage": usage, "working_set": 1, "limit": 9}]


def batch(*items, acknowledged=0):
    return {"type": "batch", "items": list(items), "acknowledged": acknowledged}


class Shim:
    """A shim, or what pretends to be one: sends what a test wants."""

    def __init__(self, connection):
        self.connection = connection

    async def say(self, frame):
        await self.connection.send(json.dumps(frame))

    async def hear(self):
        async with asyncio.timeout(3):
            return json.loads(await self.connection.recv())

    async def greet(self, **fields):
        await self.say(HELLO | fields)
        return await self.hear()


@pytest.fixture
async def links(short_directory):
    """Makes links; each listens on a socket of its own."""
    made = []

    async def make(**settings):
        link = ShimLink(settings=LinkSettings(**settings))
        link.path = short_directory / f"{len(made)}.sock"
        made.append(link)
        await link.open(listen(link.path))
        return link

    yield make
    for link in made:
        await link.close()


@pytest.fixture
async def link(links):
    return await links(reconnect_limit=0.1)


@contextlib.asynccontextmanager
async def dialled(link, **options):
    async with unix_connect(
        str(link.path), max_size=None, close_timeout=0.2, **options
    ) as connection:
        yield Shim(connection)


@pytest.fixture
async def shim(link):
    async with dialled(link) as shim:
        yield shim


async def cut_off(link):
    """The tag with which the link was cut."""
    async with asyncio.timeout(3):
        await link.over()
    assert link.violation is not None
    return link.violation.tag


async def read(link, count):
    """The next events, at least so many."""
    got = []
    async with asyncio.timeout(3):
        async for some in link.events():
            got += some
            if len(got) >= count:
                return got
    return got


async def test_hello_makes_it_alive(link, shim):
    """A link is alive from the shim's Hello on, which is answered with what is held safely."""
    assert not link.alive
    assert await shim.greet(cli_version="2") == {"type": "welcome"}
    assert (await link.greeted()).cli_version == "2"
    assert link.alive


async def test_events_come_as_they_were_sent(link, shim):
    """Events arrive in order, decoded, with the bytes as they came; an unknown one as such."""
    await shim.greet()
    link.claim()
    await shim.say(batch(text(1, "a"), [2, {"type": "from_the_future", "x": 1}]))
    first, second = await read(link, 2)
    assert (first.n, first.event) == (1, TextWritten(message_id="m", index=0, text="a"))
    assert json.loads(first.body)["text"] == "a"
    assert isinstance(second.event, Unrecognised)


async def test_commands_wait_for_their_acknowledgement(link):
    """A command that was not acknowledged is sent again on the next connection, others are not."""
    async with dialled(link) as shim:
        await shim.greet()
        link.claim()
        link.send(StartTurn(turn_id="t1", text="one"))
        link.send(StartTurn(turn_id="t2", text="two"))
        assert [n for n, _ in (await shim.hear())["items"]] == [1, 2]
        await shim.say(batch(text(1), acknowledged=1))
        await read(link, 1)
    async with dialled(link) as shim:
        await shim.greet()
        assert [n for n, _ in (await shim.hear())["items"]] == [2]


async def test_acknowledgements_reach_the_shim(link, shim):
    """What the session holds safely is told to the shim, at once and on the next connection."""
    await shim.greet()
    link.claim()
    await shim.say(batch(text(1), text(2)))
    await read(link, 2)
    link.acknowledge(2)
    assert (await shim.hear())["acknowledged"] == 2
    await shim.connection.close()
    async with dialled(link) as again:
        assert await again.greet() == {"type": "welcome", "acknowledged": 2}


async def test_no_command_before_the_claim(link, shim):
    """Before its claim a link refuses commands."""
    await shim.greet()
    with pytest.raises(RuntimeError, match="before it is claimed"):
        link.send(StartTurn(turn_id="t", text="x"))


async def test_before_the_claim(link, shim, until):
    """Before the claim memory is noted and forgotten; what concerns a session is kept for it."""
    await shim.greet()
    await shim.say(batch(memory(1, usage=77)))
    assert (await shim.hear())["acknowledged"] == 1
    assert link.memory.usage == 77
    await shim.say(batch(text(2), memory(3)))
    await until(lambda: link._arrivals.received == 3)
    link.claim()
    await shim.say(batch(text(4)))
    await until(lambda: link._arrivals.received == 4)
    assert [received.n for received in await read(link, 2)] == [2, 4]


async def test_only_one_speaks(link, shim):
    """While the shim is connected a second one is turned away and changes nothing."""
    await shim.greet()
    async with dialled(link) as second:
        with pytest.raises(ConnectionClosed):
            await second.greet()
    assert link.alive


async def test_a_short_break_is_no_loss(links):
    """A shim that comes back in time goes on where it was; repeats are dropped."""
    link = await links(reconnect_limit=2)
    async with dialled(link) as shim:
        await shim.greet()
        link.claim()
        await shim.say(batch(text(1), text(2)))
        await read(link, 2)
    async with dialled(link) as shim:
        await shim.greet()
        await shim.say(batch(text(1), text(2), text(3)))
        assert [received.n for received in await read(link, 1)] == [3]
    assert link.violation is None


async def test_a_long_break_is_the_end(link):
    """A shim that does not come back in time is lost, without being blamed."""
    async with dialled(link) as shim:
        await shim.greet()
    async with asyncio.timeout(3):
        await link.over()
    assert link.violation is None
    assert not link.alive


async def test_a_dead_agent_ends_it(link, shim):
    """When the agent says that it died, that can be read and the link is over."""
    await shim.greet()
    link.claim()
    await shim.say(batch([1, {"type": "agent_died", "exit_code": -9}]))
    async with asyncio.timeout(3):
        await link.over()
    assert link.agent_died == AgentDied(exit_code=-9)
    assert [received.event for received in await read(link, 1)] == [AgentDied(exit_code=-9)]


@pytest.mark.parametrize(
    ("frames", "tag"),
    [
        (["{"], "link_malformed"),
        (["[]"], "link_malformed"),
        (['"' + "[" * 100_000], "link_malformed"),
        (["[" * 100_000], "link_malformed"),
        (['{"type":"batch"}'], "link_malformed"),
        ([HELLO | {"protocol": 99}], "link_protocol"),
        ([HELLO | {"protocol": "1"}], "link_malformed"),
        ([HELLO, HELLO], "link_malformed"),
        ([HELLO, {"type": "welcome"}], "link_malformed"),
        ([HELLO, b"\x00\x01"], "link_malformed"),
        ([HELLO, batch(text(2))], "link_gap"),
        ([HELLO, batch(text(1)), batch(text(1))], "link_disorder"),
        ([HELLO, batch(text(1), acknowledged=1)], "link_malformed"),
        ([HELLO, batch([1, {"type": "agent_died", "exit_code": "x"}])], "link_malformed"),
        ([HELLO, '{"type":"batch","items":"' + "x" * MAX_FRAME_BYTES + '"}'], "link_oversize"),
        ([HELLO, batch(text(1, "x" * (1 << 20)))], "link_oversize"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_breaks_the_protocol_is_cut_off(link, shim, frames, tag):
    """A peer that breaks the protocol is cut off, and it is known how."""
    with contextlib.suppress(ConnectionClosed):
        for frame in frames:
            raw = frame if isinstance(frame, str | bytes) else json.dumps(frame)
            await shim.connection.send(raw)
    assert await cut_off(link) == tag
    async with asyncio.timeout(3):
        await shim.connection.wait_closed()


async def test_an_event_of_a_known_kind_in_a_wrong_shape(link, shim):
    """An event that cannot be decoded cuts the sandbox off; those before it are still read."""
    await shim.greet()
    link.claim()
    await shim.say(batch(text(1), [2, {"type": "turn_ended", "turn_id": 5}]))
    assert [received.n for received in await read(link, 1)] == [1]
    assert await cut_off(link) == "link_malformed"


async def test_a_flood_of_events(links):
    """Who sends without end is slowed, then cut off; what waits here stays within bounds."""
    link = await links(events_per_second=200, burst_seconds=1, flood_limit=0.5, inbox_events=1000)
    link.claim()

    async def flood(shim):
        n = 0
        with contextlib.suppress(ConnectionClosed):
            while True:
                await shim.say(batch(*(text(n + i) for i in range(1, 101))))
                n += 100

    async with dialled(link) as shim:
        await shim.greet()
        flooding = asyncio.create_task(flood(shim))
        reading = asyncio.create_task(read(link, 10**9))
        assert await cut_off(link) == "link_flooded"
        await flooding
        await link.close()
        assert len(await reading) < 1500


async def test_a_slow_reader_slows_the_sandbox(links, until):
    """While nobody reads, a sandbox is no longer read from, and is not blamed for its silence."""
    link = await links(inbox_bytes=1 << 20, ping_interval=0.02, ping_limit=0.05)
    link.claim()
    sent = 0

    async def push(shim):
        nonlocal sent
        while sent < 200:
            await shim.say(batch(text(sent + 1, "x" * 100_000)))
            sent += 1

    async with dialled(link) as shim:
        await shim.greet()
        pushing = asyncio.create_task(push(shim))
        await until(lambda: link._inbox.full)
        await asyncio.sleep(0.3)
        assert link.alive
        assert sent < 40
        assert link._inbox.size < 2 << 20
        assert len(await read(link, 200)) == 200
        await pushing


async def test_a_hung_shim(links):
    """A shim that no longer answers pings is given up."""
    link = await links(ping_interval=0.02, ping_limit=0.05, reconnect_limit=0.05)
    async with dialled(link) as shim:
        await shim.greet()
        shim.connection.transport.pause_reading()
        async with asyncio.timeout(3):
            await link.over()
        assert link.violation is None


async def test_many_connections(links):
    """Something that opens socket after socket gets only a few, and the shim keeps its own."""
    link = await links(connections=4)
    async with dialled(link) as shim:
        await shim.greet()
        opened = [await asyncio.open_unix_connection(str(link.path)) for _ in range(50)]
        await asyncio.sleep(0.1)
        assert len(link._listener._transports) <= 4
        assert link.alive
        for _, writer in opened:
            writer.close()
        with contextlib.suppress(Exception):
            await asyncio.gather(*(writer.wait_closed() for _, writer in opened))


def frame(opcode, payload=b"", *, fin=True):
    """A client's WebSocket frame, masked with zeros."""
    assert len(payload) < 126
    return (
        struct.pack("BB", opcode | (0x80 if fin else 0), 0x80 | len(payload)) + b"\0" * 4 + payload
    )


@pytest.mark.parametrize(
    ("raw", "tag"),
    [
        (frame(0x9, b"ping") * 300, "link_flooded"),
        (frame(0x1, fin=False) + frame(0x0, fin=False) * 5000, "link_malformed"),
        (frame(0x3), "link_malformed"),
        (frame(0x1, b"\xff\xfe"), "link_malformed"),
        (b"\xff" * 1000, "link_malformed"),
    ],
    ids=["pings", "empty pieces", "reserved opcode", "not utf-8", "noise"],
)
async def test_tricks_below_the_protocol(link, shim, raw, tag):
    """Floods of pings, endless pieces, bad opcodes and bad text cut the sandbox off."""
    await shim.greet()
    shim.connection.transport.write(raw)
    assert await cut_off(link) == tag


async def test_whoever_never_says_hello(links, until):
    """A connection that says nothing is dropped and makes room; so is what is no WebSocket."""
    link = await links(hello_limit=0.05)
    async with dialled(link) as silent:
        with pytest.raises(ConnectionClosed):
            await silent.hear()
    _, writer = await asyncio.open_unix_connection(str(link.path))
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await until(lambda: not link._listener._transports)
    async with dialled(link) as shim:
        await shim.greet()
        assert link.alive
    writer.close()


async def test_a_closed_link_lets_nobody_in(link):
    """After its close nobody can connect."""
    await link.close()
    with pytest.raises((OSError, InvalidStatus, InvalidMessage)):
        async with dialled(link):
            pass


async def test_memory_under_a_hostile_sandbox(links):
    """Frames at the limit, made to decode into as much as they can, stay within bounds here."""
    link = await links(inbox_bytes=8 << 20)
    link.claim()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bomb = {"type": "tool_finished", "tool_use_id": "t", "content": [], "detail": [[]] * 200_000}

    async def push(shim):
        with contextlib.suppress(ConnectionClosed):
            for n in range(1, 60):
                await shim.say(batch([n, bomb]))

    async with dialled(link) as shim:
        await shim.greet()
        pushing = asyncio.create_task(push(shim))
        await asyncio.sleep(1)
        assert link._inbox.size < 16 << 20
        pushing.cancel()
        shim.connection.transport.abort()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
