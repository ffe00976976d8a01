"""The broker's verbs on real containers, over the real wire."""

import asyncio
import secrets

import aiodocker
import pytest

from orchestrator.protocol.broker import sandbox_of
from orchestrator.protocol.ids import ProfileName, SlotId
from orchestrator.sandboxes.container_spec import violations
from orchestrator.sandboxes.errors import ImageMissing
from orchestrator.testing.local_broker import local_broker

DEFAULT = ProfileName("default")


@pytest.fixture
async def broker(world):
    async with local_broker(world.settings(), world.catalogue) as broker:
        yield broker


@pytest.fixture
async def slot(broker):
    """The slot of a started sandbox, on whose link nobody listens."""
    slot = SlotId(secrets.token_hex(16))
    (await broker.create(DEFAULT, slot)).sockets.close()
    return slot


async def inspected(world, slot):
    return await (await world.docker.containers.get(f"casemate-{sandbox_of(slot)}")).show()


async def test_what_is_made(broker, world, slot):
    """A container is what its profile says and what no sandbox may ever not be."""
    container = await inspected(world, slot)
    asked = {
        **container["Config"],
        "Image": container["Image"],
        "HostConfig": container["HostConfig"],
    }
    assert violations(container, asked=asked) == []
    assert container["HostConfig"]["Binds"] == [f"{world.slots / slot}:/run/agent:ro"]
    assert container["HostConfig"]["Memory"] == world.catalogue.known.resources.memory


async def test_frozen_and_thawed(broker, world, slot):
    """A frozen sandbox stands still and shows as such; thawed it goes on; frozen it can be
    destroyed."""
    for verb, paused, state in (
        (broker.freeze, True, "frozen"),
        (broker.thaw, False, "running"),
        (broker.freeze, True, "frozen"),
    ):
        await verb(slot)
        assert (await inspected(world, slot))["State"]["Paused"] is paused
        assert [one.state for one in await broker.sandboxes()] == [state]
    assert not (await broker.exit_of(slot)).over
    await broker.destroy(slot)
    assert await world.containers() == []
    assert world.slot_directories() == []


async def test_a_death_is_told(broker, world, slot):
    """A container that is killed from outside is told within two seconds, and how it ended."""
    await (await world.docker.containers.get(f"casemate-{sandbox_of(slot)}")).kill()
    async with asyncio.timeout(2):
        await broker.died(slot)
    assert (await broker.exit_of(slot)).exit_code == 137
    await broker.destroy(slot)


async def test_what_a_container_wrote(broker, slot):
    """The last lines of a container can be had while it is there."""
    assert isinstance(await broker.output(slot), list)
    await broker.destroy(slot)
    assert await broker.output(slot) == []


async def test_a_foreign_container(broker, world, slot):
    """A container that the broker did not make is left alone by every verb."""
    foreign = await world.docker.containers.create(
        {"Image": (await inspected(world, slot))["Image"], "Cmd": ["sleep", "60"]},
        name=f"casemate-{sandbox_of(SlotId('c' * 32))}",
    )
    try:
        await broker.destroy(SlotId("c" * 32))
        assert await broker.sweep(everything=True) == 1
        await foreign.show()
        assert await world.containers() == []
    finally:
        await foreign.delete(force=True)
    with pytest.raises(aiodocker.DockerError):
        await foreign.show()


async def test_many_at_once(broker, world):
    """Ten sandboxes are made and destroyed at once, each once, and nothing is left."""
    slots = [SlotId(secrets.token_hex(16)) for _ in range(10)]

    async def use(slot):
        started = await broker.create(DEFAULT, slot)
        started.sockets.close()
        await asyncio.gather(broker.destroy(slot), broker.destroy(slot))

    await asyncio.gather(*map(use, slots))
    assert await broker.sandboxes() == []
    assert await world.containers() == []
    assert world.slot_directories() == []


async def test_no_image(broker, world):
    """Without its image no sandbox is made, and the sentence says what to do."""
    world.catalogue.known = type(world.catalogue.known)(
        name=DEFAULT, title="x", agent=world.catalogue.known.agent, image="casemate-not-built:none"
    )
    with pytest.raises(ImageMissing, match="build it"):
        await broker.create(DEFAULT, SlotId(secrets.token_hex(16)))
    assert world.slot_directories() == []


HOG = ["python3", "-c", "x = bytearray(4 << 30)"]


async def test_out_of_memory_is_told(broker, world, slot):
    """When the kernel kills a program in a sandbox for its memory the engine tells it, each time,
    and the sandbox lives on."""
    container = await world.docker.containers.get(f"casemate-{sandbox_of(slot)}")
    for _ in range(2):
        work = await container.exec(HOG)
        async with work.start() as stream:
            while await stream.read_out() is not None:
                pass
        async with asyncio.timeout(3):
            await broker.ran_out_of_memory(slot)
        await asyncio.sleep(1.1)  # no more is told within a second
    assert not (await broker.exit_of(slot)).over
    assert (await broker.exit_of(slot)).memory_told


async def test_out_of_memory_without_an_event(world, monkeypatch):
    """Where the engine's event does not come, the kernel's counter tells the same."""
    monkeypatch.setattr("orchestrator.sandboxes.engine_events.OUT_OF_MEMORY", "never")
    async with local_broker(world.settings(), world.catalogue) as broker:
        slot = SlotId(secrets.token_hex(16))
        (await broker.create(DEFAULT, slot)).sockets.close()
        container = await world.docker.containers.get(f"casemate-{sandbox_of(slot)}")
        work = await container.exec(HOG)
        async with work.start() as stream:
            while await stream.read_out() is not None:
                pass
        async with asyncio.timeout(5):
            await broker.ran_out_of_memory(slot)


async def test_created_too_late(broker, world):
    """A container that the engine made after nobody waited for it any more is swept, and one that
    is kept is not."""
    kept = SlotId(secrets.token_hex(16))
    (await broker.create(DEFAULT, kept)).sockets.close()
    config = await inspected(world, kept)
    late = await world.docker.containers.create(
        {
            "Image": config["Image"],
            "Cmd": ["sleep", "60"],
            "Labels": config["Config"]["Labels"],
            "HostConfig": {"NetworkMode": "none"},
        },
        name=f"casemate-{sandbox_of(SlotId('d' * 32))}",
    )
    await late.start()
    (world.slots / ("d" * 32)).mkdir()
    assert await broker.sweep() == 1
    assert [one["Id"] for one in await world.containers()] == [config["Id"]]
    assert [one.name for one in world.slot_directories()] == [kept]
    await broker.destroy(kept)
