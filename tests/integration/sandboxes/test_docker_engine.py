import asyncio
import contextlib
import secrets

import pytest

from orchestrator.protocol.ids import SlotId
from orchestrator.sandboxes.container_spec import container_body, seccomp_profile
from orchestrator.sandboxes.docker_engine import DockerEngine
from orchestrator.sandboxes.errors import (
    ContainerMissing,
    EngineFailure,
    EngineRefused,
    EngineTooSlow,
    EngineUnreachable,
    ImageMissing,
    SpecViolated,
)
from orchestrator.sandboxes.settings import EngineSettings
from orchestrator.sandboxes.slots import Slot


@pytest.fixture
async def engine(world):
    async with DockerEngine(world.settings().engine) as engine:
        yield engine


@pytest.fixture
async def body(world, engine):
    """A container that would be in order, but for its shim, which finds nobody to talk to."""
    name = secrets.token_hex(16)
    (world.slots / name).mkdir()
    slot = Slot(id=SlotId(name), path=world.slots / name, uid=20_001, gid=20_001)
    profile = world.catalogue.known
    yield container_body(
        profile,
        slot=slot,
        image=await engine.image(profile.image),
        host=engine.host,
        owner=engine.owner,
        seccomp=seccomp_profile(),
    )
    (world.slots / name).rmdir()


@pytest.fixture
async def running(engine, body):
    container = await engine.create(body, name=f"casemate-{secrets.token_hex(8)}")
    await engine.start(container)
    yield container
    await engine.remove(container)


async def test_a_death_is_noticed_at_once(engine, running, docker):
    """When a container dies that is known within a fraction of a second, and how it died."""
    async with asyncio.timeout(2):
        await docker.containers.container(running).kill()
        await engine.died(running)
    assert (await engine.exit_of(running)).over


async def test_a_death_that_no_event_told_of(engine, running, docker):
    """A death while the event stream was broken is found by looking."""
    for task in list(engine._tasks._tasks):
        if task.get_name() == "engine-events":
            task.cancel()
            await asyncio.wait([task])
    await docker.containers.container(running).kill()
    async with asyncio.timeout(5):
        await engine.died(running)


async def test_removed_by_somebody_else(engine, running, docker):
    """A container that somebody else removed counts as dead, and can be removed again."""
    await docker.containers.container(running).delete(force=True)
    async with asyncio.timeout(5):
        await engine.died(running)
    assert (await engine.exit_of(running)).over
    await asyncio.gather(engine.remove(running), engine.remove(running))


async def test_what_is_not_as_asked_is_destroyed(engine, body, world):
    """A container that Docker made otherwise than asked is never started, and removed."""
    body["HostConfig"]["PidsLimt"] = 5
    with pytest.raises(SpecViolated, match="PidsLimt"):
        await engine.create(body, name=f"casemate-{secrets.token_hex(8)}")
    assert await world.containers() == []


async def test_who_gives_up_while_it_is_made_leaves_nothing(engine, body, world):
    """The daemon goes on when its caller hangs up: what it makes then is removed all the same."""
    for patience in (0.002, 0.01, 0.03):
        name = f"casemate-{secrets.token_hex(8)}"
        creating = asyncio.create_task(engine.create(body, name=name))
        await asyncio.wait((creating,), timeout=patience)
        creating.cancel()
        await asyncio.gather(creating, return_exceptions=True)
        if not creating.cancelled() and creating.exception() is None:
            await engine.remove(name)
    await asyncio.sleep(1)  # for what the daemon might still be at
    assert await world.containers() == []


async def test_what_docker_refuses(engine, body):
    """What Docker refuses is told with Docker's own words."""
    body["HostConfig"]["Runtime"] = "none-such"
    with pytest.raises(EngineRefused, match="none-such"):
        await engine.create(body, name=f"casemate-{secrets.token_hex(8)}")


async def test_frozen_and_thawed(engine, running, docker):
    """A container is frozen and thawed, twice as once, and a frozen one can be removed."""
    container = docker.containers.container(running)
    for verb, paused in ((engine.freeze, True), (engine.thaw, False), (engine.freeze, True)):
        await verb(running)
        await verb(running)
        assert (await container.show())["State"]["Paused"] is paused
    assert not (await engine.exit_of(running)).over
    await engine.remove(running)
    assert (await engine.exit_of(running)).over
    with pytest.raises(ContainerMissing):
        await engine.freeze(running)


async def test_uids_in_use(engine, running):
    """The uids of running sandboxes are known to every installation on the host."""
    async with DockerEngine(EngineSettings(instance="another")) as other:
        assert 20_001 in await other.uids_in_use()
        assert await other.own() == []


async def test_no_such_image(engine):
    """An image that is not there has an error of its own, which says what to do."""
    with pytest.raises(ImageMissing, match="build it"):
        await engine.image("casemate-none-such:none")


async def test_nobody_there(tmp_path):
    """Without a daemon that is said in a sentence."""
    settings = EngineSettings(url=f"unix://{tmp_path}/none.sock")
    with pytest.raises(EngineUnreachable, match="Docker"):
        await DockerEngine(settings).__aenter__()


async def test_a_daemon_that_does_not_answer(world):
    """A daemon that accepts and never answers costs no more than the limit."""

    async def say_nothing(reader, writer):
        with contextlib.suppress(Exception):
            await reader.read()
        writer.close()

    path = str(world.slots / "mute.sock")
    async with await asyncio.start_unix_server(say_nothing, path):
        engine = DockerEngine(EngineSettings(url=f"unix://{path}", call_limit=0.2))
        with pytest.raises(EngineTooSlow):
            await engine.__aenter__()


async def test_a_runtime_that_is_not_registered(sandbox_image, engine):
    """Asking for gVisor where it is not registered fails, rather than running with less."""
    if engine.host.runtime == "runsc":
        return
    with pytest.raises(EngineFailure, match="runsc"):
        await DockerEngine(EngineSettings(runtime="runsc")).__aenter__()
