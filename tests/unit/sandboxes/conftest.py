"""Sandboxes without Docker: members and a launcher that a test holds in its hand."""

import asyncio
import itertools
import tempfile
from pathlib import Path

import pytest

from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.chat import Ending
from orchestrator.protocol.ids import ProfileName, SandboxId
from orchestrator.sandboxes.errors import StartFailed
from orchestrator.sandboxes.pool import Pool
from orchestrator.sandboxes.settings import PoolSettings
from orchestrator.sessions.errors import UnknownProfile
from orchestrator.sessions.profiles import Profile


class HandMadeMember:
    """A pool's member that lives and dies as the test says."""

    def __init__(self, sandbox_id, profile, version):
        self.id, self.profile, self.version = SandboxId(sandbox_id), profile, version
        self.alive, self.memory_usage, self.memory_limit = True, 1, 2
        self.session = None
        self.ending = None
        self._gone = asyncio.Event()
        self.destroyable = asyncio.Event()
        self.destroyable.set()

    def assign(self, session):
        assert self.session is None, "a sandbox was claimed twice"
        self.session = session

    async def gone(self):
        await self._gone.wait()

    def die(self):
        self.alive = False
        self.ending = Ending(tag="killed", sentence="Killed.")
        self._gone.set()

    async def destroy(self):
        self.alive = False
        await self.destroyable.wait()
        self._gone.set()


class HandMadeLauncher:
    """Launches at once, or when `gate` is set; fails as long as `failure` is set."""

    def __init__(self):
        self.current = "sha256:1"
        self.failure = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.made = []
        self.attempts = self.starting = self.most_starting = self.most_alive = 0
        self.swept = []
        self._numbers = itertools.count(1)

    async def version(self, profile):
        return self.current

    async def launch(self, profile):
        self.attempts += 1
        self.starting += 1
        self.most_starting = max(self.most_starting, self.starting)
        self.most_alive = max(self.most_alive, self.starting + len(self.living))
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            if self.failure is not None:
                raise self.failure
            member = HandMadeMember(f"sb-{next(self._numbers)}", profile, self.current)
            self.made.append(member)
            return member
        finally:
            self.starting -= 1

    @property
    def living(self):
        return [member for member in self.made if not member._gone.is_set()]

    async def sweep(self, *, everything=False):
        self.swept.append(everything)
        return 0


class Catalogue:
    def __init__(self, *profiles):
        self.known = {profile.name: profile for profile in profiles}

    def profile(self, name):
        if name not in self.known:
            raise UnknownProfile
        return self.known[name]

    def profiles(self):
        return list(self.known.values())


async def _until(condition, *, limit=5.0):
    async with asyncio.timeout(limit):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture
def until():
    """Waits for a condition."""
    return _until


@pytest.fixture
def profile():
    return Profile(name=ProfileName("default"), title="Default", agent=AgentSetup(model="m"))


@pytest.fixture
def catalogue(profile):
    return Catalogue(profile)


@pytest.fixture
async def launcher():
    return HandMadeLauncher()


@pytest.fixture
def launcher_type():
    return HandMadeLauncher


@pytest.fixture
def start_failed():
    return StartFailed("The agent could not be connected: no.", tag="agent_failed", output=["no"])


@pytest.fixture
async def pools(catalogue, launcher):
    """Makes pools with the settings given, and closes them."""
    opened = []

    async def make(**settings):
        settings = {
            "tick": 0.02,
            "backoff_first": 0.01,
            "backoff_most": 0.05,
            "refill_pause": 0.0,
        } | settings
        pool = Pool(catalogue=catalogue, launcher=launcher, settings=PoolSettings(**settings))
        opened.append(pool)
        return await pool.__aenter__()

    yield make
    for pool in opened:
        await pool.__aexit__(None, None, None)


@pytest.fixture
def short_directory():
    """A path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="cm-") as path:
        yield Path(path)
