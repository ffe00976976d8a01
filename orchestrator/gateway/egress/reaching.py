"""From a permitted name to a connection: one lookup, every address vetted, those called and no
others."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import msgspec
import structlog

from orchestrator.gateway.egress import blocked
from orchestrator.gateway.egress.addresses import Address, is_allowed
from orchestrator.gateway.egress.budgets import BudgetSpent
from orchestrator.gateway.egress.network import Network, NotReached, Unresolved
from orchestrator.gateway.egress.passage import Passage
from orchestrator.gateway.egress.settings import EgressSettings
from orchestrator.gateway.egress.slot import EgressSlot
from orchestrator.gateway.egress.streams import SocketStream
from orchestrator.sessions.profiles import EgressRule

MAX_ADDRESSES = 4
"""Of one name, that are tried."""

_log = structlog.get_logger(__name__)


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What all connections share. `trust` verifies hosts that get a secret; `extra_ca` is what
    sandboxes shall trust beside their own list, as PEM."""

    settings: EgressSettings
    network: Network
    trust: ssl.SSLContext
    extra_ca: bytes


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A host and port that a rule allows."""

    host: str
    port: int
    rule: EgressRule


@contextlib.asynccontextmanager
async def passage_to(
    place: Place, *, slot: EgressSlot, around: Surroundings
) -> AsyncIterator[Passage]:
    """Open until the end of the block, logged then. Raises Blocked."""
    budget = slot.admission.budget
    try:
        budget.check()
    except BudgetSpent as spent:
        raise blocked.over_budget(place.host, place.port, spent.direction) from spent
    stream = await _connect(place, await _vetted(place, slot, around), around)
    passage = Passage(
        stream,
        host=place.host,
        port=place.port,
        budget=budget,
        pace=slot.pace,
        settings=around.settings,
    )
    try:
        yield passage
    finally:
        passage.abort()
        _log.info(
            "egress_connection.closed",
            session_id=slot.admission.session_id,
            host=place.host,
            port=place.port,
            bytes_up=passage.up,
            bytes_down=passage.down,
            seconds=passage.seconds,
        )


async def _vetted(place: Place, slot: EgressSlot, around: Surroundings) -> list[Address]:
    """One bad address among good ones condemns them all: a host that is what it should be has
    none."""
    try:
        async with asyncio.timeout(around.settings.connect_timeout):
            addresses = await slot.look_up(around.network.resolve, place.host)
    except (Unresolved, TimeoutError) as error:
        raise blocked.unresolved(place.host, place.port) from error
    if not addresses:
        raise blocked.unresolved(place.host, place.port)
    if not all(is_allowed(address, private=place.rule.private) for address in addresses):
        raise blocked.private_address(place.host, place.port)
    return addresses[:MAX_ADDRESSES]


async def _connect(place: Place, addresses: list[Address], around: Surroundings) -> SocketStream:
    reason = "it took too long"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(around.settings.connect_timeout):
            for address in addresses:
                try:
                    return await around.network.connect(address, place.port)
                except NotReached as error:
                    reason = str(error)
    raise blocked.unreachable(place.host, place.port, reason)
