"""A connection to a host while it lasts: its bytes are counted, its silence is measured."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from orchestrator.gateway.egress.blocked import over_budget
from orchestrator.gateway.egress.budgets import BudgetSpent, ByteBudget
from orchestrator.gateway.egress.pace import Pace
from orchestrator.gateway.egress.settings import EgressSettings
from orchestrator.gateway.egress.streams import SocketStream


class Stalled(Exception):
    """Nothing passed for too long, or the connection lasted too long."""


class Passage:
    """A ByteStream towards the host: what passes is taken from the session's budget first.

    `read` and `write` raise Blocked once the budget is spent, and StreamBroken.
    """

    def __init__(
        self,
        stream: SocketStream,
        *,
        host: str,
        port: int,
        budget: ByteBudget,
        pace: Pace,
        settings: EgressSettings,
    ) -> None:
        self.host = host
        self.port = port
        self.up = self.down = 0
        """Bytes so far."""
        self._stream = stream
        self._budget = budget
        self._pace = pace
        self._settings = settings
        self._idle_limit = settings.idle_timeout
        self._began = self._touched = time.monotonic()

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._began, 3)

    async def read(self) -> bytes:
        await self._pace.ready()
        data = await self._stream.read()
        self._spend(received=len(data))
        return data

    async def write(self, data: bytes) -> None:
        await self._pace.ready()
        self._spend(sent=len(data))
        await self._stream.write(data)
        self._touched = time.monotonic()

    async def end(self) -> None:
        await self._stream.end()

    def abort(self) -> None:
        self._stream.abort()

    def half_closed(self) -> None:
        """One side is done: the other one has less patience from now on."""
        self._idle_limit = self._settings.half_closed_timeout

    async def within_limits(self, work: Coroutine[Any, Any, object]) -> None:
        """Do this, unless nothing passes for too long or it never ends. Raises what the work does,
        and Stalled."""
        working = asyncio.create_task(work, name="egress-work")
        watching = asyncio.create_task(self._until_idle(), name="egress-idle")
        try:
            await asyncio.wait(
                {working, watching},
                timeout=self._settings.total_timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not working.done():
                raise Stalled
            working.result()
        finally:
            for task in (working, watching):
                task.cancel()
            await asyncio.gather(working, watching, return_exceptions=True)

    async def _until_idle(self) -> None:
        while (left := self._touched + self._idle_limit - time.monotonic()) > 0:  # noqa: ASYNC110 - each byte puts it off
            await asyncio.sleep(min(left, self._settings.half_closed_timeout))

    def _spend(self, *, sent: int = 0, received: int = 0) -> None:
        self._touched = time.monotonic()
        try:
            if sent:
                self._budget.send(sent)
            if received:
                self._budget.receive(received)
        except BudgetSpent as spent:
            raise over_budget(self.host, self.port, spent.direction) from spent
        self._pace.passed(sent + received)
        self.up += sent
        self.down += received
