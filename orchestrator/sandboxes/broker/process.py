"""The broker's process, from its start to its end.

It either serves one inherited connection, and ends with it, or listens on a socket of its own until
it is told to stop. Either way nothing is left when it returns: no container, no slot.
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

    def __init__(self, keeper: SandboxKeeper, settings: BrokerSettings) -> None:
        self._keeper = keeper
        self._settings = settings
        self._tenancy = Tenancy(clear=self._clear, grace=settings.grace)
        self._conversations: set[Conversation] = set()

    async def _clear(self) -> None:
        await self._keeper.sweep(everything=True)

    def _conversation(self, connection: PacketSocket) -> Conversation:
        return Conversation(
            connection, keeper=self._keeper, tenancy=self._tenancy, settings=self._settings
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
        await self._tenancy.close()


async def serve_connection(
    connection: socket.socket, settings: SandboxSettings, catalogue: ProfileCatalogue
) -> None:
    """Serve this one, which is whoever started us, until it ends.

    Signals do not end it: at a shutdown of everything they reach us as well, and the control plane
    still needs us then. Raises SandboxFailure where it cannot start, after telling the other end.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, lambda: None)
    peer = PacketSocket(connection)
    try:
        async with opened_broker(settings, catalogue) as house:
            await house.converse(peer)
    except SandboxFailure as error:
        await farewell(peer, error)
        raise


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
    settings: SandboxSettings, catalogue: ProfileCatalogue
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
            house = BrokerHouse(keeper, settings.broker)
            try:
                yield house
            finally:
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
