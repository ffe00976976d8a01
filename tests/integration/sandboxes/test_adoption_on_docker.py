"""Real sandboxes that outlive their control plane, in the middle of a turn."""

import asyncio

import pytest

from orchestrator.protocol.commands import AnswerPermission, PermissionDecision, StartTurn
from orchestrator.protocol.ids import ProfileName, SessionId, TurnId
from orchestrator.protocol.sandbox_events import PermissionRequested, ToolFinished, TurnEnded
from orchestrator.sandboxes.broker.client import BrokerClient
from orchestrator.sandboxes.broker.process import opened_broker
from orchestrator.sandboxes.launcher import DockerLauncher
from orchestrator.sandboxes.pool import Pool
from orchestrator.sandboxes.ports import NoObserver
from orchestrator.testing.local_broker import LocalBroker
from orchestrator.testing.sandbox_contract import Listener

US = "1" * 32
DEFAULT = ProfileName("default")


class ControlPlane:
    """One run of it, from the broker's client to the pool. A gateway of its own answers."""

    def __init__(self, dial, world):
        settings = world.settings(minimum=0, maximum=2)
        self.gateway = world.gateway()
        self.client = BrokerClient(dial, settings.broker, client=US)
        self.launcher = DockerLauncher(
            broker=self.client, door=self.gateway, observer=NoObserver(), settings=settings
        )
        self.pool = Pool(catalogue=world.catalogue, launcher=self.launcher, settings=settings.pool)

    async def __aenter__(self):
        for part in (self.gateway, self.client, self.pool):
            await part.__aenter__()
        return self

    async def __aexit__(self, *_):
        for part in (self.pool, self.client, self.gateway):
            await part.__aexit__(None, None, None)

    async def kill(self):
        """Everything of it stops where it is, and its descriptors are closed."""
        await self.pool._tasks.close()
        for pool in self.pool._pools.values():
            await pool._tasks.close()
        for sandbox in self.launcher._made.values():
            await sandbox._tasks.close()
            await sandbox.link.close()
        await self.client._tasks.close()
        self.client._connection.end()
        await self.gateway.__aexit__(None, None, None)


@pytest.fixture
async def dial(world):
    async with opened_broker(world.settings(), world.catalogue) as house:
        dial = LocalBroker(house)
        yield dial
        await dial.end()


async def claim(plane):
    async with asyncio.timeout(60):
        return await plane.pool.claim(DEFAULT, session=SessionId("s"), on_place=lambda _: None)


async def start_turn(sandbox, text, *, turn="t1"):
    await sandbox.send(StartTurn(turn_id=TurnId(turn), text=text))


async def asked_for_bash(sandbox, command):
    """A turn that waits for a permission, and what it waits for."""
    listener = Listener(sandbox)
    await start_turn(sandbox, f"!bash {command}")
    return listener, await listener.first(PermissionRequested)


async def allow(sandbox, asked):
    decision = PermissionDecision(choice="allow", input_hash=asked.input_hash)
    await sandbox.send(AnswerPermission(permission_id=asked.permission_id, decision=decision))


async def killed(first, listener):
    held = listener.heard[-1].n
    listener._task.cancel()
    await first.kill()
    return held


async def adopted(second, sandbox, *, held):
    again = await second.pool.adopt(sandbox.id, session=SessionId("s"), held=held)
    assert again is not None
    await second.pool.release_unadopted()
    return again, Listener(again)


@pytest.mark.parametrize("away", [0.0, 4.0])
async def test_a_turn_outlives_the_control_plane(world, dial, away):
    """A turn that was running when the control plane was killed goes on and ends as if nothing had
    happened, and the next one works: what the agent asked meanwhile was not refused but waited."""
    first = await ControlPlane(dial, world).__aenter__()
    sandbox = await claim(first)
    listener, asked = await asked_for_bash(sandbox, "touch made-by-test; sleep 2")
    await allow(sandbox, asked)
    await asyncio.sleep(0.5)
    held = await killed(first, listener)
    await asyncio.sleep(away)
    async with ControlPlane(dial, world) as second:
        again, after = await adopted(second, sandbox, held=held)
        assert (await after.first(TurnEnded)).outcome == "completed"
        assert not (await after.first(ToolFinished)).is_error
        assert min(received.n for received in after.heard) > held
        after.heard.clear()
        await start_turn(again, "Hello", turn="t2")
        assert (await after.first(TurnEnded)).turn_id == "t2"
        await again.destroy()


async def test_a_question_outlives_the_control_plane(world, dial):
    """A permission that was asked for before the control plane was killed is asked for again, and
    answered to the next one."""
    first = await ControlPlane(dial, world).__aenter__()
    sandbox = await claim(first)
    listener, _ = await asked_for_bash(sandbox, "touch made-by-test")
    held = await killed(first, listener)
    async with ControlPlane(dial, world) as second:
        again, after = await adopted(second, sandbox, held=held)
        await allow(again, await after.first(PermissionRequested))
        assert not (await after.first(ToolFinished)).is_error
        assert (await after.first(TurnEnded)).outcome == "completed"
        await again.destroy()


async def test_a_stream_that_was_cut(world, dial):
    """A model's answer that was cut by the kill comes to an end of some kind: the turn does not
    hang."""
    first = await ControlPlane(dial, world).__aenter__()
    sandbox = await claim(first)
    listener = Listener(sandbox)
    await start_turn(sandbox, "!slow 3")
    await asyncio.sleep(1)
    listener._task.cancel()
    await first.kill()
    async with ControlPlane(dial, world) as second:
        again, after = await adopted(second, sandbox, held=0)
        assert (await after.first(TurnEnded)).turn_id == "t1"
        await again.destroy()


async def test_frozen_at_the_kill(world, dial):
    """A frozen sandbox is thawed, connected again and of use."""
    first = await ControlPlane(dial, world).__aenter__()
    sandbox = await claim(first)
    await sandbox.freeze()
    await first.kill()
    async with ControlPlane(dial, world) as second:
        again, after = await adopted(second, sandbox, held=0)
        await again.freeze()
        await asyncio.sleep(0.5)
        assert again.alive
        await again.thaw()
        await start_turn(again, "Hello")
        assert (await after.first(TurnEnded)).outcome == "completed"
        await again.destroy()
