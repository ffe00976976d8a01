"""One slot's end of the gateway: its socket, whom it was admitted for, its limits."""

import asyncio
import contextlib
import socket

import msgspec
from aiohttp import web

from orchestrator.gateway.connections import Handler, Pace, SlotServer, take_connections
from orchestrator.gateway.limits import SlotLimits
from orchestrator.gateway.notices import Notices
from orchestrator.gateway.refusals import not_admitted
from orchestrator.gateway.settings import GatewaySettings
from orchestrator.gateway.token_budget import TokenBudget
from orchestrator.protocol.ids import SessionId, SlotId
from orchestrator.sessions.profiles import Profile

_CLOSING_TIMEOUT = 0.1


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """The session that the slot was claimed for, and the profile that says what it may do."""

    session_id: SessionId
    profile: Profile
    notices: Notices
    budget: TokenBudget


class Slot:
    def __init__(self, slot_id: SlotId, *, limits: SlotLimits, settings: GatewaySettings) -> None:
        self.slot_id = slot_id
        self.limits = limits
        self._settings = settings
        self._admission: Admission | None = None
        self._listening: socket.socket | None = None
        self._runner: web.ServerRunner | None = None
        self._taking: asyncio.Task[None] | None = None

    def admit(
        self, *, session_id: SessionId, profile: Profile, notices: Notices, used_tokens: int = 0
    ) -> None:
        """Once: a slot is never used twice. `used_tokens`: by the session in earlier sandboxes."""
        if self._admission is not None:
            raise RuntimeError("The slot was admitted before.")
        limit = profile.token_budget
        budget = TokenBudget(
            self._settings.token_budget if limit is None else limit, used=used_tokens
        )
        self._admission = Admission(
            session_id=session_id, profile=profile, notices=notices, budget=budget
        )

    @property
    def admission(self) -> Admission:
        """Raises Refused before the claim."""
        if self._admission is None:
            raise not_admitted()
        return self._admission

    async def listen(self, listening: socket.socket, handler: Handler) -> None:
        """Serve a listening socket, and own it from now on."""
        settings = self._settings
        listening.settimeout(0)
        server = SlotServer(
            handler,
            max_connections=settings.max_connections,
            head_timeout=settings.head_timeout,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=_CLOSING_TIMEOUT)
        await self._runner.setup()
        self._listening = listening
        pace = Pace(per_second=settings.connections_per_second, burst=settings.connection_burst)
        self._taking = asyncio.create_task(
            take_connections(listening, server, pace=pace), name=f"gateway-{self.slot_id}"
        )

    async def close(self) -> None:
        """Ends what is under way, at the upstream too. Idempotent."""
        taking, self._taking = self._taking, None
        if taking is not None:
            taking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await taking
        if self._listening is not None:
            self._listening.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
