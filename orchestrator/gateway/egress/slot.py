"""One slot's door to the egress proxy: who it was admitted for, and its limits."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import msgspec
import structlog

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
        self.lookups = asyncio.Semaphore(settings.lookups)
        self._max_connections = settings.max_connections
        self._total = total
        self._admission: EgressAdmission | None = None
        self._server: asyncio.Server | None = None
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

        self._server = await asyncio.start_unix_server(accept, sock=listening, limit=BUFFER)

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
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._admission is not None:
            self._admission.reports.close()
