"""What a broker keeps for a control plane that was killed, for how long, and what it does not."""

import asyncio
import contextlib
import json
import secrets
import socket

import pytest

from orchestrator.protocol import broker as wire
from orchestrator.protocol.broker import sandbox_of
from orchestrator.sandboxes.broker.client import BrokerClient
from orchestrator.sandboxes.broker.keeper import SandboxKeeper
from orchestrator.sandboxes.broker.packets import PacketSocket
from orchestrator.sandboxes.broker.process import BrokerHouse
from orchestrator.sandboxes.broker.tenancy import Tenancy
from orchestrator.sandboxes.docker_engine import OwnContainer
from orchestrator.sandboxes.errors import (
    BrokerRefused,
    BrokerUnreachable,
    ContainerMissing,
    EngineTooSlow,
)
from orchestrator.sandboxes.settings import (
    BrokerSettings,
    PoolSettings,
    SandboxSettings,
    SlotSettings,
)
from orchestrator.sandboxes.slots import Slots
from orchestrator.testing.local_broker import LocalBroker
from orchestrator.testing.paper_engine import PaperEngine

US, OTHERS = "1" * 32, "2" * 32
SLOT, OTHER = "a" * 32, "b" * 32


async def never(_):
    await asyncio.Event().wait()


@pytest.fixture
async def engine():
    engine = PaperEngine(never)
    yield engine
    engine.gate.set()
    await engine.close()


@pytest.fixture
def settings(short_directory):
    return SandboxSettings(
        slots=SlotSettings(root=short_directory / "slots"),
        broker=BrokerSettings(grace=5, connect_limit=1, backoff_first=0.01),
        pool=PoolSettings(host_maximum=4),
    )


@pytest.fixture
async def keeper(settings, catalogue, engine):
    with Slots(settings.slots) as slots:
        keeper = SandboxKeeper(engine=engine, slots=slots, catalogue=catalogue, most=4)
        yield keeper
        engine.refuse_removal = 0
        await keeper.close()


@pytest.fixture
async def dial(keeper, settings):
    house = BrokerHouse(keeper, settings.broker)
    dial = LocalBroker(house)
    yield dial
    await dial.end()
    await house.close()


@contextlib.asynccontextmanager
async def killed(dial, settings, *, client=US):
    """A control plane that is killed at the end: it says no good-bye."""
    one = await BrokerClient(dial, settings.broker, client=client).__aenter__()
    try:
        yield one
    finally:
        await one._tasks.close()
        one._connection.end()


@pytest.fixture
async def client(dial, settings):
    async with BrokerClient(dial, settings.broker, client=US) as client:
        yield client


async def made(client, slot=SLOT):
    (await client.create("default", slot)).sockets.close()


async def test_the_sockets_again(dial, settings, until):
    """A control plane that was started anew gets a sandbox's sockets again; who dialled while
    nobody was there was not refused, and what it said is still to be read."""
    async with killed(dial, settings) as first:
        await made(first)
    with socket.socket(socket.AF_UNIX) as shim:
        shim.connect(str(settings.slots.root / SLOT / "link.sock"))
        shim.sendall(b"Hello?")
        async with killed(dial, settings) as second:
            assert [one.slot for one in await second.sandboxes()] == [SLOT]
            started = await second.adopt(SLOT)
            accepted, _ = started.sockets.link.accept()
            assert accepted.recv(100) == b"Hello?"
            accepted.close()
            started.sockets.close()
            assert started.version == "v1"


async def test_twice_adopted(client):
    """The same sockets can be had as often as it is asked for them; after the end not any more."""
    await made(client)
    for _ in range(3):
        (await client.adopt(SLOT)).sockets.close()
    await client.destroy(SLOT)
    with pytest.raises(ContainerMissing):
        await client.adopt(SLOT)


async def test_a_full_queue_is_bounded(client, settings):
    """A sandbox that dials without end while nobody is there fills a queue of the kernel, and no
    more than that."""
    await made(client)
    dialled, path = [], str(settings.slots.root / SLOT / "link.sock")
    for _ in range(200):
        dialled.append(one := socket.socket(socket.AF_UNIX))
        one.setblocking(False)
        if one.connect_ex(path):
            break
    assert len(dialled) < 100
    for one in dialled:
        one.close()


async def test_only_what_stands_is_adopted(client, engine):
    """What never was, is being made or is dead cannot be adopted."""
    with pytest.raises(ContainerMissing):
        await client.adopt(OTHER)
    await made(client)
    engine.die(f"casemate-{sandbox_of(SLOT)}")
    async with asyncio.timeout(2):
        await client.died(SLOT)
    with pytest.raises(ContainerMissing):
        await client.adopt(SLOT)


async def test_what_was_claimed_stays_claimed(dial, settings):
    """That a sandbox was claimed outlives the control plane that claimed it."""
    async with killed(dial, settings) as first:
        await made(first)
        await made(first, OTHER)
        await first.claim(SLOT)
    async with killed(dial, settings) as second:
        claimed = {one.slot: one.claimed for one in await second.sandboxes()}
        assert claimed == {SLOT: True, OTHER: False}


async def test_claimed_in_the_last_moment(dial, settings, until):
    """A claim that was said before the control plane was killed counts, even if no answer came."""
    async with killed(dial, settings) as first:
        await made(first)
        packet = json.dumps({"type": "claim", "n": 99, "slot": SLOT}).encode()
        first._connection._packets._socket.send(packet)
    async with killed(dial, settings) as second:
        assert [one.claimed for one in await second.sandboxes()] == [True]


async def test_another_name_gets_nothing(dial, settings, engine):
    """Who comes under another name finds nothing, and cannot adopt what was another's."""
    async with killed(dial, settings) as first:
        await made(first)
    async with killed(dial, settings, client=OTHERS) as second:
        with pytest.raises(ContainerMissing):
            await second.adopt(SLOT)
        assert engine.containers == {}


async def test_a_good_bye(dial, settings, engine):
    """Who says good-bye leaves nothing, without any grace."""
    async with BrokerClient(dial, settings.broker, client=US) as client:
        await made(client)
    assert engine.containers == {}
    assert list(settings.slots.root.iterdir()) == []


async def test_memory_is_told(client, engine):
    """That a sandbox ran out of memory is told once each time it is asked for, and explains an end
    that follows at once."""
    await made(client)
    name = f"casemate-{sandbox_of(SLOT)}"
    engine.run_out_of_memory(name)
    async with asyncio.timeout(2):
        await client.ran_out_of_memory(SLOT)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await client.ran_out_of_memory(SLOT)
    assert (await client.exit_of(SLOT)).memory_told


async def test_memory_without_end(client, engine, monkeypatch):
    """A sandbox that runs out of memory without end is told of at a bounded pace."""
    monkeypatch.setattr("orchestrator.sandboxes.broker.keeper.MEMORY_NOTICE_REST", 0.1)
    await made(client)
    told = 0

    async def count():
        nonlocal told
        while True:
            await client.ran_out_of_memory(SLOT)
            told += 1

    counting = asyncio.create_task(count())
    for _ in range(300):
        engine.run_out_of_memory(f"casemate-{sandbox_of(SLOT)}")
        await asyncio.sleep(0.001)
    counting.cancel()
    assert 1 <= told <= 8


async def test_memory_while_nobody_listened(dial, settings, engine, until, keeper):
    """What happened between two control planes is told to the second."""
    async with killed(dial, settings) as first:
        await made(first)
    engine.run_out_of_memory(f"casemate-{sandbox_of(SLOT)}")
    await until(lambda: any(kept.memory_untold for kept in keeper._kept.values()))
    async with killed(dial, settings) as second:
        (await second.adopt(SLOT)).sockets.close()
        async with asyncio.timeout(2):
            await second.ran_out_of_memory(SLOT)


# --- who is waited for ----------------------------------------------------------------------------


class Cleared:
    def __init__(self):
        self.times = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self):
        await self.gate.wait()
        self.times += 1


@pytest.fixture
async def cleared():
    return Cleared()


@pytest.fixture
async def tenancies(cleared):
    opened = []

    def make(**how):
        opened.append(Tenancy(clear=cleared, **{"grace": 0.05, "for_one": True} | how))
        return opened[-1]

    yield make
    for one in opened:
        await one.close()


async def deserted(tenancy):
    async with asyncio.timeout(2):
        await tenancy.deserted.wait()


async def test_nobody_ever_comes(tenancies, cleared):
    """A broker that was started for somebody who never comes ends."""
    tenancy = tenancies()
    tenancy.expect()
    await deserted(tenancy)
    with pytest.raises(BrokerUnreachable):
        await tenancy.enter(US)


async def test_back_in_time(tenancies, cleared):
    """Who is back in time is not waited for any more, however long it then stays."""
    tenancy = tenancies()
    await tenancy.enter(US)
    tenancy.leave()
    await tenancy.enter(US)
    await asyncio.sleep(0.1)
    assert not tenancy.deserted.is_set()
    assert cleared.times == 0


async def test_back_too_late(tenancies, cleared):
    """Who comes while everything is being destroyed is told to find another broker."""
    tenancy = tenancies(grace=0.01)
    cleared.gate.clear()
    await tenancy.enter(US)
    tenancy.leave()
    await asyncio.sleep(0.05)
    late = asyncio.create_task(tenancy.enter(US))
    await asyncio.sleep(0)
    cleared.gate.set()
    with pytest.raises(BrokerUnreachable):
        await late


async def test_told_to_end(tenancies, cleared):
    """Told to end, a broker does so once nobody is connected."""
    tenancy = tenancies(grace=60)
    await tenancy.enter(US)
    tenancy.hurry()
    await asyncio.sleep(0.02)
    assert not tenancy.deserted.is_set()
    tenancy.leave()
    await deserted(tenancy)
    assert cleared.times == 1


async def test_an_operators_broker_stays(tenancies, cleared):
    """A broker that an operator runs clears up after a control plane, and waits for the next."""
    tenancy = tenancies(for_one=False)
    await tenancy.enter(US)
    tenancy.leave(for_good=True)
    await asyncio.sleep(0.1)
    assert cleared.times == 1
    await tenancy.enter(US)


# --- nothing slips away ---------------------------------------------------------------------------


async def test_a_create_that_outlasted_its_limit(client, keeper, engine):
    """A container that the engine made after nobody waited for it any more is found and removed."""
    engine.crash_in_create = EngineTooSlow("The Docker engine does not answer in time.")
    removal = engine.remove

    async def removes_nothing(_):
        pass

    engine.remove = removes_nothing
    with pytest.raises(EngineTooSlow):
        await client.create("default", SLOT)
    engine.remove = removal
    assert len(engine.containers) == 1
    assert await client.sandboxes() == []
    assert await keeper.sweep() == 1
    assert engine.containers == {}


async def test_slots_of_nobody(client, keeper, settings):
    """A slot on disk that nobody keeps is removed; those that are kept stay."""
    await made(client)
    (settings.slots.root / OTHER).mkdir()
    await keeper.sweep()
    assert [one.name for one in settings.slots.root.iterdir()] == [SLOT]


async def test_what_is_being_made_is_never_taken(client, keeper, engine, until):
    """However often it is compared, a sandbox that is being made is not taken for a stray."""
    engine.gate.clear()
    making = [asyncio.create_task(client.create("default", secrets.token_hex(16))) for _ in "123"]
    await until(lambda: len(keeper._kept) == 3)
    sweeping = [asyncio.create_task(keeper.sweep()) for _ in range(20)]
    engine.gate.set()
    for one in await asyncio.gather(*making):
        one.sockets.close()
    await asyncio.gather(*sweeping)
    assert await keeper.sweep() == 0
    assert len(engine.containers) == 3
    assert {one.state for one in await client.sandboxes()} == {"running"}


async def test_a_removal_that_nobody_goes_on_with(client, keeper, engine, until):
    """A sandbox whose removal failed is removed by the next look, if nobody else does it."""
    await made(client)
    engine.refuse_removal = 1
    with pytest.raises(Exception, match="busy"):
        await client.destroy(SLOT)
    await keeper.sweep()
    await until(lambda: not engine.containers and not keeper.sandboxes())


async def test_a_container_that_vanished(client, engine):
    """A sandbox whose container somebody else removed counts as dead."""
    await made(client)
    engine.vanish(f"casemate-{sandbox_of(SLOT)}")
    async with asyncio.timeout(2):
        await client.died(SLOT)


async def test_a_leftover_that_does_not_go(keeper, engine):
    """One leftover that cannot be removed keeps none of the others."""
    engine.left = [OwnContainer(id=f"old-{n}", epoch="before", dead=False) for n in range(3)]
    engine.refuse_removal = 1
    assert await keeper.sweep() == 2
    assert await keeper.sweep() == 1
    assert engine.left == []


async def test_sweeping_goes_on(keeper, engine, until):
    """Strays are looked for again and again, also after the engine did not answer once."""
    own, answers = engine.own, [EngineTooSlow("late")]

    async def failing():
        if answers:
            raise answers.pop()
        return await own()

    engine.own = failing
    engine.left = [OwnContainer(id="old", epoch="before", dead=False)]
    sweeping = asyncio.create_task(keeper.keep_sweeping(interval=0.01))
    await until(lambda: not engine.left)
    sweeping.cancel()


async def test_hostile_adoptions(dial):
    """An adoption, a claim or a good-bye that says more than it may ends the connection."""
    for message in (
        {"type": "adopt", "n": 1, "slot": SLOT, "profile": "default"},
        {"type": "adopt", "n": 1, "slot": "../x"},
        {"type": "claim", "n": 1, "slot": SLOT, "session": "s"},
        {"type": "claim", "n": 1},
        {"type": "leave", "n": 1, "everything": True},
    ):
        peer = PacketSocket(await dial())
        hello = {"type": "hello", "protocol": wire.BROKER_PROTOCOL, "client": US}
        await peer.send(json.dumps(hello).encode())
        await peer.send(json.dumps(message).encode())
        said = []
        async with asyncio.timeout(3):
            while (packet := await peer.receive(most_bytes=9999)) is not None:
                said.append(json.loads(packet.body))
        peer.close()
        assert said[-1]["tag"] == "broker_malformed"


async def test_one_at_a_time_even_with_one_name(dial, settings):
    """A second control plane of the same name is refused while the first is there."""
    async with killed(dial, settings):
        with pytest.raises(BrokerRefused, match="Another control plane"):
            await BrokerClient(dial, settings.broker, client=US).__aenter__()
