"""Real containers of the current image: the real shim, agent and gateway, and a scripted model."""

import asyncio
import json
import secrets
import shutil
import tempfile
from pathlib import Path

import aiodocker
import pytest

from orchestrator.gateway.credential import Credential
from orchestrator.gateway.gateway import Gateway
from orchestrator.gateway.settings import GatewaySettings
from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.ids import ProfileName
from orchestrator.sandboxes.opening import sandbox_pool
from orchestrator.sandboxes.settings import (
    EngineSettings,
    LinkSettings,
    PoolSettings,
    SandboxSettings,
    SlotSettings,
)
from orchestrator.sessions.errors import UnknownProfile
from orchestrator.sessions.profiles import Profile
from orchestrator.testing.local_broker import local_broker
from orchestrator.testing.scripted_model import ScriptedModel

KEY = "sk-ant-the-real-key-of-this-test"


class OneProfile:
    def __init__(self):
        self.known = Profile(
            name=ProfileName("default"), title="Default", agent=AgentSetup(model="claude-opus-5-5")
        )

    def profile(self, name):
        if name != self.known.name:
            raise UnknownProfile
        return self.known

    def profiles(self):
        return [self.known]


class Deaf:
    def metered(self, session_id, metered):
        pass

    def upstream_failed(self, session_id, failed):
        pass

    def upstream_state(self, *, is_open, sentence, until):
        pass


class World:
    """One installation: its settings, and what of it is on the host."""

    def __init__(self, docker, model):
        self.docker = docker
        self.model = model
        self.instance = f"test-{secrets.token_hex(4)}"
        self.slots = Path(tempfile.mkdtemp(prefix="cm-"))
        self.catalogue = OneProfile()

    def settings(self, **pool):
        pool = {"minimum": 1, "maximum": 2, "tick": 0.5, "backoff_first": 0.2} | pool
        return SandboxSettings(
            engine=EngineSettings(instance=self.instance, look_interval=0.5),
            slots=SlotSettings(root=self.slots),
            link=LinkSettings(reconnect_limit=2),
            pool=PoolSettings(**pool),
        )

    def gateway(self):
        return Gateway(
            GatewaySettings(upstream_url=self.model.url),
            credential=Credential.api_key(KEY),
            watcher=Deaf(),
        )

    async def containers(self):
        """Those of this installation, inspected."""
        filters = json.dumps({"label": [f"casemate.instance={self.instance}"]})
        listed = await self.docker.containers.list(all=True, filters=filters)
        return [await one.show() for one in listed]

    async def container_of(self, sandbox):
        return await self.docker.containers.get(f"casemate-{sandbox.id}")

    def slot_directories(self):
        return [entry for entry in self.slots.iterdir() if entry.is_dir()]

    async def processes(self, sandbox):
        """Host pid and command line of everything in a sandbox."""
        container = await self.container_of(sandbox)
        top = await self.docker._query_json(
            f"containers/{container.id}/top", params={"ps_args": "-eo pid,args"}
        )
        return {int(pid): line for pid, line in top["Processes"]}


@pytest.fixture
async def docker():
    async with aiodocker.Docker() as docker:
        yield docker


@pytest.fixture
async def world(sandbox_image, docker):
    async with ScriptedModel(require_key=KEY) as model:
        world = World(docker, model)
        yield world
        left = await world.containers()
        for container in left:
            await docker.containers.container(container["Id"]).delete(force=True)
        slots = world.slot_directories()
        shutil.rmtree(world.slots)
        assert not left, "containers were left behind"
        assert not slots, "slot directories were left behind"


@pytest.fixture
async def pools(world):
    """Opens a pool with the settings given; closed when the test ends."""
    opened = []

    async def make(**settings):
        gateway, chosen = world.gateway(), world.settings(**settings)
        brokered = local_broker(chosen, world.catalogue)
        opened.extend((gateway, brokered))
        await gateway.__aenter__()
        broker = await brokered.__aenter__()
        pool = sandbox_pool(chosen, broker=broker, catalogue=world.catalogue, door=gateway)
        opened.append(pool)
        return await pool.__aenter__()

    yield make
    for context in reversed(opened):
        await context.__aexit__(None, None, None)


@pytest.fixture
async def pool(pools):
    return await pools(minimum=1, maximum=2)


async def _until(condition, *, limit=30.0):
    async with asyncio.timeout(limit):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
def until():
    """Waits for a condition."""
    return _until
