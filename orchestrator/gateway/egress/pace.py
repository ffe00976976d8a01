"""How fast a slot's bytes may pass: every one of them costs the control plane's one processor."""

import asyncio
import time


class Pace:
    """Shared by a slot's connections. A second's worth may pass at once."""

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._left = float(bytes_per_second)
        self._at = time.monotonic()

    async def ready(self) -> None:
        """Returns when bytes may pass again. Wait before they are read: a wait after that could be
        cancelled, and they would be lost."""
        self.passed(0)
        while self._left < 0:
            await asyncio.sleep(-self._left / self._rate)
            self.passed(0)

    def passed(self, size: int) -> None:
        now = time.monotonic()
        self._left = min(self._rate, self._left + (now - self._at) * self._rate) - size
        self._at = now
