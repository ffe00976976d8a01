"""What goes wrong in a chaos run, each as one function on the run's world."""

import asyncio
import contextlib
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec

from orchestrator.testing.running_casemate import RunningCasemate
from tests.chaos import squeeze, victims
from tests.chaos.player import Player
from tests.chaos.upstream import Road


class World:
    """All that can be harmed."""

    def __init__(self, casemate: RunningCasemate, road: Road, players: list[Player]) -> None:
        self.casemate = casemate
        self.road = road
        self.players = players
        self.restarts = 0

    def victim(self, choose: random.Random) -> str:
        """A sandbox that serves a session now. Raises NoVictim."""
        living = [
            player.view.sandbox_id
            for player in self.players
            if player.view is not None
            and player.view.sandbox_id
            and player.view.state in ("idle", "running", "asking")
        ]
        if not living:
            raise victims.NoVictim("No session has a sandbox now.")
        return choose.choice(sorted(living))


class Fault(msgspec.Struct, frozen=True):
    name: str
    weight: int
    strike: Callable[[World, random.Random], Awaitable[None]]


async def kill_cli(world: World, choose: random.Random) -> None:
    sandbox = world.victim(choose)
    await asyncio.to_thread(lambda: victims.kill(victims.cli_of(sandbox)))


async def kill_shim(world: World, choose: random.Random) -> None:
    sandbox = world.victim(choose)
    await asyncio.to_thread(lambda: victims.kill(victims.shim_of(sandbox)))


async def kill_container(world: World, choose: random.Random) -> None:
    name = victims.container_of(world.victim(choose))
    await asyncio.to_thread(victims.docker, "kill", name)


async def fill_memory(world: World, choose: random.Random) -> None:
    """Until the kernel kills the agent."""
    await asyncio.to_thread(squeeze.overfill, world.victim(choose))


async def shorten_memory(world: World, choose: random.Random) -> None:
    """Until the session is put into another sandbox for it."""
    sandbox = world.victim(choose)
    await asyncio.to_thread(lambda: squeeze.leave(sandbox, part=0.88))


async def pause_container(world: World, choose: random.Random) -> None:
    """As a host that swaps: everything stands still for a while."""
    name = victims.container_of(world.victim(choose))
    await asyncio.to_thread(victims.docker, "pause", name)
    await asyncio.sleep(choose.uniform(0.5, 3.0))
    with contextlib.suppress(victims.NoVictim):
        await asyncio.to_thread(victims.docker, "unpause", name)


async def stall_shim(world: World, choose: random.Random) -> None:
    sandbox = world.victim(choose)
    pid = await asyncio.to_thread(victims.shim_of, sandbox)
    victims.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(choose.uniform(0.5, 3.0))
    with contextlib.suppress(victims.NoVictim):
        victims.kill(pid, signal.SIGCONT)


async def cut_link(world: World, choose: random.Random) -> None:
    sandbox = world.victim(choose)
    await asyncio.to_thread(victims.cut_link, sandbox)


async def cut_browsers(world: World, choose: random.Random) -> None:
    for browser in choose.choice(world.players).browsers:
        await browser.cut()


async def kill_control_plane(world: World, choose: random.Random) -> None:
    """And start it again after a while: what lives is to be adopted."""
    await asyncio.to_thread(lambda: world.casemate.stop(with_signal=signal.SIGKILL))
    await asyncio.sleep(choose.uniform(0, 2.0))
    await asyncio.to_thread(world.casemate.start)
    world.restarts += 1


async def restart_control_plane(world: World, choose: random.Random) -> None:
    """In good order, as an upgrade does."""
    status = await asyncio.to_thread(world.casemate.stop)
    if status != 0:
        raise AssertionError(f"A shutdown in good order ended with {status}.")
    await asyncio.sleep(choose.uniform(0, 1.0))
    await asyncio.to_thread(world.casemate.start)
    world.restarts += 1


async def kill_broker(world: World, _choose: random.Random) -> None:
    victims.kill(world.casemate.broker_pid)


async def cut_upstream(world: World, _choose: random.Random) -> None:
    world.road.cut()


async def close_upstream(world: World, choose: random.Random) -> None:
    await world.road.refuse()
    await asyncio.sleep(choose.uniform(1.0, 6.0))
    await world.road.open()


async def silence_upstream(world: World, choose: random.Random) -> None:
    world.road.state = "silent"
    await asyncio.sleep(choose.uniform(0.5, 4.0))
    world.road.state = "open"


FAULTS = (
    Fault("CLI killed", 4, kill_cli),
    Fault("shim killed", 4, kill_shim),
    Fault("container killed", 4, kill_container),
    Fault("memory full", 2, fill_memory),
    Fault("memory short", 1, shorten_memory),
    Fault("container paused", 2, pause_container),
    Fault("shim stalled", 2, stall_shim),
    Fault("link cut", 4, cut_link),
    Fault("browsers cut", 4, cut_browsers),
    Fault("control plane killed", 2, kill_control_plane),
    Fault("control plane restarted", 1, restart_control_plane),
    Fault("broker killed", 1, kill_broker),
    Fault("upstream cut", 3, cut_upstream),
    Fault("upstream closed", 1, close_upstream),
    Fault("upstream silent", 2, silence_upstream),
)


class Injector:
    """Strikes at random until told to stop: seeded, so that the plan can be repeated."""

    def __init__(self, world: World, *, seed: int, pause: tuple[float, float]) -> None:
        self._world = world
        self._random = random.Random(f"{seed}/faults")
        self._pause = pause
        self.struck: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.plan: list[str] = []
        self._told = asyncio.Event()

    def stop(self) -> None:
        """After the fault that is under way: what it broke is whole again then."""
        self._told.set()

    async def run(self) -> None:
        while not self._told.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._random.uniform(*self._pause)):
                    await self._told.wait()
                    return
            await self.strike_once()

    async def strike_once(self) -> None:
        fault = self._random.choices(FAULTS, [fault.weight for fault in FAULTS])[0]
        choose = random.Random(self._random.random())
        self.plan.append(fault.name)
        try:
            await fault.strike(self._world, choose)
        except (victims.NoVictim, OSError):
            self.missed[fault.name] += 1
        else:
            self.struck[fault.name] += 1
