"""Writes what is said of a session beside its conversation: what the gateway reported, what people
did to its files."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

from orchestrator.protocol.events import Event
from orchestrator.sessions.errors import StorageFailed
from orchestrator.sessions.journal.journal import Draft
from orchestrator.sessions.journal.reports import Reports
from orchestrator.sessions.parts import Parts

logger = logging.getLogger(__name__)


class ReportWriter:
    def __init__(self, parts: Parts, reports: Reports) -> None:
        self._parts = parts
        self._reports = reports

    async def run(self, on_failed: Callable[[], None]) -> None:
        """Until cancelled."""
        while True:
            await self._reports.wait()
            if not await self.flush():
                on_failed()

    async def flush(self) -> bool:
        """Whether all of it is written down; what is not was logged."""
        events = self._reports.take()
        try:
            if events:
                await self.note(events)
        except StorageFailed:
            extra = {"session_id": self._parts.id, "cost_usd": self._parts.view.cost_usd}
            logger.exception("usage.write_failed", extra=extra)
            return False
        return True

    async def note(self, events: Sequence[Event]) -> None:
        """Raises StorageFailed."""
        await self._parts.order.exclusively(partial(self._write, events))

    async def _write(self, events: Sequence[Event]) -> None:
        """Money that was spent is counted even where it cannot be logged."""
        drafts = [Draft(event) for event in events]
        try:
            await self._parts.journal.write(drafts)
        except StorageFailed:
            self._parts.journal.show_unlogged(drafts)
            raise
