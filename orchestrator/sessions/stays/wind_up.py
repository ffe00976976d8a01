"""The end of a session, which happens once: whoever comes first says why."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

import msgspec

from orchestrator.protocol.chat import Ending
from orchestrator.sessions.errors import StorageFailed
from orchestrator.sessions.journal.journal import Draft
from orchestrator.sessions.journal.report_writer import ReportWriter
from orchestrator.sessions.parts import Parts
from orchestrator.sessions.stays.life import Life
from orchestrator.sessions.view import endings, recovery
from orchestrator.sessions.view.states import is_over, step

logger = logging.getLogger(__name__)

LAST_WORDS_SECONDS = 2.0
"""How long what a destroyed sandbox still said may take to be written down."""


class WindUp:
    """`on_done` is called when nothing of it is left to be done."""

    def __init__(
        self, parts: Parts, life: Life, reports: ReportWriter, *, on_done: Callable[[], None]
    ) -> None:
        self._parts = parts
        self._life = life
        self._reports = reports
        self._on_done = on_done
        self._task: asyncio.Task[None] | None = None

    @property
    def is_under_way(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def was_begun(self) -> bool:
        return self._task is not None

    def begin(
        self, ending: Ending, *, by: str | None = None, lost: bool = False
    ) -> asyncio.Task[None]:
        """`lost`: its sandbox is gone, or of no use."""
        if self._task is None:
            self._life.close()
            work = self._lost(ending) if lost else self._kept(ending, by)
            self._task = asyncio.create_task(work, name=f"session-end-{self._parts.id}")
            self._task.add_done_callback(self._done)
        return self._task

    async def _kept(self, ending: Ending, by: str | None) -> None:
        """First the sandbox, so that all it said and cost is in the log before the end."""
        view = self._parts.view
        state = step(view.state, "end_asked")
        self._parts.journal.change(msgspec.structs.replace(view, state=state, place=None))
        await self._give_up_sandbox()
        await self._reports.flush()
        await self._remove_checkpoints(ending)
        await self._finish(ending, by=by)
        await self._parts.saver.save()

    async def _lost(self, ending: Ending) -> None:
        """First the news: nothing more comes from a sandbox that is gone."""
        await self._finish(ending)
        await self._give_up_sandbox()
        await self._reports.flush()
        await self._parts.saver.save()

    async def _give_up_sandbox(self) -> None:
        await self._life.stop()
        if self._life.stay is not None:
            await self._life.stay.give_up(last_words=LAST_WORDS_SECONDS)
        self._parts.turns.stay = None

    async def _finish(self, ending: Ending, *, by: str | None = None) -> None:
        try:
            await self._parts.order.exclusively(partial(self._write_end, ending, by))
        except StorageFailed:
            extra = {"session_id": self._parts.id, "tag": ending.tag}
            logger.exception("session.end_not_logged", extra=extra)

    async def _write_end(self, ending: Ending, by: str | None) -> None:
        """Its people are told even where it cannot be logged (raises StorageFailed)."""
        journal = self._parts.journal
        if is_over(journal.view.state):
            return
        cut = journal.cut_blocks()
        words = recovery.words_of_end(journal.standing, ending, cut=cut, by=by)
        drafts = [Draft(word) for word in words]
        try:
            await journal.write(drafts)
        except StorageFailed:
            journal.show_unlogged(drafts)
            raise

    async def _remove_checkpoints(self, ending: Ending) -> None:
        """Nobody goes on from them. Those of a session that failed are all that is left of it. Only
        once it is stored that the session ends, and before it has ended: whoever is killed between
        the two does all of it again."""
        if not endings.gives_files_up(ending.tag) or not await self._parts.saver.save():
            return
        try:
            await self._parts.checkpoints.remove_all(self._parts.id)
        except StorageFailed:
            extra = {"session_id": self._parts.id}
            logger.warning("checkpoint.remove_failed", exc_info=True, extra=extra)

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            extra = {"session_id": self._parts.id}
            logger.error("session.end_failed", exc_info=task.exception(), extra=extra)
        self._on_done()
