import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from websockets.asyncio.client import unix_connect

from orchestrator.protocol.commands import StartTurn
from orchestrator.sandboxes.broker.client import BrokerClient
from orchestrator.sandboxes.broker.keeper import SandboxKeeper
from orchestrator.sandboxes.broker.process import BrokerHouse
from orchestrator.sandboxes.container_spec import SLOT
from orchestrator.sandboxes.docker_engine import OwnContainer
from orchestrator.sandboxes.errors import (
    BrokerUnreachable,
    EngineUnreachable,
    ImageMissing,
    SpecViolated,
    StartFailed,
)
from orchestrator.sandboxes.launcher import DockerLauncher
from orchestrator.sandboxes.ports import NoObserver
from orchestrator.sandboxes.settings import (
    BrokerSettings,
    LinkSettings,
    PoolSettings,
    SandboxSettings,
    SlotSettings,
)
from orchestrator.sandboxes.slots import Slots
from orchestrator.sessions.profiles import Egress, EgressRule
from orchestrator.testing.local_broker import LocalBroker, paper_house
from orchestrator.testing.paper_engine import PaperEngine

US = "1" * 32
HELLO = {"type": "hello", "protocol": 1, "version": "v1"}


class Door:
    def __init__(self):
        self.open_slots, self.admitted = {}, {}
        self.fail_close = False

    async def open(self, slot_id, *, model, egress):
        self.open_slots[slot_id] = (model, egress)

    def admit(self, slot_id, *, session_id, profile, used_tokens=0):
        self.admitted[slot_id] = (session_id, profile)

    async def close(self, slot_id):
        for listening in filter(None, self.open_slots.pop(slot_id, ())):
            listening.close()
        if self.fail_close:
            raise RuntimeError("the door is stuck")


async def obedient(socket):
    """Says hello, then runs each turn that it is told to."""
    async with unix_connect(socket, compression=None) as connection:
        await connection.send(json.dumps(HELLO))
        n = 0
        async for text in connection:
            for _, command in json.loads(text).get("items", []):
                n += 1
                ended = {
                    "type": "turn_ended",
                    "turn_id": command["turn_id"],
                    "outcome": "completed",
                }
                await connection.send(json.dumps({"type": "batch", "items": [[n, ended]]}))
        await asyncio.Event().wait()


def saying(first, *frames, go=None, then=None):
    """Says the first frame, the others when `go` is set, then stays or exits with `then`."""

    async def shim(socket):
        async with unix_connect(socket, compression=None) as connection:
            await connection.send(json.dumps(first))
            if go is not None:
                await go.wait()
            for frame in frames:
                await connection.send(json.dumps(frame))
            if then is None:
                await asyncio.Event().wait()
        return then

    return shim


async def silent(socket):
    await asyncio.Event().wait()


async def stillborn(socket):
    return 1


@pytest.fixture
async def engine():
    engine = PaperEngine(obedient)
    yield engine
    await engine.close()


@pytest.fixture
async def door():
    return Door()


@pytest.fixture
def root(short_directory):
    return short_directory / "slots"


@pytest.fixture
def settings(root):
    return SandboxSettings(
        slots=SlotSettings(root=root),
        broker=BrokerSettings(backoff_first=0.01, connect_limit=2),
        link=LinkSettings(reconnect_limit=0.1),
        pool=PoolSettings(start_limit=1.0, destroy_limit=3.0),
    )


@pytest.fixture
async def dial(settings, catalogue, engine):
    """Leads to the broker."""
    async with paper_house(settings, catalogue, engine=engine) as house:
        dial = LocalBroker(house)
        yield dial
        await dial.end()


@pytest.fixture
async def launcher(dial, door, settings):
    async with BrokerClient(dial, settings.broker, client=US) as broker:
        yield DockerLauncher(broker=broker, door=door, observer=NoObserver(), settings=settings)


@pytest.fixture
async def left(engine, door, root):
    return lambda: not nothing_left(engine, door, root)


@pytest.fixture
async def sandbox(launcher, profile):
    sandbox = await launcher.launch(profile)
    yield sandbox
    await sandbox.destroy()


def nothing_left(engine, door, root):
    return not engine.containers and not door.open_slots and not list(root.iterdir())


async def read_all(sandbox):
    async with asyncio.timeout(5):
        return [one async for batch in sandbox.events() for one in batch]


async def test_from_start_to_end(sandbox, engine, door, root):
    """A launched sandbox is alive, serves the session it is assigned to, and leaves nothing."""
    assert sandbox.alive
    assert door.admitted == {}
    sandbox.assign("s1")
    assert door.admitted == {sandbox.slot: ("s1", sandbox.profile)}
    await sandbox.send(StartTurn(turn_id="t1", text="Hello"))
    async with asyncio.timeout(3):
        async for batch in sandbox.events():
            assert batch[0].event.turn_id == "t1"
            break
    await sandbox.destroy()
    assert sandbox.ending.tag == "destroyed"
    assert nothing_left(engine, door, root)


async def test_labels(sandbox, engine):
    """A container's labels say whose it is."""
    (body,) = engine.containers.values()
    assert body["Labels"][SLOT] == sandbox.slot
    assert body["Labels"]["casemate.instance"] == "test"


@pytest.mark.parametrize(
    ("shim", "tag"),
    [
        (saying(HELLO | {"failure": "Not logged in"}), "agent_failed"),
        (saying(HELLO | {"version": "other"}), "version_mismatch"),
        (saying(HELLO | {"protocol": 9}), "link_protocol"),
        (saying({"type": "batch"}), "link_malformed"),
        (stillborn, "start_exited"),
        (silent, "never_ready"),
    ],
)
async def test_what_does_not_become_ready(  # noqa: PLR0917 - fixtures and a case
    launcher, engine, profile, left, shim, tag
):
    """A sandbox that does not become ready is told as such with its last words, and taken away."""
    engine.shim = shim
    with pytest.raises(StartFailed) as failed:
        await launcher.launch(profile)
    assert (failed.value.tag, failed.value.output) == (tag, ["its last words"])
    assert not left()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"missing_image": "casemate-sandbox:current"}, ImageMissing("The image casemate")),
        ({"fail_create": SpecViolated(["PidsLimit is not as asked"])}, SpecViolated(["PidsLimit"])),
        ({"fail_create": EngineUnreachable("The Docker engine cannot be reached.")}, None),
    ],
)
async def test_the_engines_words(  # noqa: PLR0917 - fixtures and a case
    launcher, engine, profile, left, fault, error
):
    """Why the engine failed arrives in the engine's own words, through the broker."""
    for name, value in fault.items():
        setattr(engine, name, value)
    expected = error or fault["fail_create"]
    with pytest.raises(type(expected)) as failed:
        await launcher.launch(profile)
    assert expected.sentence.rstrip(".") in failed.value.sentence
    assert not left()


async def test_egress(launcher, catalogue, engine, door, profile):
    """Only where the profile allows hosts there is a third socket, and the agent is told of it."""
    allowing = Egress(allow=(EgressRule(host="mirror.example.org"),))
    wide = msgspec.structs.replace(profile, egress=allowing)
    for known, expected in ((profile, False), (wide, True)):
        catalogue.known[profile.name] = known
        sandbox = await launcher.launch(known)
        (body,) = engine.containers.values()
        slot = Path(body["HostConfig"]["Binds"][0].split(":")[0])
        assert (slot / "egress.sock").exists() == expected
        assert json.loads((slot / "agent.json").read_bytes()).get("egress", False) == expected
        assert (door.open_slots[sandbox.slot][1] is not None) == expected
        await sandbox.destroy()


async def test_profiles_that_differ(launcher, catalogue, profile, left):
    """Where broker and control plane read different profiles no sandbox is made, and it is said."""
    catalogue.known[profile.name] = msgspec.structs.replace(profile, image="another:one")
    with pytest.raises(StartFailed, match="otherwise"):
        await launcher.launch(profile)
    with pytest.raises(StartFailed, match="same profiles"):
        await launcher.version(profile)
    assert not left()


async def test_a_broker_that_is_replaced(dial, sandbox, settings, catalogue):
    """When the broker is killed, and another one swept what it had made, a session is told that."""
    await dial.end()
    await dial.house.close()
    successor = PaperEngine(obedient, epoch="after")
    keeper = SandboxKeeper(
        engine=successor, slots=Slots(settings.slots), catalogue=catalogue, most=9
    )
    dial.house = BrokerHouse(keeper, settings.broker)
    async with asyncio.timeout(3):
        assert await read_all(sandbox) == []
        await sandbox.gone()
    assert sandbox.ending.tag == "broker_lost"
    assert "restarted" in sandbox.ending.sentence


async def test_a_broker_that_is_away(launcher, dial, profile, sandbox, until):
    """While there is no broker nothing is launched, and it is said why; what lives goes on."""
    house, dial.house = dial.house, None
    await dial.end()
    await until(lambda: launcher._broker.problem is not None)
    with pytest.raises(BrokerUnreachable, match="broker"):
        await launcher.launch(profile)
    assert sandbox.alive
    dial.house = house
    await until(lambda: launcher._broker.problem is None)
    await (await launcher.launch(profile)).destroy()
    assert sandbox.alive


async def test_an_engine_that_fails(launcher, engine, door, root, profile):
    """When the engine fails in the middle of a launch nothing is left."""
    engine.fail_start = EngineUnreachable("gone")
    with pytest.raises(EngineUnreachable):
        await launcher.launch(profile)
    assert nothing_left(engine, door, root)


async def test_a_socket_that_cannot_be_opened(launcher, door, profile, left, monkeypatch):
    """A door that cannot be opened is a failed start like any other."""

    async def stuck(slot_id, *, model, egress):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(door, "open", stuck)
    with pytest.raises(StartFailed, match="Too many open files"):
        await launcher.launch(profile)
    assert not left()


async def test_a_cancelled_launch(launcher, engine, profile, left, until):
    """A launch that is cancelled leaves nothing."""
    engine.shim = silent
    launching = asyncio.create_task(launcher.launch(profile))
    await until(lambda: engine.started)
    launching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launching
    assert not left()


async def test_a_container_that_dies(sandbox, engine, door, root):
    """When its container dies a sandbox ends with the reason and takes slot and door with it."""
    engine.die(next(iter(engine.containers)), 137, oom=True)
    assert await read_all(sandbox) == []
    assert sandbox.ending.tag == "out_of_memory"
    await sandbox.gone()
    assert nothing_left(engine, door, root)


async def test_last_words(launcher, engine, profile):
    """What a sandbox had still said before it died is read before its end is told."""
    said = [[1, {"type": "turn_ended", "turn_id": "t", "outcome": "completed"}]]
    go = asyncio.Event()
    engine.shim = saying(HELLO, {"type": "batch", "items": said}, go=go, then=3)
    sandbox = await launcher.launch(profile)
    go.set()
    assert [received.n for received in await read_all(sandbox)] == [1]
    assert sandbox.ending.tag == "exited"
    await sandbox.gone()


async def test_a_violation_kills_the_container(launcher, engine, door, root, profile):
    """A sandbox that breaks the protocol is killed at once, not only disconnected."""
    go = asyncio.Event()
    engine.shim = saying(HELLO, {"type": "batch", "items": [[7, {}]]}, go=go)
    sandbox = await launcher.launch(profile)
    go.set()
    async with asyncio.timeout(3):
        await sandbox.gone()
    assert sandbox.ending.tag == "link_gap"
    assert nothing_left(engine, door, root)


async def test_a_lost_link(launcher, engine, door, root, profile):
    """A container that lives on without its shim is given up and removed."""

    async def deserter(socket):
        async with unix_connect(socket, compression=None) as connection:
            await connection.send(json.dumps(HELLO))
            await connection.recv()
        await asyncio.Event().wait()

    engine.shim = deserter
    sandbox = await launcher.launch(profile)
    async with asyncio.timeout(3):
        await sandbox.gone()
    assert sandbox.ending.tag == "link_lost"
    assert nothing_left(engine, door, root)


async def test_a_removal_that_fails_is_tried_again(sandbox, engine, door, root):
    """A container that cannot be removed at first is removed in the end, and so is its slot."""
    engine.refuse_removal = 2
    await sandbox.destroy()
    assert nothing_left(engine, door, root)


async def test_a_door_that_fails(sandbox, engine, door, root):
    """A gateway that fails to close a door does not keep container and slot alive."""
    door.fail_close = True
    await sandbox.destroy()
    assert nothing_left(engine, door, root)


async def test_sweeping(launcher, engine, profile):
    """A sweep removes what other runs left, and of this run what nobody keeps; at the end it
    removes everything."""
    sandbox = await launcher.launch(profile)
    engine.left = [
        OwnContainer(id="old", epoch="before", dead=True),
        OwnContainer(id="stray", epoch="now", dead=False),
    ]
    assert await launcher.sweep() == 2
    assert engine.left == []
    assert sandbox.alive
    assert await launcher.sweep(everything=True) == 1
    assert engine.containers == {}
    await sandbox.gone()
