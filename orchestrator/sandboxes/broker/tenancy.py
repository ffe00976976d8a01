"""Whom the broker works for: one control plane at a time, and what becomes of its sandboxes.

While it is connected nobody else is served. When its connection ends, what was made for it stays
for a grace: who comes back under the same name finds it, and after that, or when another one comes,
it is destroyed.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from orchestrator.sandboxes.background import BackgroundTasks
from orchestrator.sandboxes.errors import BrokerRefused, SandboxFailure

_log = structlog.get_logger(__name__)


class Tenancy:
    """`clear` destroys everything that was made; it may raise SandboxFailure."""

    def __init__(self, *, clear: Callable[[], Awaitable[object]], grace: float) -> None:
        self._clear = clear
        self._grace = grace
        self._client: str | None = None
        self._present = False
        self._clearing = asyncio.Lock()
        self._departure: asyncio.Task[None] | None = None
        self._tasks = BackgroundTasks()

    async def enter(self, client: str) -> None:
        """From now on it is this one's, until `leave`. Raises BrokerRefused, SandboxFailure."""
        if self._present:
            sentence = "Another control plane is using this broker already."
            raise BrokerRefused(sentence, tag="broker_taken")
        self._present = True
        try:
            async with self._clearing:  # what has begun to be destroyed cannot be had again
                if self._departure is not None:
                    self._departure.cancel()
                if self._client not in (None, client):
                    await self._clear()
        except BaseException:
            self.leave()
            raise
        self._client = client
        _log.info("client.welcomed", client=client)

    def leave(self) -> None:
        """Its connection is gone."""
        self._present = False
        _log.info("client.left", client=self._client, grace=self._grace)
        self._departure = self._tasks.start(self._depart(), name="broker-client-departure")

    async def _depart(self) -> None:
        await asyncio.sleep(self._grace)
        async with self._clearing:
            try:
                await asyncio.shield(self._tasks.start(self._forget(), name="broker-client-forget"))
            except SandboxFailure as error:
                _log.error("client.clearing_failed", reason=error.sentence)

    async def _forget(self) -> None:
        await self._clear()
        self._client = None

    async def close(self) -> None:
        await self._tasks.close()
