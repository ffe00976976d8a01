"""Keeps a session's stored record up to date, behind the stream and never ahead of the log.

For: one save at a time, each of the latest view; what changes meanwhile goes with the next. The
record is for lists and for starting again: the events hold the conversation itself.
"""

import asyncio
import logging

import msgspec

from orchestrator.sessions.errors import StorageFailed
from orchestrator.sessions.ports import SessionRecord, SessionStore
from orchestrator.sessions.view.standing import Standing, updated

logger = logging.getLogger(__name__)

RETRY_SECONDS = 2.0


class Saver:
    def __init__(self, record: SessionRecord, *, store: SessionStore) -> None:
        self._store = store
        self._saved = record
        self._due, self._saving = asyncio.Event(), asyncio.Lock()
        self.record = record
        """As it shall be stored."""

    def note(self, standing: Standing) -> None:
        """Save it soon, if there is more new in it than the time."""
        self.record = updated(self.record, standing)
        if msgspec.structs.replace(self.record, updated_at=self._saved.updated_at) != self._saved:
            self._due.set()

    async def run(self) -> None:
        """Save whenever something is due, until cancelled. A database that refuses is tried
        again."""
        while True:
            await self._due.wait()
            if not await self.save():
                await asyncio.sleep(RETRY_SECONDS)
                self._due.set()

    async def save(self) -> bool:
        """Save now. False where the storage failed; that was logged."""
        async with self._saving:
            self._due.clear()
            record = self.record
            try:
                await self._store.update(record)
            except StorageFailed:
                extra = {"session_id": record.id}
                logger.warning("session.save_failed", exc_info=True, extra=extra)
                return False
            self._saved = record
            return True
