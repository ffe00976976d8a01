"""Carries out the checks behind `/health/ready`, each within a time limit, and remembers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from orchestrator.telemetry.health import (
    CheckResult,
    Health,
    PoolFigures,
    broker_check,
    database_check,
    pool_check,
    summary,
    upstream_check,
)

CHECK_LIMIT = 2.0


class MeasuredPool(Protocol):
    """What of a pool the check reads; `sandboxes.pool_view.PoolView` fits."""

    @property
    def profile(self) -> str: ...
    @property
    def min(self) -> int: ...
    @property
    def ready(self) -> int: ...
    @property
    def claimed(self) -> int: ...
    @property
    def last_error(self) -> str | None: ...


class HealthChecks:
    """`database` asks the database for anything at all; `pools` gives the pools as they are;
    `broker` says why what runs the sandboxes cannot be reached, `upstream` why nothing is sent to
    the model API."""

    def __init__(
        self,
        *,
        database: Callable[[], Awaitable[None]],
        pools: Callable[[], Sequence[MeasuredPool]],
        broker: Callable[[], str | None] = lambda: None,
        upstream: Callable[[], str | None] = lambda: None,
        database_kind: str = "",
    ) -> None:
        self._database_kind = database_kind
        self._database = database
        self._broker = broker
        self._upstream = upstream
        self._pools = pools
        self._reached: set[str] = set()

    async def health(self) -> Health:
        """Never raises."""
        checks = [
            await self._check_database(),
            broker_check(self._broker()),
            upstream_check(self._upstream()),
        ]
        return summary([*checks, *map(self._check_pool, self._pools())])

    async def _check_database(self) -> CheckResult:
        try:
            async with asyncio.timeout(CHECK_LIMIT):
                await self._database()
        except Exception:  # noqa: BLE001  # whatever it is, the database does not answer
            return database_check(answers=False)
        return database_check(answers=True, kind=self._database_kind)

    def _check_pool(self, pool: MeasuredPool) -> CheckResult:
        if pool.ready:
            self._reached.add(pool.profile)
        figures = PoolFigures(
            profile=pool.profile,
            min=pool.min,
            ready=pool.ready,
            claimed=pool.claimed,
            problem=pool.last_error or "",
            reached_ready=pool.profile in self._reached,
        )
        return pool_check(figures)
