"""A broker in the test's own process: everything of the real one but the process, over real
sockets."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.sandboxes.broker.client import BrokerClient
from orchestrator.sandboxes.broker.keeper import Engine, SandboxKeeper
from orchestrator.sandboxes.broker.packets import PacketSocket, packet_pair
from orchestrator.sandboxes.broker.process import BrokerHouse, opened_broker
from orchestrator.sandboxes.errors import BrokerUnreachable
from orchestrator.sandboxes.settings import SandboxSettings
from orchestrator.sandboxes.slots import Slots
from orchestrator.sessions.ports import ProfileCatalogue


class LocalBroker:
    """A `Dial` to the house it was given last; with none, nobody answers."""

    def __init__(self, house: BrokerHouse | None = None) -> None:
        self.house = house
        self._served: set[asyncio.Task[None]] = set()

    async def __call__(self) -> socket.socket:
        if self.house is None:
            raise BrokerUnreachable("No broker answers.")
        ours, theirs = packet_pair()
        serving = asyncio.create_task(
            self.house.converse(PacketSocket(theirs)), name="local-broker"
        )
        self._served.add(serving)
        serving.add_done_callback(self._served.discard)
        return ours

    def hung(self) -> None:
        """It is in this process: then so are we."""

    async def end(self) -> None:
        """Cut every connection, as if the broker were killed."""
        for serving in list(self._served):
            serving.cancel()
        await asyncio.gather(*self._served, return_exceptions=True)


@asynccontextmanager
async def local_broker(
    settings: SandboxSettings, catalogue: ProfileCatalogue
) -> AsyncIterator[BrokerClient]:
    """A client of a broker on the machine's own Docker."""
    async with opened_broker(settings, catalogue) as house:
        dial = LocalBroker(house)
        async with BrokerClient(dial, settings.broker, client=secrets.token_hex(16)) as client:
            yield client
        await dial.end()


@asynccontextmanager
async def paper_house(
    settings: SandboxSettings, catalogue: ProfileCatalogue, *, engine: Engine
) -> AsyncIterator[BrokerHouse]:
    """A broker on an engine without Docker."""
    with Slots(settings.slots) as slots:
        keeper = SandboxKeeper(
            engine=engine, slots=slots, catalogue=catalogue, most=settings.pool.host_maximum
        )
        house = BrokerHouse(keeper, settings.broker)
        try:
            yield house
        finally:
            await house.close()
            await keeper.close()
