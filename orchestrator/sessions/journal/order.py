"""The order in which one session is written: one work at a time, each to its end.

Also the holder of a session's tasks: each has a name, and none is forgotten.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from orchestrator.protocol.ids import SessionId

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Order:
    def __init__(self, session: SessionId) -> None:
        self._session = session
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def exclusively(self, work: Callable[[], Awaitable[T]]) -> T:
        """A requester who goes away must not leave the log and the memory of it apart."""
        task = self.keep(self._in_turn(work), "write")
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._log_orphan)
            raise

    def keep(self, work: Coroutine[Any, Any, T], what: str) -> asyncio.Task[T]:
        """A task of this session's."""
        task = asyncio.create_task(work, name=f"session-{what}-{self._session}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _log_orphan(self, task: asyncio.Task[Any]) -> None:
        """Nobody waits for this write any more, so its failure is told here."""
        if not task.cancelled() and (error := task.exception()) is not None:
            extra = {"session_id": self._session}
            logger.warning("session.write_refused", exc_info=error, extra=extra)

    async def _in_turn(self, work: Callable[[], Awaitable[T]]) -> T:
        async with self._turn:
            return await work()
