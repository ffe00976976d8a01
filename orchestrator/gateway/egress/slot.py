"""One slot's door to the egress proxy: who it was admitted for, and its limits."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
import structlog

from orchestrator.gateway.connections import Pace as ConnectionPace
from orchestrator.gateway.connections import take_connections
from orchestrator.gateway.egress.addresses import Address
from orchestrator.gateway.egress.answers import refusal
from orchestrator.gateway.egress.authority import Authority
from orchestrator.gateway.egress.blocked import Blocked, not_admitted, too_many
from orchestrator.gateway.egress.budgets import ByteBudget
from orchestrator.gateway.egress.pace import Pace
from orchestrator.gateway.egress.refusal_reports import RefusalReports
from orchestrator.gateway.egress.settings import EgressSettings
from orchestrator.gateway.egress.streams import BUFFER, SocketStream
from orchestrator.gateway.limits import RequestRate
from orchestrator.gateway.refusals import Refused
from orchestrator.protocol.ids import SessionId, SlotId
from orchestrator.sessions.profiles import Egress

_log = structlog.get_logger(__name__)

Serve = Callable[["EgressSlot", SocketStream], Awaitable[None]]

TAKEN_PER_SECOND, TAKEN_AT_ONCE = 50.0, 200
"""Connections, those that are refused at once included: each costs the control plane some time.
What dials faster waits in the kernel."""


class EgressAdmission(msgspec.Struct, frozen=True, kw_only=True):
    """The session that the slot was claimed for, and what it may reach."""

    session_id: SessionId
    egress: Egress
    budget: ByteBudget
    reports: RefusalReports


class ConnectionCount:
    """Of all slots together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0

    @property
    def is_full(self) -> bool:
        return self._open >= self._limit

    def opened(self) -> None:
        self._open += 1

    def closed(self) -> None:
        self._open -= 1


class EgressSlot:
    """`authority` is the one whose certificate this sandbox was given; None where it got none."""

    def __init__(
        self,
        slot_id: SlotId,
        settings: EgressSettings,
        *,
        total: ConnectionCount,
        authority: Authority | None,
    ) -> None:
        self.slot_id = slot_id
        self.authority = authority
        self.rate = RequestRate(per_minute=settings.connections_per_minute, burst=settings.burst)
        self.pace = Pace(settings.bytes_per_second)
        self._requests = RequestRate(
            per_minute=settings.requests_per_minute, burst=settings.request_burst
        )
        self._lookups = asyncio.Semaphore(settings.lookups)
        self._looking: set[asyncio.Task[list[Address]]] = set()
        self._max_connections = settings.max_connections
        self._total = total
        self._admission: EgressAdmission | None = None
        self._listening: socket.socket | None = None
        self._taking: asyncio.Task[None] | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def admit(self, admission: EgressAdmission) -> None:
        """Once: a slot is never used twice."""
        if self._admission is not None:
            raise RuntimeError("The slot was admitted before.")
        self._admission = admission

    @property
    def admission(self) -> EgressAdmission:
        """Raises Blocked before the claim."""
        if self._admission is None:
            raise not_admitted()
        return self._admission

    async def slow_down(self) -> None:
        """Before a request within a tunnel: those beyond the rate wait."""
        try:
            self._requests.take()
        except Refused as refused:
            await asyncio.sleep(refused.retry_after or 1)

    async def look_up(
        self, resolve: Callable[[str], Coroutine[Any, Any, list[Address]]], host: str
    ) -> list[Address]:
        """A lookup counts until the system is done with it, however soon nobody waits for it any
        more: all slots share its threads. Raises what `resolve` raises; the caller sets a limit."""
        await self._lookups.acquire()
        looking = asyncio.create_task(resolve(host), name="egress-lookup")
        self._looking.add(looking)
        looking.add_done_callback(self._looked_up)
        return await asyncio.shield(looking)

    def _looked_up(self, looking: asyncio.Task[list[Address]]) -> None:
        self._looking.discard(looking)
        self._lookups.release()
        if not looking.cancelled():
            looking.exception()  # nobody may be left to hear it

    def refused(self, blocked: Blocked) -> None:
        """Told to the session, if there is one yet."""
        if self._admission is not None:
            self._admission.reports.refused(blocked)

    async def listen(self, listening: socket.socket, serve: Serve) -> None:
        """Serve a listening socket, and own it from now on. Raises OSError."""

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            stream = SocketStream(reader, writer)
            if self._is_closed:  # accepted in the loop's same turn
                stream.abort()
                return
            if len(self._connections) >= self._max_connections or self._total.is_full:
                self._turn_away(writer)
                return
            self._total.opened()
            task = asyncio.create_task(self._run(serve, stream), name="egress-connection")
            self._connections.add(task)
            task.add_done_callback(lambda done: self._ended(done, stream))

        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.StreamReaderProtocol:
            reader = asyncio.StreamReader(limit=BUFFER, loop=loop)
            return asyncio.StreamReaderProtocol(reader, accept, loop=loop)

        listening.settimeout(0)
        self._listening = listening
        pace = ConnectionPace(per_second=TAKEN_PER_SECOND, burst=TAKEN_AT_ONCE)
        self._taking = asyncio.create_task(
            take_connections(listening, protocol, pace=pace), name=f"gateway-egress-{self.slot_id}"
        )

    def _turn_away(self, writer: asyncio.StreamWriter) -> None:
        blocked = too_many("Too many connections are open at once.")
        self.refused(blocked)
        writer.write(refusal(blocked))
        writer.close()

    async def _run(self, serve: Serve, stream: SocketStream) -> None:
        try:
            await serve(self, stream)
        except Exception:  # noqa: BLE001 - ours: nothing that a sandbox or a host sends may come to this
            _log.exception("egress_connection.failed", slot_id=self.slot_id)

    def _ended(self, task: asyncio.Task[None], stream: SocketStream) -> None:
        """Also of a task that was cancelled before it began."""
        stream.abort()
        self._connections.discard(task)
        self._total.closed()

    async def close(self) -> None:
        """Cut what is open, and tell what is not told yet. Idempotent."""
        self._is_closed = True
        taking, self._taking = self._taking, None
        if taking is not None:
            taking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await taking
        if self._listening is not None:
            self._listening.close()
        tasks = [*self._connections, *self._looking]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._admission is not None:
            self._admission.reports.close()
