"""A broker of an installation's own, in its own process, on real Docker: what outlives whom."""

import asyncio
import contextlib
import os
import resource
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from orchestrator.protocol.ids import ProfileName, SlotId
from orchestrator.sandboxes.broker.client import BrokerClient
from orchestrator.sandboxes.errors import BrokerFailure, BrokerTaken, ContainerMissing
from orchestrator.sandboxes.installation import client_of
from orchestrator.sandboxes.settings import BrokerSettings, EngineSettings, SlotSettings
from orchestrator.settings import ServerSettings, Settings
from orchestrator.setup.broker_child import dialled_broker, made_of

DEFAULT = ProfileName("default")
GRACE = 3.0


@pytest.fixture
def settings(world, tmp_path):
    return Settings(
        server=ServerSettings(data_dir=tmp_path / "data"),
        engine=EngineSettings(instance=world.instance),
        slots=SlotSettings(root=world.slots),
        broker=BrokerSettings(grace=GRACE, connect_limit=10, close_limit=20, backoff_first=0.05),
    )


@pytest.fixture
def folder(world):
    return world.slots / world.instance / "broker"


@pytest.fixture(autouse=True)
def tidy(world, folder):
    """Whatever a test did: no broker is left behind."""
    yield
    left = brokers(folder)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(FileNotFoundError):
        for path in [*folder.iterdir(), folder, folder.parent]:
            path.unlink() if path.is_file() or path.is_socket() else path.rmdir()
    assert not left, "a broker was left behind"


def brokers(folder):
    """The processes that were told to listen there."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and bytes(folder) in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


@contextlib.asynccontextmanager
async def control_plane(settings, *, killed=False):
    """One with a broker; `killed`: it ends without a word, like a process that gets SIGKILL."""
    dialling = dialled_broker(settings, environment=os.environ)
    dial = await dialling.__aenter__()
    client = BrokerClient(dial, settings.broker, client=client_of(settings.engine.instance))
    try:
        yield await client.__aenter__(), dial
    finally:
        if killed:
            await client._tasks.close()
            if client._connection is not None:
                client._connection.end()
            dial._unlock()
            if dial._used is not None:
                dial._used.close()
                dial._used = None  # what is left of it here does nothing any more
        else:
            await client.__aexit__(None, None, None)
            await dialling.__aexit__(None, None, None)


async def created(client):
    slot = SlotId(secrets.token_hex(16))
    (await client.create(DEFAULT, slot)).sockets.close()
    return slot


async def test_it_outlives_its_control_plane(settings, folder, world):
    """The next control plane finds the same broker and every sandbox, and gets its sockets again:
    who dialled meanwhile was not refused."""
    async with control_plane(settings, killed=True) as (first, dial):
        slot = await created(first)
        await first.claim(slot)
        pid = dial.pid
    async with control_plane(settings) as (second, dial):
        assert dial.pid == pid
        (survivor,) = await second.sandboxes()
        assert (survivor.slot, survivor.state, survivor.claimed) == (slot, "running", True)
        started = await second.adopt(slot)
        started.sockets.link.setblocking(True)
        started.sockets.link.settimeout(10)
        peer, _ = started.sockets.link.accept()
        assert b"GET /link" in peer.recv(1000)
        peer.close()
        started.sockets.close()
        await (await world.docker.containers.get(f"casemate-{name_of(slot)}")).kill()
        async with asyncio.timeout(3):
            await second.died(slot)
    assert brokers(folder) == []
    assert await world.containers() == []


def name_of(slot):
    from orchestrator.protocol.broker import sandbox_of

    return sandbox_of(slot)


async def test_nobody_comes_back(settings, folder, world, until):
    """A broker whose control plane stays away ends after the grace, with all that it made."""
    async with control_plane(settings, killed=True) as (client, _):
        await created(client)
    await asyncio.sleep(GRACE / 2)
    assert len(brokers(folder)) == 1
    await until(lambda: not brokers(folder), limit=GRACE + 10)
    assert await world.containers() == []
    assert list(folder.glob("*.sock")) == []


async def test_a_good_bye(settings, folder, world):
    """A control plane that ends in good order takes its broker along, at once."""
    async with control_plane(settings) as (client, _):
        await created(client)
        began = time.monotonic()
    assert time.monotonic() - began < GRACE
    assert brokers(folder) == []
    assert await world.containers() == []


async def test_killed_while_it_stops(settings, folder, world, until):
    """A control plane that is killed in the middle of its good-bye leaves nothing, either."""
    async with control_plane(settings, killed=True) as (client, _):
        await created(client)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await client._leave()
    await until(lambda: not brokers(folder), limit=GRACE + 10)
    assert await world.containers() == []


async def test_a_stale_socket(settings, folder, world):
    """The sockets of brokers that were killed are in nobody's way, and a killed broker's sandboxes
    are swept by the next."""
    async with control_plane(settings, killed=True) as (client, dial):
        slot = await created(client)
        os.kill(dial.pid, signal.SIGKILL)
        await dial._used.ended(limit=5)
    assert len(await world.containers()) == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
        other.bind(str(folder / ("0" * 16 + ".sock")))
    async with control_plane(settings) as (client, _):
        assert await client.sandboxes() == []
        assert await world.containers() == []
        with pytest.raises(ContainerMissing):
            await client.adopt(slot)


async def test_a_broker_killed_alone(settings, world, until):
    """A control plane whose broker is killed says that its sandboxes are lost, and has another
    broker, which sweeps them, in a moment."""
    async with control_plane(settings) as (client, dial):
        slot = await created(client)
        first = dial.pid
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(10):
            await client.died(slot)
        assert (await client.exit_of(slot)).broker_lost
        await until(lambda: client.problem is None and dial.pid != first)
        assert await world.containers() == []
        await created(client)


async def test_a_broker_that_hangs(settings, world, until):
    """A broker of our own that does not answer any more is ended, and another one takes its place
    and sweeps what it had made."""
    impatient = replace(settings.broker, ping_interval=0.2, ping_limit=0.5, close_limit=1)
    async with control_plane(replace(settings, broker=impatient)) as (client, dial):
        slot = await created(client)
        hung = dial.pid
        os.kill(hung, signal.SIGSTOP)
        await until(lambda: dial.pid != hung and client.problem is None, limit=20)
        assert (await client.exit_of(slot)).broker_lost
        assert await world.containers() == []
        await created(client)


async def test_a_good_bye_that_is_not_heard(settings, folder, world):
    """A control plane that ends in good order while its connection is broken takes its broker along
    even so, with all that it made."""
    began = time.monotonic()
    async with control_plane(replace(settings, broker=replace(settings.broker, grace=60))) as (
        client,
        _,
    ):
        await created(client)
        await client._tasks.close()
        client._connection.end()
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert brokers(folder) == []
    assert await world.containers() == []


async def test_no_descriptor_left(settings):
    """Where this process has no descriptor left, that is a failure like any other: it is tried
    again."""
    async with control_plane(settings) as (client, dial):
        os.kill(dial.pid, signal.SIGKILL)
        await dial._used.ended(limit=5)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            with pytest.raises(BrokerFailure, match="could not be started"):
                await dial._started()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        async with asyncio.timeout(10):
            while client.problem is not None or not brokers_of(dial):
                await asyncio.sleep(0.05)
        assert (await client.describe()).epoch


def brokers_of(dial):
    return dial.pid is not None and Path(f"/proc/{dial.pid}").exists()


def test_what_it_is_made_of():
    """The sandboxes' seccomp profile is part of it: a broker with another one is none to go on
    with."""
    assert {"agent-seccomp.json", "keeper.py"} <= {path.name for path in made_of()}


async def test_one_of_another_make(settings, folder, world):
    """A broker that was made of other settings is none to go on with: it is ended, with what it
    made, and another one takes its place."""
    async with control_plane(settings, killed=True) as (client, dial):
        await created(client)
        pid = dial.pid
    changed = replace(settings, pool=replace(settings.pool, host_maximum=7))
    async with control_plane(changed) as (client, dial):
        assert dial.pid != pid
        assert brokers(folder) == [dial.pid]
        assert await client.sandboxes() == []
        assert await world.containers() == []


async def test_two_at_once(settings, folder):
    """Of two control planes of one installation only one comes in, and the other says why."""
    impatient = replace(settings, broker=replace(settings.broker, connect_limit=0.3))
    async with control_plane(settings) as (client, _):
        with pytest.raises(BrokerTaken, match="Another Casemate"):
            async with control_plane(impatient):
                pass
        assert (await client.describe()).epoch
        assert len(brokers(folder)) == 1


async def test_started_in_the_moment_of_its_end(settings, folder, world):
    """A control plane that comes when the broker is just ending gets a new one."""
    short = replace(settings, broker=replace(settings.broker, grace=0.2))
    for _ in range(3):
        async with control_plane(short, killed=True) as (client, _):
            await created(client)
        await asyncio.sleep(0.2)
        async with control_plane(short) as (client, _):
            slot = await created(client)
            assert slot in {one.slot for one in await client.sandboxes()}
    assert brokers(folder) == []
    assert await world.containers() == []


async def test_signals_do_not_reach_it(settings):
    """Ctrl-C in the terminal is not for the broker, and one that is told to end does so once its
    control plane is gone."""
    async with control_plane(settings) as (client, dial):
        assert os.getsid(dial.pid) == dial.pid != os.getsid(0)
        os.kill(dial.pid, signal.SIGTERM)
        assert (await client.describe()).runtime in {"runc", "runsc"}


PLANE = """
import asyncio, os, sys
from orchestrator.settings import load_settings
from orchestrator.setup.broker_child import dialled_broker
from orchestrator.sandboxes.broker.client import BrokerClient

async def main():
    settings = load_settings(dict(os.environ))
    async with dialled_broker(settings, environment=os.environ) as dial:
        async with BrokerClient(dial, settings.broker, client="a" * 32):
            print("there", flush=True)
            await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_real_kill(settings, folder, world, until):
    """SIGKILL of the process that started it, and of its whole process group, does not end a broker
    before its grace."""
    environment = {
        "PATH": os.environ["PATH"],
        "CASEMATE_SERVER_DATA_DIR": str(settings.server.data_dir),
        "CASEMATE_ENGINE_INSTANCE": world.instance,
        "CASEMATE_SLOTS_ROOT": str(world.slots),
        "CASEMATE_BROKER_GRACE": str(GRACE),
        "CASEMATE_ENV_FILE": os.devnull,
    }
    plane = subprocess.Popen(
        [sys.executable, "-c", PLANE],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while await asyncio.to_thread(plane.stdout.readline) != b"there\n":
        assert plane.poll() is None
    os.killpg(plane.pid, signal.SIGKILL)
    plane.wait()
    plane.stdout.close()
    (pid,) = brokers(folder)
    assert b"ANTHROPIC" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert (folder.stat().st_mode & 0o777, folder.parent.stat().st_mode & 0o777) == (0o700, 0o700)
    await until(lambda: not brokers(folder), limit=GRACE + 10)
