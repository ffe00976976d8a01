"""How much one slot may ask for at once, and all of them together. No input or output."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orchestrator.gateway.refusals import too_many
from orchestrator.gateway.settings import MIB, GatewaySettings

_SMALL_BODY = MIB
"""Bodies up to this are let in even while large ones fill the common budget."""


class RequestRate:
    """A token bucket: `burst` at once, `per_minute` on average."""

    def __init__(
        self, *, per_minute: int, burst: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_minute / 60
        self._burst = burst
        self._now = now
        self._left = float(burst)
        self._at = now()

    def take(self) -> None:
        """Raises Refused."""
        now = self._now()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            wait = max(1, round((1 - self._left) / self._per_second))
            raise too_many("this session sends too many requests.", retry_after=wait)
        self._left -= 1


class Concurrency:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running = 0

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Raises Refused when too many are held."""
        if self._running >= self._limit:
            raise too_many("this session has too many requests under way.", retry_after=1)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1


class BodyBudget:
    """The bytes of request bodies that are held now: of one slot, or of all (the parent)."""

    def __init__(self, limit: int, *, parent: "BodyBudget | None" = None) -> None:
        self._limit = limit
        self._parent = parent
        self.held = 0

    def take(self, size: int) -> None:
        if self.held + size > self._limit:
            raise too_many("too much data is being sent at once.", retry_after=2)
        self.held += size

    def give_back(self, size: int) -> None:
        self.held -= size

    @contextmanager
    def lease(self) -> Iterator["BodyLease"]:
        """What the lease took is given back at the end."""
        lease = BodyLease(self, self._parent)
        try:
            yield lease
        finally:
            lease.end()


class BodyLease:
    """What one body holds. Each `grow` raises Refused where a limit is reached."""

    def __init__(self, own: BodyBudget, common: BodyBudget | None) -> None:
        self._own = own
        self._common = common
        self._size = 0
        self._shared = 0

    def grow(self, size: int) -> None:
        self._own.take(size)
        self._size += size
        if self._common is not None and self._size > _SMALL_BODY:
            self._common.take(self._size - self._shared)
            self._shared = self._size

    def end(self) -> None:
        self._own.give_back(self._size)
        if self._common is not None:
            self._common.give_back(self._shared)


class SlotLimits:
    """The limits of one slot; `common` is what all slots share."""

    def __init__(self, settings: GatewaySettings, *, common: BodyBudget) -> None:
        self.rate = RequestRate(per_minute=settings.requests_per_minute, burst=settings.burst)
        self.concurrency = Concurrency(settings.max_concurrency)
        self.bodies = BodyBudget(settings.slot_body_bytes, parent=common)
