"""What the door needs from behind it, as small Protocols. `app.py` says what stands behind them."""

from collections.abc import Sequence
from typing import Protocol

from orchestrator.accounts.audit import AuditFilter, AuditPage, AuditTrail
from orchestrator.protocol.ids import ProfileName


class PoolAdmin(Protocol):
    """Pools, for those who run Casemate. The figures are any object with `PoolView`'s fields."""

    def pools(self) -> Sequence[object]: ...
    async def resize(self, profile: ProfileName, *, minimum: int, maximum: int) -> object:
        """Raises RuleBroken: an unknown profile, sizes that cannot be."""


class AuditSource(AuditTrail, Protocol):
    """The audit log, to be added to and to be read."""

    async def page(self, *, before: int | None, limit: int, matching: AuditFilter) -> AuditPage: ...


class RefusedHostSource(Protocol):
    """Which hosts sandboxes may not reach. The rows are any objects with `RefusalView`'s fields."""

    def rows(self) -> Sequence[object]:
        """Newest first."""

    @property
    def dropped(self) -> int: ...


class HealthSource(Protocol):
    async def health(self) -> object:
        """Any object with `HealthView`'s fields. Never raises."""


class MetricsSource(Protocol):
    def render(self) -> tuple[bytes, str]:
        """The exposition and its content type."""


class DoorWatcher(Protocol):
    """Told what passes. Must neither block nor raise."""

    def http_answered(self, method: str, route: str, status: int, seconds: float) -> None: ...
    def socket_opened(self) -> None: ...
    def socket_closed(self, code: int) -> None: ...
