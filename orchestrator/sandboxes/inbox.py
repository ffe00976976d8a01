"""Events that wait for their session: bounded; whoever fills it waits, so that the sandbox does."""

import asyncio

from orchestrator.sandboxes.arrivals import Arrival

BATCH_EVENTS, BATCH_BYTES = 500, 1 << 20


class Inbox:
    """One writer, one reader."""

    def __init__(self, *, most_events: int, most_bytes: int) -> None:
        self._most_events, self._most_bytes = most_events, most_bytes
        self._waiting: list[Arrival] = []
        self._size = 0
        self._closed = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def size(self) -> int:
        return self._size

    @property
    def full(self) -> bool:
        return not self._room.is_set()

    def put(self, arrivals: list[Arrival]) -> None:
        """After `close` nothing is kept."""
        if self._closed or not arrivals:
            return
        self._waiting.extend(arrivals)
        self._size += sum(len(arrival.body) for arrival in arrivals)
        self._changed.set()
        if len(self._waiting) >= self._most_events or self._size >= self._most_bytes:
            self._room.clear()

    async def room(self) -> None:
        """Returns when more may be put in."""
        await self._room.wait()

    def close(self) -> None:
        """What is in it can still be taken."""
        self._closed = True
        self._changed.set()
        self._room.set()

    async def take(self) -> list[Arrival]:
        """At least one, as many as make a batch; none when it is closed and empty."""
        while not self._waiting and not self._closed:
            self._changed.clear()
            await self._changed.wait()
        count = size = 0
        for arrival in self._waiting[:BATCH_EVENTS]:
            count, size = count + 1, size + len(arrival.body)
            if size >= BATCH_BYTES:
                break
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        self._size -= size
        if len(self._waiting) < self._most_events // 2 and self._size < self._most_bytes // 2:
            self._room.set()
        return taken
