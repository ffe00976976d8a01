"""Sandboxes that outlive their control plane, from the link up to the pool."""

import asyncio
import contextlib
import json

import pytest
from websockets.asyncio.client import unix_connect
from websockets.exceptions import ConnectionClosed

from orchestrator.protocol.broker import BrokeredSandbox, sandbox_of
from orchestrator.protocol.commands import StartTurn
from orchestrator.sandboxes.broker.client import BrokerClient
from orchestrator.sandboxes.errors import SandboxFailure
from orchestrator.sandboxes.launcher import DockerLauncher
from orchestrator.sandboxes.pool import Pool
from orchestrator.sandboxes.ports import NoObserver
from orchestrator.sandboxes.settings import (
    BrokerSettings,
    LinkSettings,
    PoolSettings,
    SandboxSettings,
    SlotSettings,
)
from orchestrator.sandboxes.shim_link import ShimLink
from orchestrator.sandboxes.slot_sockets import listen
from orchestrator.sessions.errors import SandboxStuck
from orchestrator.testing.local_broker import LocalBroker, paper_house
from orchestrator.testing.paper_engine import PaperEngine

US = "1" * 32
HELLO = {"type": "hello", "protocol": 1, "version": "v1"}
SLOTS = [letter * 32 for letter in "abcdef"]


def text(n):
    return [n, {"type": "text_written", "message_id": "m", "index": 0, "text": f"{n}"}]


def batch(*items, acknowledged=0):
    return {"type": "batch", "items": list(items), "acknowledged": acknowledged}


# --- the link -------------------------------------------------------------------------------------


class Peer:
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
    made = []

    async def make(held, **settings):
        link = ShimLink(settings=LinkSettings(**settings), held=held)
        link.path = short_directory / f"{len(made)}.sock"
        made.append(link)
        await link.open(listen(link.path))
        return link

    yield make
    for link in made:
        await link.close()


@contextlib.asynccontextmanager
async def dialled(link):
    async with unix_connect(str(link.path), close_timeout=0.2) as connection:
        yield Peer(connection)


async def read(link, count):
    got = []
    async with asyncio.timeout(3):
        async for some in link.events():
            got += [received.n for received in some]
            if len(got) >= count:
                break
    return got


async def over(link):
    async with asyncio.timeout(3):
        await link.over()
    return link.violation.tag


async def test_numbers_go_on(links):
    """An adopted link tells what is held, takes the first number above it whichever it is and the
    rest without a gap, and numbers its commands from where its predecessor was."""
    link = await links(40)
    link.claim()
    async with dialled(link) as peer:
        welcome = await peer.greet(received=7)
        assert welcome == {"type": "welcome", "acknowledged": 40, "anew": True}
        await peer.say(batch(text(39), text(40), text(45), text(46), acknowledged=7))
        assert await read(link, 2) == [45, 46]
        link.send(StartTurn(turn_id="t", text="x"))
        assert (await peer.hear())["items"][0][0] == 8
        link.acknowledge(46)
        assert (await peer.hear())["acknowledged"] == 46
        await peer.say(batch(text(48)))
        assert await over(link) == "link_gap"


async def test_anew_until_it_was_heard(links):
    """That the control plane is a new one is said until the shim has shown that it knows."""
    link = await links(0)
    link.claim()
    async with dialled(link) as peer:
        assert (await peer.greet())["anew"]
    async with dialled(link) as peer:
        assert (await peer.greet())["anew"]
        await peer.say(batch(text(3)))
        assert await read(link, 1) == [3]
    async with dialled(link) as peer:
        assert "anew" not in await peer.greet()
        await peer.say(batch(text(3), text(4)))
        assert await read(link, 1) == [4]


async def test_a_link_that_is_not_adopted(links):
    """A link that is followed from its beginning takes no first number but the first."""
    link = await links(None)
    async with dialled(link) as peer:
        assert await peer.greet(received=5) == {"type": "welcome"}
        await peer.say(batch(text(2)))
        assert await over(link) == "link_gap"


@pytest.mark.parametrize("n", [2**49, 2**62, 2**63, 10**30])
async def test_a_number_out_of_the_world(links, n):
    """No sandbox begins with a number that nobody could store."""
    link = await links(5)
    async with dialled(link) as peer:
        await peer.greet()
        await peer.say(batch(text(n)))
        assert await over(link) in {"link_gap", "link_malformed"}


async def test_an_adopted_shim_that_repeats_itself(links):
    """Numbers that fall on one connection end an adopted link like any other."""
    link = await links(5)
    async with dialled(link) as peer:
        await peer.greet()
        await peer.say(batch(text(9), text(8)))
        assert await over(link) == "link_disorder"


async def test_a_frozen_peer_is_not_cut(links, until):
    """A frozen sandbox answers no ping and reads nothing, for as long as it likes; what was sent
    meanwhile comes after the thaw."""
    link = await links(None, ping_interval=0.02, ping_limit=0.05, reconnect_limit=0.05)
    link.claim()
    async with unix_connect(str(link.path), ping_interval=None) as connection:
        peer = Peer(connection)
        await peer.greet()
        link.hold("frozen")
        connection.transport.pause_reading()
        link.send(StartTurn(turn_id="t", text="x"))
        await asyncio.sleep(0.3)
        assert link.alive
        connection.transport.resume_reading()
        link.let_go("frozen")
        assert (await peer.hear())["items"][0][1]["turn_id"] == "t"
        await asyncio.sleep(0.2)
        assert link.alive, "a thawed peer is pinged again"
        connection.transport.pause_reading()
        await until(lambda: not link.alive)


async def test_nothing_before_the_broker_knows(links):
    """What is held back because of the claim goes out in order when it is let go, and once."""
    link = await links(None)
    link.hold("claim")
    link.claim()
    async with dialled(link) as peer:
        await peer.greet()
        for n in range(3):
            link.send(StartTurn(turn_id=f"t{n}", text="x"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await peer.connection.recv()
        link.hold("frozen")
        link.let_go("claim")
        link.let_go("frozen")
        said = await peer.hear()
        assert [item[1]["turn_id"] for item in said["items"]] == ["t0", "t1", "t2"]


# --- sandbox and launcher -------------------------------------------------------------------------


class Door:
    def __init__(self):
        self.open_slots, self.admitted = {}, {}

    async def open(self, slot_id, *, model, egress):
        self.open_slots[slot_id] = (model, egress)

    def admit(self, slot_id, *, session_id, profile, used_tokens=0):
        self.admitted[slot_id] = (session_id, used_tokens)

    async def close(self, slot_id):
        for listening in filter(None, self.open_slots.pop(slot_id, ())):
            listening.close()


class PatientShim:
    """Dials again whenever its link breaks, and keeps what it has seen, like the real one."""

    def __init__(self, **hello):
        self.hello = hello
        self.received, self.turns, self.anew = {}, [], []

    async def __call__(self, path):
        while True:
            with contextlib.suppress(ConnectionClosed, OSError):
                async with unix_connect(path, compression=None, ping_interval=None) as connection:
                    await self._talk(path, connection)
            await asyncio.sleep(0.01)

    async def _talk(self, path, connection):
        hello = HELLO | {"received": self.received.get(path, 0)} | self.hello
        await connection.send(json.dumps(hello))
        self.anew.append(json.loads(await connection.recv()).get("anew", False))
        async for frame in connection:
            for n, command in json.loads(frame).get("items", []):
                self.received[path] = n
                self.turns.append((n, command.get("turn_id")))


@pytest.fixture
async def shim():
    return PatientShim()


@pytest.fixture
async def engine(shim):
    engine = PaperEngine(shim)
    yield engine
    await engine.close()


@pytest.fixture
def settings(short_directory):
    return SandboxSettings(
        slots=SlotSettings(root=short_directory / "slots"),
        broker=BrokerSettings(backoff_first=0.01, connect_limit=2),
        link=LinkSettings(reconnect_limit=1),
        pool=PoolSettings(
            minimum=1,
            maximum=4,
            tick=0.02,
            start_limit=2,
            adopt_limit=0.5,
            refill_pause=0,
            reconcile_interval=0.05,
        ),
    )


@pytest.fixture
async def dial(settings, catalogue, engine):
    async with paper_house(settings, catalogue, engine=engine) as house:
        dial = LocalBroker(house)
        yield dial
        await dial.end()


class ControlPlane:
    """One run of it: everything between broker and rules."""

    def __init__(self, dial, settings, catalogue):
        self.door = Door()
        self.client = BrokerClient(dial, settings.broker, client=US)
        self.launcher = DockerLauncher(
            broker=self.client, door=self.door, observer=NoObserver(), settings=settings
        )
        self.pool = Pool(catalogue=catalogue, launcher=self.launcher, settings=settings.pool)

    async def kill(self):
        """Everything of it stops where it is, and its descriptors are closed."""
        await self.pool._tasks.close()
        for pool in self.pool._pools.values():
            await pool._tasks.close()
        for sandbox in self.launcher._made.values():
            await sandbox._tasks.close()
            await sandbox.link.close()
            await self.door.close(sandbox.slot)
        await self.client._tasks.close()
        self.client._connection.end()


@pytest.fixture
async def planes(dial, settings, catalogue):
    """Control planes, one after the other; all that is not killed is closed at the end."""
    started = []

    async def start():
        plane = ControlPlane(dial, settings, catalogue)
        await plane.client.__aenter__()
        await plane.pool.__aenter__()
        started.append(plane)
        return plane

    yield start
    await started[-1].pool.__aexit__(None, None, None)
    await started[-1].client.__aexit__(None, None, None)


async def claimed(plane, session="s1"):
    async with asyncio.timeout(3):
        return await plane.pool.claim("default", session=session, on_place=lambda _: None)


async def test_a_session_keeps_its_sandbox(planes, engine, shim, until):
    """A session gets its own sandbox back, with its door open and its budget as used as it was;
    commands go on where they were."""
    first = await planes()
    sandbox = await claimed(first)
    await sandbox.send(StartTurn(turn_id="t1", text="x"))
    await until(lambda: (1, "t1") in shim.turns)
    await first.kill()
    second = await planes()
    again = await second.pool.adopt(sandbox.id, session="s1", held=0, used_tokens=99)
    assert again.id == sandbox.id
    assert again.alive
    assert again.is_current
    assert second.door.admitted[sandbox.slot] == ("s1", 99)
    await again.send(StartTurn(turn_id="t2", text="x"))
    await until(lambda: (2, "t2") in shim.turns)
    await second.pool.release_unadopted()
    (view,) = second.pool.pools()
    assert [one.state for one in view.members if one.sandbox_id == sandbox.id] == ["claimed"]


async def test_what_nobody_asked_for(planes, engine, until):
    """Unused sandboxes of an earlier run become spare ones again, and used ones are destroyed: no
    sandbox serves two sessions, whoever was killed in between."""
    first = await planes()
    used = await claimed(first)
    await until(lambda: any(p.counts().ready for p in first.pool._pools.values()))
    (spare,) = {one.id for one in first.launcher._made.values()} - {used.id}
    await until(used.link._outflow._going.is_set)
    await first.kill()
    second = await planes()
    await second.pool.release_unadopted()
    await until(lambda: f"casemate-{used.id}" not in engine.containers)
    await until(lambda: second.pool.pools()[0].ready == 1)
    taken = await claimed(second, "s2")
    assert taken.id == spare


async def test_no_spare_ones_are_made_before(planes, engine, until):
    """Until the sessions have asked for theirs no spare sandbox is made; who waits is served."""
    first = await planes()
    await until(lambda: any(p.counts().ready for p in first.pool._pools.values()))
    await first.kill()
    second = await planes()
    await asyncio.sleep(0.1)
    assert engine.started == 1
    new = await claimed(second, "s9")
    assert engine.started == 2
    assert new.alive
    await second.pool.release_unadopted()
    await until(lambda: any(p.counts().ready for p in second.pool._pools.values()))


async def test_a_frozen_one_is_thawed(planes, engine, until):
    """A sandbox that was frozen when its control plane was killed runs again when it is adopted."""
    first = await planes()
    sandbox = await claimed(first)
    await sandbox.freeze()
    assert engine.frozen
    await first.kill()
    second = await planes()
    assert (await second.pool.adopt(sandbox.id, session="s1", held=0)).alive
    assert not engine.frozen


async def test_one_that_does_not_come_back(planes, engine, shim, until):
    """A sandbox whose shim does not dial again is given up, and the session told that it has
    none."""
    first = await planes()
    sandbox = await claimed(first)
    await first.kill()
    shim.hello = {"version": "another"}
    second = await planes()
    assert await second.pool.adopt(sandbox.id, session="s1", held=0) is None
    assert f"casemate-{sandbox.id}" not in engine.containers


async def test_a_spare_one_that_was_used(planes, engine, shim, until):
    """A sandbox that has had commands is no spare one, even where nobody was told of its claim."""
    first = await planes()
    await until(lambda: any(p.counts().ready for p in first.pool._pools.values()))
    (spare,) = first.launcher._made.values()
    await first.kill()
    shim.hello = {"received": 3}
    second = await planes()
    await second.pool.release_unadopted()
    await until(lambda: f"casemate-{spare.id}" not in engine.containers)


async def test_adopted_once(planes, until):
    """A sandbox is given to one session; whoever asks next gets none."""
    first = await planes()
    sandbox = await claimed(first)
    await first.kill()
    second = await planes()
    both = [second.pool.adopt(sandbox.id, session=session, held=0) for session in ("s1", "s2")]
    got, none = await asyncio.gather(*both)
    assert got.id == sandbox.id
    assert none is None
    assert await second.pool.adopt("sb-unknown", session="s3", held=0) is None


async def test_a_claim_that_died_half_way(planes, engine, until):
    """A sandbox whose claim came to no end, because its control plane was killed in it, serves
    nobody else and does not stay."""
    first = await planes()
    sandbox = await claimed(first, "never-written-down")
    await until(sandbox.link._outflow._going.is_set)
    await first.kill()
    second = await planes()
    await second.pool.release_unadopted()
    await until(lambda: f"casemate-{sandbox.id}" not in engine.containers)


async def test_one_that_nobody_here_knows(planes, engine, until):
    """What the broker keeps for us and nobody here knows is found and destroyed, and what is known
    is left alone."""
    plane = await planes()
    kept = await claimed(plane)
    (await plane.client.create("default", SLOTS[0])).sockets.close()
    stray = f"casemate-{sandbox_of(SLOTS[0])}"
    assert stray in engine.containers
    await until(lambda: stray not in engine.containers)
    assert kept.alive


async def test_a_member_that_the_broker_lost(planes, dial, until):
    """A sandbox that the broker does not keep any more ends here, too, even if nobody told."""
    plane = await planes()
    sandbox = await claimed(plane)
    del dial.house._keeper._kept[sandbox.slot]
    async with asyncio.timeout(3):
        await sandbox.gone()
    assert sandbox.ending is not None


async def test_freezing(planes, engine, until):
    """Frozen and thawed twice is as once; what cannot be frozen says so and is as before."""
    plane = await planes()
    sandbox = await claimed(plane)
    await asyncio.gather(sandbox.freeze(), sandbox.freeze())
    assert len(engine.frozen) == 1
    await asyncio.gather(sandbox.thaw(), sandbox.thaw())
    assert not engine.frozen
    assert sandbox.alive

    async def refuses(_):
        raise SandboxFailure("Docker refused.")

    freeze, engine.freeze = engine.freeze, refuses
    with pytest.raises(SandboxStuck):
        await sandbox.freeze()
    engine.freeze = freeze
    await until(lambda: not sandbox.link._outflow.frozen)
    await sandbox.freeze()
    await sandbox.destroy()
    assert f"casemate-{sandbox.id}" not in engine.containers


class SlowToFreeze:
    """Freezes as asked, and then does not say so."""

    def __init__(self, engine):
        self._freeze, engine.freeze = engine.freeze, self
        self.begun = asyncio.Event()
        self.answered = asyncio.Event()

    async def __call__(self, container_id):
        await self._freeze(container_id)
        self.begun.set()
        await self.answered.wait()


async def test_a_freezing_that_is_broken_off(planes, engine, shim, until):
    """Who freezes a sandbox and does not wait for it has one that goes on: it takes commands."""
    slow = SlowToFreeze(engine)
    plane = await planes()
    sandbox = await claimed(plane)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await sandbox.freeze()
    assert slow.begun.is_set()
    slow.answered.set()
    await until(lambda: not engine.frozen)
    await until(lambda: not sandbox.link._outflow.frozen)
    await sandbox.send(StartTurn(turn_id="t1", text="hello"))
    await until(lambda: [turn for _, turn in shim.turns] == ["t1"])


async def test_a_thaw_that_fails_at_first(planes, engine, until):
    """A sandbox whose freezing failed, and whose thawing does, too, goes on once that can be."""
    plane = await planes()
    sandbox = await claimed(plane)
    freeze, thaw = engine.freeze, engine.thaw

    async def half_way(container_id):
        await freeze(container_id)
        raise SandboxFailure("Docker did not answer.")

    async def refuses(_):
        raise SandboxFailure("Docker is busy.")

    engine.freeze, engine.thaw = half_way, refuses
    with pytest.raises(SandboxStuck):
        await sandbox.freeze()
    engine.thaw = thaw
    await until(lambda: not engine.frozen and not sandbox.link._outflow.frozen)
    assert sandbox.alive


async def test_killed_while_it_froze(planes, engine, until):
    """A control plane that is killed in the middle of freezing a sandbox: the next one finds it
    frozen, thaws it, and has it back."""
    slow = SlowToFreeze(engine)
    first = await planes()
    sandbox = await claimed(first)
    freezing = asyncio.create_task(sandbox.freeze())
    await slow.begun.wait()
    await first.kill()
    freezing.cancel()
    await asyncio.gather(freezing, return_exceptions=True)
    second = await planes()
    assert (await second.pool.adopt(sandbox.id, session="s1", held=0)).alive
    assert not engine.frozen


async def test_it_is_current_until_it_is_not(planes, engine):
    """A sandbox is current until another image or profile is what one would be made of now."""
    plane = await planes()
    sandbox = await claimed(plane)
    assert sandbox.is_current
    plane.launcher._current["default"] = ("sha256:new", sandbox.profile)
    assert not sandbox.is_current


async def test_the_engine_tells_of_memory(planes, engine):
    """That the kernel killed something in a sandbox is told to its session."""
    plane = await planes()
    sandbox = await claimed(plane)
    engine.run_out_of_memory(f"casemate-{sandbox.id}")
    async with asyncio.timeout(2):
        await sandbox.ran_out_of_memory()


# --- the pool alone -------------------------------------------------------------------------------


def survivor(slot, **more):
    fields = {"profile": "default", "state": "running", "claimed": False} | more
    return BrokeredSandbox(slot=slot, **fields)


async def test_survivors_count(pools, launcher):
    """What outlived an earlier run counts towards the ceiling before anybody asked for it."""
    launcher.earlier = [survivor(slot, claimed=True) for slot in SLOTS[:3]]
    pool = await pools(minimum=2, maximum=4, host_maximum=4)
    claims = [
        asyncio.create_task(pool.claim("default", session=f"s{n}", on_place=lambda _: None))
        for n in range(2)
    ]
    await asyncio.sleep(0.1)
    assert len(launcher.living) == 1
    assert sum(claim.done() for claim in claims) == 1
    for claim in claims:
        claim.cancel()
    await asyncio.gather(*claims, return_exceptions=True)


async def test_who_never_asks(pools, launcher, until):
    """Where nobody says that all have asked, it is not waited for without end."""
    launcher.earlier = [survivor(SLOTS[0]), survivor(SLOTS[1], claimed=True)]
    await pools(minimum=1, maximum=2, adopt_wait=0.05)
    await until(lambda: launcher.discarded == [SLOTS[1]])
    await until(lambda: [slot for slot, *_ in launcher.adoptions] == [SLOTS[0]])


@pytest.mark.parametrize("state", ["making", "dead", "leaving"])
async def test_what_does_not_stand(pools, launcher, state):
    """What does not run is not adopted but destroyed."""
    launcher.earlier = [survivor(SLOTS[0], state=state)]
    pool = await pools(minimum=0)
    assert await pool.adopt(sandbox_of(SLOTS[0]), session="s", held=0) is None
    assert launcher.discarded == [SLOTS[0]]
    assert launcher.adoptions == []


async def test_a_profile_that_is_gone(pools, launcher):
    """A sandbox of a profile that there is no more is destroyed."""
    launcher.earlier = [survivor(SLOTS[0], profile="gone")]
    pool = await pools(minimum=0)
    assert await pool.adopt(sandbox_of(SLOTS[0]), session="s", held=0) is None
    assert launcher.discarded == [SLOTS[0]]


async def test_spare_ones_are_given_up(pools, launcher, until):
    """Where memory is short spare sandboxes go, and none is made for a while; who comes is served
    even then, and claimed ones stay."""
    pool = await pools(minimum=3, maximum=6, shed_pause=0.3)
    await until(lambda: pool.pools()[0].ready == 3)
    mine = await pool.claim("default", session="s", on_place=lambda _: None)
    await until(lambda: pool.pools()[0].ready == 3)
    assert pool.shed(2) == 2
    await until(lambda: len(launcher.living) == 2)
    made = len(launcher.made)
    await asyncio.sleep(0.1)
    assert len(launcher.made) == made
    assert pool.pools()[0].ready == 1
    await pool.claim("default", session="s2", on_place=lambda _: None)
    await pool.claim("default", session="s3", on_place=lambda _: None)
    assert pool.shed(9) == 0
    assert mine.alive
    await until(lambda: pool.pools()[0].ready == 3)


async def test_a_claim_that_cannot_be_assigned(pools, launcher, until):
    """A sandbox that cannot be given to who claimed it is nobody's, and goes."""
    pool = await pools(minimum=1, maximum=1)
    await until(lambda: pool.pools()[0].ready == 1)
    (member,) = launcher.living
    member.session = "another"
    with pytest.raises(AssertionError):
        await pool.claim("default", session="s", on_place=lambda _: None)
    await until(lambda: not member.alive and pool.pools()[0].ready == 1)
