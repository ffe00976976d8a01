"""The gateway as the rest of Casemate sees it: slots that are opened, admitted and closed."""

import asyncio
import socket
from types import TracebackType
from typing import Self

import structlog

from orchestrator.gateway.credential import Credential
from orchestrator.gateway.egress.proxy import EgressProxy
from orchestrator.gateway.egress.settings import EgressSettings
from orchestrator.gateway.limits import BodyBudget, SlotLimits
from orchestrator.gateway.model_proxy import ModelProxy
from orchestrator.gateway.notices import GatewayWatcher, Notices
from orchestrator.gateway.settings import GatewaySettings
from orchestrator.gateway.slot import Slot
from orchestrator.gateway.upstream import Upstream
from orchestrator.gateway.upstream_breaker import UpstreamBreaker
from orchestrator.protocol.ids import SessionId, SlotId
from orchestrator.sessions.profiles import Profile

_log = structlog.get_logger(__name__)


class Gateway:
    """Who is calling is known from the socket that was called, never from what was said there.

    An async context manager; leaving it closes what slots are left.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        credential: Credential,
        watcher: GatewayWatcher,
        egress: EgressProxy | None = None,
    ) -> None:
        self._settings = settings
        self._watcher = watcher
        self._upstream = Upstream(settings)
        self._egress = egress or EgressProxy(EgressSettings(), watcher=watcher)
        self._breaker = UpstreamBreaker(settings, on_state=self._tell_state)
        self._proxy = ModelProxy(
            settings, credential=credential, upstream=self._upstream, breaker=self._breaker
        )
        self._bodies = BodyBudget(settings.total_body_bytes)
        self._slots: dict[SlotId, Slot] = {}

    async def __aenter__(self) -> Self:
        await self._upstream.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.gather(*(self.close(slot_id) for slot_id in list(self._slots)))
        await self._upstream.__aexit__(kind, error, trace)

    async def open(
        self, slot_id: SlotId, *, model: socket.socket, egress: socket.socket | None
    ) -> None:
        """Serve the slot's sockets, own them, and refuse everything. Raises OSError."""
        if slot_id in self._slots:
            raise RuntimeError("The slot is open already.")
        limits = SlotLimits(self._settings, common=self._bodies)
        slot = Slot(slot_id, limits=limits, settings=self._settings)
        await slot.listen(model, lambda request: self._proxy.handle(slot, request))
        self._slots[slot_id] = slot
        if egress is not None:
            try:
                await self._egress.open(slot_id, egress)
            except BaseException:
                await self.close(slot_id)
                raise

    @property
    def problem(self) -> str | None:
        """Why nothing is sent to the model API just now; None where that is not so."""
        return self._breaker.problem

    def admit(
        self, slot_id: SlotId, *, session_id: SessionId, profile: Profile, used_tokens: int = 0
    ) -> None:
        """The slot was claimed: from now on its sandbox may do what the profile says, on this
        session's account, of whose budget `used_tokens` are used already. Raises KeyError for a
        slot that is not open, RuntimeError at the second time."""
        notices = Notices(session_id, self._watcher, repeat_silence=self._settings.repeat_silence)
        self._slots[slot_id].admit(
            session_id=session_id, profile=profile, notices=notices, used_tokens=used_tokens
        )
        self._egress.admit(slot_id, session_id=session_id, profile=profile)
        _log.info("gateway_slot.admitted", slot_id=slot_id, session_id=session_id)

    def _tell_state(self, *, is_open: bool, sentence: str, until: str | None) -> None:
        _log.warning("upstream.circuit_changed", is_open=is_open, reason=sentence, until=until)
        self._watcher.upstream_state(is_open=is_open, sentence=sentence, until=until)

    async def close(self, slot_id: SlotId) -> None:
        """Hang up on the slot's sandbox and on what it was waiting for. Idempotent."""
        slot = self._slots.pop(slot_id, None)
        if slot is not None:
            await slot.close()
        await self._egress.close(slot_id)
