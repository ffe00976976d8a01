"""The broker's process, from its start to its end.

It listens on a socket. One that an operator started does so until it is told to stop. One that a
control plane started for itself serves that one first, over the connection that it inherited, and
outlives it by a grace: who comes back finds everything as it was. Either way nothing is left when
it returns: no container, no slot.
"""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from orchestrator.sandboxes.broker.conversation import Conversation, farewell
from orchestrator.sandboxes.broker.keeper import SandboxKeeper
from orchestrator.sandboxes.broker.listener import BrokerListener
from orchestrator.sandboxes.broker.packets import PacketSocket
from orchestrator.sandboxes.broker.tenancy import Tenancy
from orchestrator.sandboxes.docker_engine import DockerEngine
from orchestrator.sandboxes.errors import (
    BrokerRefused,
    BrokerUnreachable,
    SandboxFailure,
    SlotsTaken,
)
from orchestrator.sandboxes.settings import BrokerSettings, SandboxSettings
from orchestrator.sandboxes.slots import Slots
from orchestrator.sessions.ports import ProfileCatalogue

SLOTS_RETRY = 0.1
"""Seconds between looks whether the broker before has let go of the slots."""

_log = structlog.get_logger(__name__)


class BrokerHouse:
    """What all connections of a broker share."""

    def __init__(
        self, keeper: SandboxKeeper, settings: BrokerSettings, *, for_one: bool = False
    ) -> None:
        self._keeper = keeper
        self._settings = settings
        self.tenancy = Tenancy(clear=self._clear, grace=settings.grace, for_one=for_one)
        self._conversations: set[Conversation] = set()

    async def _clear(self) -> None:
        await self._keeper.sweep(everything=True)

    def _conversation(self, connection: PacketSocket) -> Conversation:
        return Conversation(
            connection, keeper=self._keeper, tenancy=self.tenancy, settings=self._settings
        )

    async def converse(self, connection: PacketSocket) -> None:
        conversation = self._conversation(connection)
        self._conversations.add(conversation)
        try:
            await conversation.run()
        finally:
            self._conversations.discard(conversation)

    async def refuse(self, connection: PacketSocket) -> None:
        sentence = "This user may not use the broker."
        await farewell(connection, BrokerRefused(sentence, tag="broker_user"))
        connection.close()

    async def close(self) -> None:
        """Tell whoever is connected, and take everything away."""
        why = BrokerUnreachable("The broker is being stopped.")
        await asyncio.gather(*(one.farewell(why) for one in self._conversations))
        await self.tenancy.close()


async def serve_starter(
    connection: socket.socket, path: Path, settings: SandboxSettings, catalogue: ProfileCatalogue
) -> None:
    """Serve whoever started us over this connection, and who comes after over `path`, until they
    say good-bye or stay away for longer than the grace.

    A signal does not end it while a control plane is there: at a shutdown of everything it reaches
    us as well, and the control plane still needs us then. Raises SandboxFailure where it cannot
    start, after telling the other end.
    """
    peer = PacketSocket(connection)
    try:
        async with opened_broker(settings, catalogue, for_one=True) as house:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, house.tenancy.hurry)
            await _serve_starter(peer, path, house)
    except SandboxFailure as error:
        await farewell(peer, error)
        raise


async def _serve_starter(peer: PacketSocket, path: Path, house: BrokerHouse) -> None:
    house.tenancy.expect()
    first = asyncio.create_task(house.converse(peer), name="broker-starter")
    try:
        async with BrokerListener(
            path, client_uid=None, converse=house.converse, refuse=house.refuse
        ):
            await house.tenancy.deserted.wait()
            _log.info("broker.deserted")
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def serve_path(
    path: Path,
    settings: SandboxSettings,
    catalogue: ProfileCatalogue,
    *,
    on_ready: Callable[[], None],
) -> None:
    """Listen there until SIGINT or SIGTERM. Raises SandboxFailure where it cannot start."""
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    async with (
        opened_broker(settings, catalogue) as house,
        BrokerListener(
            path,
            client_uid=settings.broker.client_uid,
            converse=house.converse,
            refuse=house.refuse,
        ),
    ):
        on_ready()
        await told.wait()
        await house.close()


@asynccontextmanager
async def opened_broker(
    settings: SandboxSettings, catalogue: ProfileCatalogue, *, for_one: bool = False
) -> AsyncIterator[BrokerHouse]:
    """A broker without what an earlier one left; afterwards nothing of this one is left either.

    Raises SandboxFailure when there is no Docker engine or no place for slots.
    """
    slots = await _held_slots(settings)
    try:
        async with DockerEngine(settings.engine) as engine:
            keeper = SandboxKeeper(
                engine=engine,
                slots=slots,
                catalogue=catalogue,
                most=settings.pool.host_maximum,
            )
            for weakness in keeper.weaknesses:
                _log.warning("isolation.weakened", reason=weakness)
            await keeper.sweep()
            house = BrokerHouse(keeper, settings.broker, for_one=for_one)
            sweeping = asyncio.create_task(
                keeper.keep_sweeping(interval=settings.broker.sweep_interval), name="broker-sweep"
            )
            try:
                yield house
            finally:
                sweeping.cancel()
                await house.close()
                await _close(keeper, limit=settings.broker.close_limit)
    finally:
        slots.__exit__(None, None, None)


async def _held_slots(settings: SandboxSettings) -> Slots:
    """Waits for a broker before us that is still ending. Raises SlotFailure."""
    deadline = time.monotonic() + settings.broker.connect_limit
    while True:
        try:
            return Slots(settings.slots).__enter__()
        except SlotsTaken:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(SLOTS_RETRY)


async def _close(keeper: SandboxKeeper, *, limit: float) -> None:
    try:
        async with asyncio.timeout(limit):
            await keeper.close()
    except (TimeoutError, SandboxFailure):
        _log.exception("broker.close_failed")
