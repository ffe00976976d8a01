"""Claims that wait for a sandbox: first come, first served, and each knows its place."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog

_log = structlog.get_logger(__name__)
T = TypeVar("T")


class Waiter(Generic[T]):
    def __init__(self, on_place: Callable[[int], None]) -> None:
        self.served: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._on_place = on_place
        self._place: int | None = None

    def tell(self, place: int) -> None:
        if place != self._place:
            self._place = place
            try:
                self._on_place(place)
            except Exception:  # noqa: BLE001 - one waiter's callback must not hold up the others
                _log.exception("waiter.tell_failed", place=place)


class WaitingLine(Generic[T]):
    """Not bounded by itself: whoever lets people in looks at `len` first."""

    def __init__(self) -> None:
        self._waiters: deque[Waiter[T]] = deque()

    def __len__(self) -> int:
        return len(self._waiters)

    def join(self, on_place: Callable[[int], None], *, first: bool = False) -> Waiter[T]:
        """At the end; `first` is for one whose turn it was, and who was served something spoilt."""
        waiter: Waiter[T] = Waiter(on_place)
        if first:
            self._waiters.appendleft(waiter)
        else:
            self._waiters.append(waiter)
        self._tell_places()
        return waiter

    def leave(self, waiter: Waiter[T]) -> None:
        """Also for one that was served and so has left already."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            self._tell_places()

    def serve(self, thing: T) -> bool:
        """Give it to whoever is next; False when nobody waits."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.served.done():
                waiter.served.set_result(thing)
                self._tell_places()
                return True
        return False

    def refuse(self, error: Exception) -> None:
        """Send everybody away."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.served.done():
                waiter.served.set_exception(error)

    def _tell_places(self) -> None:
        for place, waiter in enumerate(self._waiters, start=1):
            waiter.tell(place)
