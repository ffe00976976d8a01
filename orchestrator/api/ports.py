"""What the door needs from behind it, as small Protocols. `app.py` says what stands behind them."""

from collections.abc import Sequence
from typing import Protocol

from orchestrator.protocol.ids import ProfileName


class PoolAdmin(Protocol):
    """Pools, for those who run Casemate. The figures are any object with `PoolView`'s fields."""

    def pools(self) -> Sequence[object]: ...
    async def resize(self, profile: ProfileName, *, minimum: int, maximum: int) -> object:
        """Raises RuleBroken: an unknown profile, sizes that cannot be."""


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
