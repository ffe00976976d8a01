"""Pool sizes that outlive a restart: what an admin set is kept, and applied at the next start."""

from typing import Protocol

import structlog

from orchestrator.protocol.ids import ProfileName
from orchestrator.sandboxes.errors import BadPoolSize
from orchestrator.sandboxes.pool import Pool
from orchestrator.sandboxes.pool_view import PoolView

_log = structlog.get_logger(__name__)


class PoolSizes(Protocol):
    async def get(self, profile: ProfileName) -> tuple[int, int] | None:
        """Minimum and maximum; none where nobody changed them."""

    async def set(self, profile: ProfileName, *, min_size: int, max_size: int) -> None: ...


class RememberedSizes:
    """The pools as an admin sees and sizes them."""

    def __init__(self, pool: Pool, sizes: PoolSizes) -> None:
        self._pool = pool
        self._sizes = sizes

    def pools(self) -> list[PoolView]:
        return self._pool.pools()

    async def resize(self, profile: ProfileName, *, minimum: int, maximum: int) -> PoolView:
        """Takes effect at once and from the next start on. Raises as `Pool.resize` does."""
        view = await self._pool.resize(profile, minimum=minimum, maximum=maximum)
        await self._sizes.set(profile, min_size=minimum, max_size=maximum)
        return view

    async def restore(self) -> None:
        """Apply what was kept. Sizes that the host's ceiling no longer allows are passed over."""
        for view in self._pool.pools():
            kept = await self._sizes.get(view.profile)
            if kept is None:
                continue
            try:
                await self._pool.resize(view.profile, minimum=kept[0], maximum=kept[1])
            except BadPoolSize:
                _log.warning(
                    "pool.size_not_restored", profile=view.profile, min=kept[0], max=kept[1]
                )
