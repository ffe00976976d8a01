"""Whom the broker works for: one control plane at a time, and what becomes of its sandboxes.

While it is connected nobody else is served. When its connection ends, what was made for it stays
for a grace: who comes back under the same name finds it, and after that, or when another one comes,
it is destroyed. Who says good-bye is not waited for.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from orchestrator.sandboxes.background import BackgroundTasks
from orchestrator.sandboxes.errors import BrokerRefused, BrokerUnreachable, SandboxFailure

_log = structlog.get_logger(__name__)


class Tenancy:
    """`clear` destroys everything that was made; it may raise SandboxFailure. `for_one`: the broker
    ends when nobody has come (back) within the grace, which `deserted` tells; from then on nobody
    is let in."""

    def __init__(
        self, *, clear: Callable[[], Awaitable[object]], grace: float, for_one: bool = False
    ) -> None:
        self._clear = clear
        self._grace = grace
        self._for_one = for_one
        self._client: str | None = None
        self._present = False
        self._clearing = asyncio.Lock()
        self._departure: asyncio.Task[None] | None = None
        self._tasks = BackgroundTasks()
        self.deserted = asyncio.Event()

    async def enter(self, client: str) -> None:
        """From now on it is this one's, until `leave`. Raises BrokerRefused, SandboxFailure."""
        if self._present:
            sentence = "Another control plane is using this broker already."
            raise BrokerRefused(sentence, tag="broker_taken")
        self._present = True
        try:
            async with self._clearing:  # what has begun to be destroyed cannot be had again
                if self.deserted.is_set():
                    raise BrokerUnreachable("The broker is ending.")  # noqa: TRY301 - the same way out
                if self._departure is not None:
                    self._departure.cancel()
                if self._client not in (None, client):
                    await self._clear()
        except BaseException:
            self.leave()
            raise
        self._client = client
        _log.info("client.welcomed", client=client)

    def leave(self, *, for_good: bool = False) -> None:
        """Its connection is gone; `for_good`, if it said that it does not come back."""
        self._present = False
        if for_good:
            self._client = None
        _log.info("client.left", client=self._client, grace=self._grace, for_good=for_good)
        self._await_return(0.0 if for_good else self._grace)

    def expect(self) -> None:
        """Somebody shall come within the grace."""
        self._await_return(self._grace)

    def hurry(self) -> None:
        """Nobody who is gone is waited for any more."""
        self._grace = 0.0
        if not self._present:
            self._await_return(0.0)

    def _await_return(self, seconds: float) -> None:
        if self._clearing.locked():
            return  # it is being cleared already
        if self._departure is not None:
            self._departure.cancel()
        self._departure = self._tasks.start(self._depart(seconds), name="broker-client-departure")

    async def _depart(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        async with self._clearing:
            try:
                await asyncio.shield(self._tasks.start(self._forget(), name="broker-client-forget"))
            except SandboxFailure as error:
                _log.error("client.clearing_failed", reason=error.sentence)
            if self._for_one:
                self.deserted.set()

    async def _forget(self) -> None:
        await self._clear()
        self._client = None

    async def close(self) -> None:
        await self._tasks.close()
