"""The broker under clients that are hostile, late, twice there, or gone."""

import asyncio
import contextlib
import json
import os
import secrets
import socket
from pathlib import Path

import pytest

from orchestrator.protocol import broker as wire
from orchestrator.sandboxes.broker.client import BrokerClient
from orchestrator.sandboxes.broker.packets import PacketSocket, packet_pair
from orchestrator.sandboxes.errors import (
    BrokerRefused,
    BrokerTooSlow,
    BrokerUnreachable,
    ContainerMissing,
)
from orchestrator.sandboxes.settings import (
    BrokerSettings,
    PoolSettings,
    SandboxSettings,
    SlotSettings,
)
from orchestrator.testing.local_broker import LocalBroker, paper_house
from orchestrator.testing.paper_engine import PaperEngine

CEILING = 4
US, OTHERS = "1" * 32, "2" * 32
SLOT = "a" * 32
OTHER = "b" * 32


async def never(_):
    await asyncio.Event().wait()


idle = never
"""A shim that does nothing."""


@pytest.fixture
async def engine():
    engine = PaperEngine(idle)
    yield engine
    engine.gate.set()
    await engine.close()


@pytest.fixture
def settings(short_directory):
    return SandboxSettings(
        slots=SlotSettings(root=short_directory / "slots"),
        broker=BrokerSettings(
            grace=0.1, requests=4, hello_limit=0.3, connect_limit=1, backoff_first=0.01
        ),
        pool=PoolSettings(host_maximum=CEILING),
    )


@pytest.fixture
async def house(settings, catalogue, engine):
    async with paper_house(settings, catalogue, engine=engine) as house:
        yield house


@pytest.fixture
async def dial(house):
    dial = LocalBroker(house)
    yield dial
    await dial.end()


@pytest.fixture
async def client(dial, settings):
    async with BrokerClient(dial, settings.broker, client=US) as client:
        yield client


@contextlib.asynccontextmanager
async def killed_client(dial, settings, *, client=US):
    """A control plane that is killed at the end: it says no good-bye."""
    killed = await BrokerClient(dial, settings.broker, client=client).__aenter__()
    try:
        yield killed
    finally:
        await killed._tasks.close()
        killed._connection.end()


def open_descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class RawPeer:
    """Speaks packets of its own choosing."""

    def __init__(self, dialled):
        self.socket = dialled
        self.packets = PacketSocket(dialled)

    async def say(self, message, *, sockets=()):
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        await self.packets.send(body, sockets=sockets)

    async def hear(self):
        """The next message; None at the end."""
        async with asyncio.timeout(5):
            packet = await self.packets.receive(most_bytes=wire.MAX_ANSWER_BYTES, most_sockets=3)
        if packet is None:
            return None
        packet.close()
        return json.loads(packet.body)

    async def last_word(self):
        """What is said before the connection ends."""
        last = None
        while (said := await self.hear()) is not None:
            last = said
        return last


@pytest.fixture
async def peer(dial):
    """A raw peer that was welcomed."""
    peer = RawPeer(await dial())
    await peer.say({"type": "hello", "protocol": wire.BROKER_PROTOCOL, "client": "f" * 32})
    assert (await peer.hear())["type"] == "welcome"
    yield peer
    peer.socket.close()


def create(**more):
    return {"type": "create", "n": 1, "profile": "default", "slot": SLOT} | more


@pytest.mark.parametrize(
    "message",
    [
        create(Privileged=True),
        create(binds=["/:/host"]),
        create(HostConfig={"Privileged": True}),
        create(image="another:one"),
        create(slot="../" + "a" * 29),
        create(slot="A" * 32),
        create(slot=SLOT + "\n"),
        create(slot=""),
        create(slot=None),
        create(profile=""),
        create(profile="x" * 300),
        create(profile={"name": "default"}),
        create(n=0),
        create(n="1"),
        create(type="exec"),
        create(type="hello"),
        {"type": "destroy", "n": 1, "slot": "/etc"},
        {"type": "sweep", "n": 1},
        {"type": "sweep", "n": 1, "everything": "yes"},
        [create()],
        b"\xff\xfe\x00",
        b"{" * 4000,
        b"[" * 4000,
        json.dumps(create()).encode() * 2,
    ],
    ids=repr,
)
async def test_what_is_no_request(peer, engine, message):
    """Whatever is not exactly one of the requests there are ends the connection, and makes
    nothing."""
    await peer.say(message)
    last = await peer.last_word()
    assert (last["type"], last["tag"]) == ("farewell", "broker_malformed")
    assert engine.containers == {}


async def test_a_packet_too_long(peer, engine):
    """A packet beyond the bound ends the connection unread."""
    await peer.say(b" " * 100_000 + json.dumps(create()).encode())
    assert (await peer.last_word())["tag"] == "broker_malformed"
    assert engine.containers == {}


async def test_keys_twice(peer, engine):
    """Of a key that is there twice one value is taken for both the check and the deed."""
    await peer.say(
        b'{"type":"create","n":1,"profile":"nope","slot":"%s","profile":"default"}'
        % (SLOT.encode())
    )
    assert (await peer.hear())["type"] == "created"
    (body,) = engine.containers.values()
    assert body["Labels"]["casemate.profile"] == "default"


@pytest.mark.parametrize(
    "hello",
    [
        {"type": "hello", "protocol": 99, "client": "f" * 32},
        {"type": "hello", "protocol": 2, "client": "me"},
        {"type": "hello", "protocol": 2, "client": "f" * 32, "uid": 0},
        {"type": "list_sandboxes", "n": 1},
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=repr,
)
async def test_what_is_no_hello(dial, hello):
    """Who does not begin as one shall is told so and sent away."""
    peer = RawPeer(await dial())
    await peer.say(hello)
    assert (await peer.last_word())["type"] == "farewell"
    peer.socket.close()


async def test_who_says_nothing(dial):
    """Who says nothing is let go after a limit."""
    peer = RawPeer(await dial())
    assert await peer.hear() is None
    peer.socket.close()


async def test_descriptors_are_not_taken(peer, engine):
    """Descriptors that come with a request are not taken in, however many."""
    before = open_descriptors()
    with socket.socket() as one:
        for n in range(1, 40):
            await peer.say({"type": "list_sandboxes", "n": n}, sockets=[one] * 20)
            assert (await peer.hear())["type"] == "sandboxes"
    assert open_descriptors() <= before


async def test_a_thousand_at_once(peer, engine):
    """A thousand requests at once are worked on a few at a time, and make no more sandboxes than
    the machine's ceiling; the rest is refused with that reason."""
    engine.gate.clear()

    async def flood():
        for n in range(1, 1001):
            await peer.say(create(n=n, slot=secrets.token_hex(16)))

    flooding = asyncio.create_task(flood())
    await asyncio.sleep(0.1)
    assert not flooding.done(), "everything was read"
    assert engine.containers == {}
    engine.gate.set()
    said = [await peer.hear() for _ in range(1000)]
    await flooding
    refused = {one["tag"] for one in said if one["type"] == "refused"}
    assert refused == {"host_full"}
    assert sum(one["type"] == "created" for one in said) == CEILING
    assert engine.most == CEILING


async def test_the_same_slot_twice(client, engine):
    """A slot is used once: not twice at a time, and not again after it is gone."""
    (await client.create("default", SLOT)).sockets.close()
    with pytest.raises(BrokerRefused, match="used before"):
        await client.create("default", SLOT)
    assert len(engine.containers) == 1
    await client.destroy(SLOT)
    with pytest.raises(BrokerRefused, match="used before"):
        await client.create("default", SLOT)
    assert engine.containers == {}


async def test_an_unknown_profile(client, engine):
    """There is no sandbox of a profile that the broker does not know."""
    for name in ("nope", "../default", "default "):
        with pytest.raises(BrokerRefused, match="no such profile"):
            await client.create(name, secrets.token_hex(16))
    assert engine.containers == {}


async def test_what_is_not_ours(client, engine, settings):
    """A slot that the broker did not make is left alone, whatever there is by its name."""
    foreign = settings.slots.root / OTHER
    foreign.mkdir()
    (foreign / "keep").touch()
    await client.destroy(OTHER)
    assert (foreign / "keep").exists()
    for verb in (client.freeze, client.thaw):
        with pytest.raises(ContainerMissing):
            await verb(OTHER)
    assert await client.output(OTHER) == []
    assert (await client.exit_of(OTHER)).over


async def test_the_sockets_come_with_it(client, settings):
    """Who created a sandbox gets the sockets that listen in its slot, and needs no way into it."""
    started = await client.create("default", SLOT)
    path = settings.slots.root / SLOT / "link.sock"
    with socket.socket(socket.AF_UNIX) as shim:
        shim.connect(str(path))
        accepted, _ = started.sockets.link.accept()
        accepted.close()
    assert not os.get_inheritable(started.sockets.link.fileno())
    assert started.sockets.egress is None
    started.sockets.close()


async def test_descriptors_stay_nowhere(client):
    """Making and destroying sandboxes leaves no descriptor open, at neither end."""
    before = open_descriptors()
    for _ in range(20):
        slot = secrets.token_hex(16)
        (await client.create("default", slot)).sockets.close()
        await client.destroy(slot)
    assert open_descriptors() <= before


async def test_destroyed_while_it_is_made(client, engine, settings, until):
    """A sandbox that is destroyed while it is made leaves nothing, and its maker is told."""
    engine.gate.clear()
    making = asyncio.create_task(client.create("default", SLOT))
    await until((settings.slots.root / SLOT).exists)
    await client.destroy(SLOT)
    with pytest.raises(BrokerRefused, match="destroyed"):
        await making
    engine.gate.set()
    assert engine.containers == {}
    assert list(settings.slots.root.iterdir()) == []


async def test_deaths_are_told(client, engine, until):
    """The death of a sandbox is told to whoever keeps it, and how it ended."""
    (await client.create("default", SLOT)).sockets.close()
    (name,) = engine.containers
    engine.die(name, 137, oom=True)
    async with asyncio.timeout(2):
        await client.died(SLOT)
    how = await client.exit_of(SLOT)
    assert (how.over, how.exit_code, how.oom_killed) == (True, 137, True)
    assert [one.state for one in await client.sandboxes()] == ["dead"]


async def test_a_death_while_nobody_listened(client, dial, engine, until):
    """What died between two connections is known with the second."""
    (await client.create("default", SLOT)).sockets.close()
    (await client.create("default", OTHER)).sockets.close()
    house, dial.house = dial.house, None
    await dial.end()
    engine.die(f"casemate-{wire.sandbox_of(SLOT)}")
    dial.house = house
    async with asyncio.timeout(2):
        await client.died(SLOT)
    assert not (await client.exit_of(OTHER)).over
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await client.died(OTHER)


async def test_frozen_and_thawed(client, engine):
    """A sandbox is frozen and thawed by its slot, once or twice, and shows as such."""
    (await client.create("default", SLOT)).sockets.close()
    for verb, state in ((client.freeze, "frozen"), (client.thaw, "running")):
        await verb(SLOT)
        await verb(SLOT)
        assert [one.state for one in await client.sandboxes()] == [state]
        assert bool(engine.frozen) == (state == "frozen")


async def test_one_control_plane_at_a_time(client, dial, settings, engine):
    """A second control plane is refused while the first is there, which does not notice."""
    (await client.create("default", SLOT)).sockets.close()
    with pytest.raises(BrokerRefused, match="Another control plane"):
        await BrokerClient(dial, settings.broker, client=US).__aenter__()
    assert len(await client.sandboxes()) == 1
    assert len(engine.containers) == 1


async def test_who_comes_after(dial, settings, engine):
    """When a control plane is gone, another one finds nothing of what was made for it."""
    async with killed_client(dial, settings) as first:
        (await first.create("default", SLOT)).sockets.close()
        assert engine.containers
    async with BrokerClient(dial, settings.broker, client=OTHERS) as second:
        assert await second.sandboxes() == []
        assert engine.containers == {}
        with pytest.raises(BrokerRefused, match="used before"):
            await second.create("default", SLOT)


async def test_gone_for_good(dial, settings, engine, until):
    """What was made for a control plane that does not come back is destroyed after a grace."""
    async with killed_client(dial, settings) as client:
        (await client.create("default", SLOT)).sockets.close()
    assert engine.containers
    await until(lambda: not engine.containers)
    await until(lambda: not list(settings.slots.root.iterdir()))


async def test_back_within_the_grace(client, dial, engine):
    """Who comes back in time finds its sandboxes as they were."""
    (await client.create("default", SLOT)).sockets.close()
    await dial.end()
    await asyncio.sleep(0.3)
    assert [one.state for one in await client.sandboxes()] == ["running"]


async def test_a_removal_that_fails(client, engine):
    """What could not be removed is told, and can be removed later."""
    (await client.create("default", SLOT)).sockets.close()
    engine.refuse_removal = 1
    with pytest.raises(Exception, match="busy"):
        await client.destroy(SLOT)
    await client.destroy(SLOT)
    assert engine.containers == {}


async def test_who_does_not_listen(peer, engine, house, monkeypatch, until):
    """A peer that takes no answers is let go, and holds nobody up."""
    monkeypatch.setattr("orchestrator.sandboxes.broker.conversation.SEND_LIMIT", 0.2)
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(5):
            for n in range(1, 100_000):
                await peer.say({"type": "describe", "n": n})
    await until(lambda: not house._conversations)


async def test_a_broker_that_hangs(settings):
    """A broker that accepts and says nothing is told as such, within the limit."""

    class Mute(LocalBroker):
        found_hung = 0

        async def __call__(self):
            ours, self.theirs = packet_pair()
            return ours

        def hung(self):
            self.found_hung += 1

    mute = Mute()
    with pytest.raises(BrokerTooSlow):
        await BrokerClient(mute, BrokerSettings(connect_limit=0.1), client=US).__aenter__()
    assert mute.found_hung == 1
    mute.theirs.close()


@pytest.mark.parametrize("said", [b"?", b'{"type":"welcome","epoch":"a","more":1}'], ids=repr)
async def test_a_broker_of_another_kind(house, until, said):
    """Who comes back after the broker was replaced by what speaks otherwise says so, and tries
    again until there is one that it understands."""
    dial = LocalBroker(house)
    others = []

    async def dial_another():
        if len(others) == 1:
            ours, theirs = packet_pair()
            others.append(theirs)
            theirs.send(said)
            return ours
        others.append(None)
        return await dial()

    async with BrokerClient(dial_another, BrokerSettings(backoff_first=0.01), client=US) as client:
        client._connection.end()
        await until(lambda: len(others) == 3 and client.problem is None)
        assert (await client.describe()).runtime == "runc"
    others[1].close()
    await dial.end()


async def test_a_broker_that_stops_answering(house, until):
    """When a broker that was there hangs, the connection is given up and made anew."""
    dial = LocalBroker(house)
    settings = BrokerSettings(ping_interval=0.05, ping_limit=0.1, backoff_first=0.01)
    async with BrokerClient(dial, settings, client=US) as client:
        hanging = next(iter(house._conversations))
        hanging._settings = BrokerSettings()
        hanging._answer = never
        await until(lambda: house._conversations and hanging not in house._conversations)
        await until(lambda: client.problem is None)
        assert (await client.describe()).runtime == "runc"
    await dial.end()


async def test_no_broker(settings):
    """Without a broker that is said, after it was waited for."""
    settings = BrokerSettings(connect_limit=0.2)
    with pytest.raises(BrokerUnreachable):
        await BrokerClient(LocalBroker(None), settings, client=US).__aenter__()
