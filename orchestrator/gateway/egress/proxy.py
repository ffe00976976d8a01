"""The egress proxy as the gateway sees it: slots that are opened, admitted and closed."""

import asyncio
import socket
import ssl
from collections.abc import Callable

import msgspec
import structlog

from orchestrator.gateway.egress.authority import Authority, upstream_context
from orchestrator.gateway.egress.budgets import SessionBudgets
from orchestrator.gateway.egress.connection import EgressConnection
from orchestrator.gateway.egress.network import Network, SystemNetwork
from orchestrator.gateway.egress.reaching import Surroundings
from orchestrator.gateway.egress.refusal_reports import RefusalReports
from orchestrator.gateway.egress.settings import EgressSettings
from orchestrator.gateway.egress.slot import ConnectionCount, EgressAdmission, EgressSlot
from orchestrator.gateway.egress.streams import SocketStream
from orchestrator.gateway.notices import GatewayWatcher
from orchestrator.protocol.control_events import EgressRefused
from orchestrator.protocol.ids import SessionId, SlotId
from orchestrator.sessions.profiles import Profile

_log = structlog.get_logger(__name__)


class EgressProxy:
    """`injected_hosts` names all hosts that may get a secret, when asked; sandboxes that start then
    trust the proxy for these. `network` is the machine's own unless a test brings another."""

    def __init__(
        self,
        settings: EgressSettings,
        *,
        watcher: GatewayWatcher,
        network: Network | None = None,
        injected_hosts: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self._settings = settings
        self._watcher = watcher
        self._network = network or SystemNetwork()
        self._injected_hosts = injected_hosts
        self._slots: dict[SlotId, EgressSlot] = {}
        self._budgets = SessionBudgets()
        self._total = ConnectionCount(settings.total_connections)
        self._authority: Authority | None = None
        self._surroundings: Surroundings | None = None

    async def open(self, slot_id: SlotId, listening: socket.socket) -> None:
        """Serve the slot's socket, own it, and refuse everything. Raises OSError."""
        around = await self._around()
        slot = EgressSlot(
            slot_id, self._settings, total=self._total, authority=self._current_authority()
        )

        async def serve(of: EgressSlot, stream: SocketStream) -> None:
            await EgressConnection(of, stream, around).serve()

        await slot.listen(listening, serve)
        self._slots[slot_id] = slot

    def admit(self, slot_id: SlotId, *, session_id: SessionId, profile: Profile) -> None:
        """Nothing to do for a slot without egress. Raises RuntimeError at the second time."""
        slot = self._slots.get(slot_id)
        if slot is None:
            return

        def tell(event: EgressRefused) -> None:
            _log.info("egress.refused", session_id=session_id, **msgspec.structs.asdict(event))
            self._watcher.egress_refused(session_id, profile.name, event)

        slot.admit(
            EgressAdmission(
                session_id=session_id,
                egress=profile.egress,
                budget=self._budgets.of(session_id, profile.egress),
                reports=RefusalReports(tell, self._settings),
            )
        )

    async def close(self, slot_id: SlotId) -> None:
        """Idempotent, also for a slot without egress."""
        slot = self._slots.pop(slot_id, None)
        if slot is not None:
            await slot.close()

    def _current_authority(self) -> Authority | None:
        """Made anew when the hosts have changed, and every day."""
        hosts = self._injected_hosts()
        if not hosts:
            return None
        own = self._authority
        if own is None or own.hosts != hosts or not own.is_fresh:
            own = self._authority = Authority(hosts)
        return own

    async def _around(self) -> Surroundings:
        """Reads the certificates once, when the first sandbox with egress starts."""
        if self._surroundings is None:
            trust, extra_ca = await asyncio.to_thread(self._read_certificates)
            self._surroundings = Surroundings(
                settings=self._settings, network=self._network, trust=trust, extra_ca=extra_ca
            )
        return self._surroundings

    def _read_certificates(self) -> tuple[ssl.SSLContext, bytes]:
        ca_bundle = self._settings.ca_bundle
        return upstream_context(ca_bundle), ca_bundle.read_bytes() if ca_bundle else b""
