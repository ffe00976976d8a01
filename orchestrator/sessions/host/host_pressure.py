"""Keeps memory of the machine free: what nobody uses is given up before the kernel has to choose.

First spare sandboxes, then the sandbox of the idle session that was used least recently, one at a
time: giving one up takes a while to show, and the next look tells whether it was enough.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from orchestrator.sessions.ports import HostMemory, SandboxPool

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
RELIEF = 1.25
"""Once memory was short, it is short until so many times the reserve are available: a session that
wakes must not be the next one to be given up."""
SHED_AT_ONCE = 2
SESSION_SECONDS = 120.0
"""How long one session may take to hibernate before the next look."""


class Shortage(msgspec.Struct, frozen=True, kw_only=True):
    """Whether memory is short: below the reserve, and then until there is more than that again."""

    reserve: int
    is_short: bool = False

    def after(self, available: int | None) -> "Shortage":
        """What cannot be measured is not short."""
        line = self.reserve * RELIEF if self.is_short else self.reserve
        return msgspec.structs.replace(self, is_short=available is not None and available < line)


class HostPressure:
    """`hibernate_least_recent` gives up one session's sandbox and tells whether there was one."""

    def __init__(
        self,
        host: HostMemory,
        pool: SandboxPool,
        *,
        hibernate_least_recent: Callable[[], Awaitable[bool]],
        reserve_bytes: int,
    ) -> None:
        self._host = host
        self._pool = pool
        self._hibernate_least_recent = hibernate_least_recent
        self._shortage = Shortage(reserve=reserve_bytes)

    @property
    def is_short(self) -> bool:
        return self._shortage.is_short

    async def run(self) -> None:
        """Until cancelled. A look that fails is logged, and the next one is taken."""
        while True:
            try:
                await self.look()
            except Exception:
                logger.exception("host_memory.look_failed")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Give one thing up, if memory is short."""
        available = self._host.available()
        before, self._shortage = self._shortage, self._shortage.after(available)
        if before.is_short != self.is_short:
            event = "host_memory.ran_short" if self.is_short else "host_memory.recovered"
            logger.warning(event, extra={"available": available, "reserve": before.reserve})
        if not self.is_short or self._pool.shed(SHED_AT_ONCE):
            return
        try:
            async with asyncio.timeout(SESSION_SECONDS):
                found = await self._hibernate_least_recent()
        except TimeoutError:
            logger.warning("host_memory.hibernation_too_slow")
            return
        if not found:
            logger.warning("host_memory.nothing_to_give_up", extra={"available": available})
