"""The control plane's way to the broker: asks, notices deaths, and stays connected.

When the broker goes away it is dialled again until it is back. A broker that was started anew has
removed what its predecessor kept: those sandboxes then count as dead, and `exit_of` says why. A
broker that was there before us has kept what was made under our name.
"""

import asyncio
import contextlib
import math
import socket
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Protocol, Self, TypeVar

import structlog

from orchestrator.protocol import broker as wire
from orchestrator.protocol.ids import ProfileName, SlotId
from orchestrator.sandboxes.background import BackgroundTasks
from orchestrator.sandboxes.broker.connection import AWAY, BrokerConnection, Reply
from orchestrator.sandboxes.errors import (
    BrokerRefused,
    BrokerTooSlow,
    BrokerUnreachable,
    SandboxFailure,
)
from orchestrator.sandboxes.ports import BrokeredBuild, BrokeredStart, ContainerExit
from orchestrator.sandboxes.settings import BrokerSettings
from orchestrator.sandboxes.sizing import backoff
from orchestrator.sandboxes.slot_sockets import SlotSockets

FIRST_DIAL_REST = 0.1
FIRST_DIALS = 3
"""Brokers that end before they are ready, until it is not tried again: one that is just ending can
be among them."""
LINK_AND_MODEL = 2
"""Sockets that every sandbox has; with egress there is one more."""
MEMORY_NOTICE_FRESH = 10.0
"""Seconds for which a notice that a sandbox ran out of memory explains its end."""
STANDING = ("making", "running", "frozen")

_log = structlog.get_logger(__name__)
_A = TypeVar("_A", bound=wire.Answer)


class Awaited:
    """What is waited for of a sandbox."""

    def __init__(self) -> None:
        self.death = asyncio.Event()
        self.memory = asyncio.Event()
        self.memory_at = -math.inf


class Dial(Protocol):
    """Makes a new connection to the broker, and starts one first where it is ours to start."""

    async def __call__(self) -> socket.socket:
        """Raises BrokerUnreachable where that may pass, and other SandboxFailures."""

    def hung(self) -> None:
        """Who was reached last does not answer: one that is ours is not to be reached again."""


class BrokerClient:
    """The `Broker` that sandboxes are had from. An async context manager: leaving it says good-bye,
    and what was made for us is destroyed.

    `client` is the name under which a broker keeps sandboxes for us: the same after a restart.
    """

    def __init__(self, dial: Dial, settings: BrokerSettings, *, client: str) -> None:
        self._dial = dial
        self._settings = settings
        self._client = client
        self._connection: BrokerConnection | None = None
        self._listening: asyncio.Task[None] | None = None
        self._epoch: str | None = None
        self._awaited: dict[SlotId, Awaited] = {}
        self._lost: set[SlotId] = set()
        self._room = asyncio.Semaphore(max(1, settings.requests // 2))
        self._tasks = BackgroundTasks()
        self.problem: str | None = None
        """Why no sandbox can be made at the moment, in a sentence."""

    async def __aenter__(self) -> Self:
        """Raises SandboxFailure where no broker can be had."""
        await self._connect_at_first()
        self._tasks.start(self._stay_connected(), name="broker-stay-connected")
        self._tasks.start(self._ping(), name="broker-ping")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._leave()
        finally:
            if self._connection is not None:
                self._connection.end()
            await self._tasks.close()

    async def _leave(self) -> None:
        """A broker that does not do it in time destroys everything even so, a little later."""
        with contextlib.suppress(SandboxFailure, TimeoutError):
            async with asyncio.timeout(self._settings.close_limit):
                await self._ask(wire.Leave, wire.Done)

    # --- being connected -------------------------------------------------------------------------

    async def _connect_at_first(self) -> None:
        """A broker of its own may still be starting, or just be ending."""
        deadline = time.monotonic() + self._settings.connect_limit
        dialled = 0
        while True:
            try:
                connection = await self._dial()
                dialled += 1
                return await self._use(connection)
            except BrokerUnreachable:
                if time.monotonic() > deadline or dialled >= FIRST_DIALS:
                    raise
                await asyncio.sleep(FIRST_DIAL_REST)

    async def _use(self, dialled: socket.socket) -> None:
        """Raises SandboxFailure; then it is closed."""
        connection = BrokerConnection(
            dialled, on_death=self._note_death, on_memory=self._note_memory
        )
        try:
            welcome = await connection.greet(self._client, limit=2 * self._settings.connect_limit)
        except BrokerTooSlow:
            self._dial.hung()
            dialled.close()
            raise
        except BaseException:
            dialled.close()
            raise
        self._listening = self._tasks.start(connection.listen(), name="broker-listen")
        try:
            reply = await self._limited(connection, wire.Watch)
        except BaseException:
            connection.end()
            raise
        self._resume(welcome.epoch, _as(reply, wire.Sandboxes))
        self._connection, self.problem = connection, None

    def _resume(self, epoch: str, known: wire.Sandboxes) -> None:
        """Notice what died while nobody told us."""
        standing = {one.slot for one in known.sandboxes if one.state in STANDING}
        if self._epoch not in (None, epoch):
            _log.warning("broker.replaced", sandboxes_lost=len(self._awaited))
            self._lost |= set(self._awaited)
        self._epoch = epoch
        for slot in set(self._awaited) - standing:
            self._note_death(slot)

    async def _stay_connected(self) -> None:
        while True:
            assert self._listening is not None
            await asyncio.wait((self._listening,))
            self._connection, self.problem = None, AWAY
            _log.error("broker.lost")
            await self._reconnect()
            _log.info("broker.found")

    async def _reconnect(self) -> None:
        failures = 0
        while True:
            failures += 1
            rest = backoff(
                failures, first=self._settings.backoff_first, most=self._settings.backoff_most
            )
            await asyncio.sleep(rest)
            try:
                return await self._use(await self._dial())
            except SandboxFailure as error:
                self.problem = error.sentence
                _log.error("broker.not_found", reason=error.sentence)

    async def _ping(self) -> None:
        """A broker that hangs is as good as none."""
        while True:
            await asyncio.sleep(self._settings.ping_interval)
            if (connection := self._connection) is None:
                continue
            try:
                async with asyncio.timeout(self._settings.ping_limit):
                    await connection.ask(wire.Describe)
            except TimeoutError:
                _log.error("broker.hung", limit=self._settings.ping_limit)
                self._dial.hung()
                connection.end()
            except SandboxFailure:
                pass  # the connection ended, which is noticed anyway

    # --- asking ----------------------------------------------------------------------------------

    async def _ask(self, make: Callable[..., wire.AnyRequest], answer: type[_A]) -> _A:
        return _as(await self._limited(self._connected(), make), answer)

    def _connected(self) -> BrokerConnection:
        if self._connection is None:
            raise BrokerUnreachable(self.problem or AWAY)
        return self._connection

    async def _limited(
        self, connection: BrokerConnection, make: Callable[..., wire.AnyRequest]
    ) -> Reply:
        """Fewer at once than the broker takes, so that a ping always finds room."""
        try:
            async with asyncio.timeout(self._settings.call_limit), self._room:
                return await connection.ask(make)
        except TimeoutError as error:
            raise BrokerTooSlow("The broker does not answer in time.") from error

    async def build(self, profile: ProfileName) -> BrokeredBuild:
        found = await self._ask(partial(wire.FindBuild, profile=profile), wire.Build)
        return BrokeredBuild(image=found.image, version=found.version, profile=found.profile)

    async def create(self, profile: ProfileName, slot: SlotId) -> BrokeredStart:
        return await self._started(slot, partial(wire.Create, profile=profile, slot=slot))

    async def adopt(self, slot: SlotId) -> BrokeredStart:
        return await self._started(slot, partial(wire.Adopt, slot=slot))

    async def _started(self, slot: SlotId, make: Callable[..., wire.AnyRequest]) -> BrokeredStart:
        self._awaited[slot] = Awaited()
        reply = await self._limited(self._connected(), make)
        created = _as(reply, wire.Created)
        if len(reply.sockets) != LINK_AND_MODEL + created.egress:  # a full table loses the last
            reply.close()
            raise _nonsense()
        link, model, *egress = reply.sockets
        sockets = SlotSockets(link=link, model=model, egress=egress[0] if egress else None)
        return BrokeredStart(image=created.image, version=created.version, sockets=sockets)

    async def claim(self, slot: SlotId) -> None:
        await self._ask(partial(wire.Claim, slot=slot), wire.Done)

    async def destroy(self, slot: SlotId) -> None:
        await self._ask(partial(wire.Destroy, slot=slot), wire.Done)
        self._note_death(slot)
        self._awaited.pop(slot, None)
        self._lost.discard(slot)

    async def freeze(self, slot: SlotId) -> None:
        await self._ask(partial(wire.Freeze, slot=slot), wire.Done)

    async def thaw(self, slot: SlotId) -> None:
        await self._ask(partial(wire.Thaw, slot=slot), wire.Done)

    async def sandboxes(self) -> list[wire.BrokeredSandbox]:
        """Those that the broker keeps for us. One that is not among them any more is dead, even if
        nobody told us so."""
        before = set(self._awaited)
        found = (await self._ask(wire.ListSandboxes, wire.Sandboxes)).sandboxes
        for slot in before - {one.slot for one in found if one.state in STANDING}:
            self._note_death(slot)
        return found

    async def describe(self) -> wire.Description:
        return await self._ask(wire.Describe, wire.Description)

    async def output(self, slot: SlotId) -> list[str]:
        return (await self._ask(partial(wire.ReadOutput, slot=slot), wire.Output)).lines

    async def exit_of(self, slot: SlotId) -> ContainerExit:
        awaited = self._awaited.get(slot) or Awaited()
        told = time.monotonic() - awaited.memory_at < MEMORY_NOTICE_FRESH
        if slot in self._lost or self._connection is None:
            return ContainerExit(over=True, broker_lost=True, memory_told=told)
        how = await self._ask(partial(wire.ReadExit, slot=slot), wire.Exit)
        return ContainerExit(
            over=how.over,
            exit_code=how.exit_code,
            oom_killed=how.oom_killed,
            engine_away=how.engine_away,
            memory_told=told,
        )

    async def sweep(self, *, everything: bool = False) -> int:
        make = partial(wire.Sweep, everything=everything)
        return (await self._ask(make, wire.Swept)).containers

    async def died(self, slot: SlotId) -> None:
        if (awaited := self._awaited.get(slot)) is not None:
            await awaited.death.wait()

    async def ran_out_of_memory(self, slot: SlotId) -> None:
        awaited = self._awaited.get(slot) or Awaited()
        await awaited.memory.wait()
        awaited.memory.clear()

    def _note_death(self, slot: SlotId) -> None:
        if (awaited := self._awaited.get(slot)) is not None:
            awaited.death.set()

    def _note_memory(self, slot: SlotId) -> None:
        if (awaited := self._awaited.get(slot)) is not None:
            awaited.memory.set()
            awaited.memory_at = time.monotonic()


def _as(reply: Reply, kind: type[_A]) -> _A:
    if not isinstance(reply.answer, kind):
        reply.close()
        raise _nonsense()
    return reply.answer


def _nonsense() -> BrokerRefused:
    return BrokerRefused("The broker answered something else.", tag="broker_malformed")
