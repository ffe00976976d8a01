"""Sandboxes without Docker: members and a launcher that a test holds in its hand."""

import asyncio
import contextlib
import itertools
import json
import tempfile
from pathlib import Path

import pytest
from shim.transfers import Transfers as ShimTransfers
from websockets.asyncio.client import unix_connect
from websockets.exceptions import ConnectionClosed

from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.broker import sandbox_of
from orchestrator.protocol.chat import Ending
from orchestrator.protocol.commands import OpenTransfer, sandbox_command_codec
from orchestrator.protocol.ids import ProfileName, SandboxId
from orchestrator.sandboxes.errors import StartFailed
from orchestrator.sandboxes.link_workspace import LinkWorkspace
from orchestrator.sandboxes.pool import Pool
from orchestrator.sandboxes.settings import LinkSettings, PoolSettings
from orchestrator.sandboxes.shim_link import ShimLink
from orchestrator.sandboxes.slot_sockets import listen
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

    def assign(self, session, *, used_tokens=0):
        assert self.session is None, "a sandbox was claimed twice"
        self.session, self.used_tokens = session, used_tokens

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
        self.earlier, self.discarded, self.adoptions = [], [], []
        self.adoption_failure = None
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

    async def survivors(self):
        return self.earlier

    async def adopt(self, survivor, profile, *, session, held=0, used_tokens=0):
        self.adoptions.append((survivor.slot, session, held, used_tokens))
        await self.gate.wait()
        if self.adoption_failure is not None:
            raise self.adoption_failure
        member = HandMadeMember(sandbox_of(survivor.slot), profile, self.current)
        if session is not None:
            member.assign(session, used_tokens=used_tokens)
        self.made.append(member)
        return member

    async def discard(self, survivor):
        self.discarded.append(survivor.slot)

    async def reconcile(self, *, spared):
        self.spared = spared
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


class Peer:
    """The sandbox's end: hands each ordered transfer to `carry_out`."""

    def __init__(self, link, path, carry_out):
        self.link, self.path, self.carry_out = link, path, carry_out
        self.ordered = []

    async def run(self):
        async with unix_connect(str(self.path), close_timeout=0.2) as connection:
            await connection.send(json.dumps({"type": "hello", "protocol": 1, "version": "v"}))
            async for frame in connection:
                items = json.loads(frame).get("items", [])
                for n, body in items:
                    command = sandbox_command_codec.decode(json.dumps(body))
                    assert isinstance(command, OpenTransfer)
                    self.ordered.append(command)
                    self.carry_out(command)
                    ack = {"type": "batch", "items": [], "acknowledged": n}
                    await connection.send(json.dumps(ack))


@pytest.fixture
async def peers(short_directory):
    """Makes links with a peer at the other end, and gives the workspace as the rules see it."""
    closing = contextlib.AsyncExitStack()

    async def make(carry_out, **settings):
        link = ShimLink(settings=LinkSettings(**settings))
        path = short_directory / "link.sock"
        await link.open(listen(path))
        closing.push_async_callback(link.close)
        peer = Peer(link, path, carry_out)
        running = asyncio.create_task(peer.run())
        closing.callback(running.cancel)
        await link.greeted()
        link.claim()
        peer.workspace = LinkWorkspace(link.transfers)
        return peer

    async with closing:
        yield make


@pytest.fixture
def asked():
    """Who waits for transcripts in the honest sandbox, by the ids of what they asked."""
    return {}


@pytest.fixture
async def honest(peers, asked, tmp_path, tmp_path_factory, short_directory):
    """The real shim's transfers, on a directory of the test's."""
    shim = ShimTransfers(
        workspace=str(tmp_path),
        home=str(tmp_path_factory.mktemp("home")),
        socket=short_directory / "link.sock",
        transcripts=asked.get,
    )
    yield (await peers(shim.start)).workspace
    await shim.close()


@pytest.fixture
def liar(peers, short_directory):
    """A peer that dials each transfer and says these frames, whatever was asked."""

    async def make(*frames, then=None, **settings):
        tasks = []

        async def lie(order):
            uri = f"ws://x/transfers/{order.transfer_id}"
            with contextlib.suppress(ConnectionClosed, OSError):
                async with unix_connect(
                    str(short_directory / "link.sock"), uri, close_timeout=0.2, compression=None
                ) as connection:
                    for frame in frames:
                        raw = frame if isinstance(frame, str | bytes) else json.dumps(frame)
                        await connection.send(raw)
                    if then is not None:
                        await then(connection)
                    await connection.wait_closed()

        return await peers(lambda order: tasks.append(asyncio.create_task(lie(order))), **settings)

    return make
