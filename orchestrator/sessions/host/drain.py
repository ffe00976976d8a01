"""The good end of a run: turns end, everything is kept, every session rests.

All sessions at once, and in bounded time: one that hangs rests with what was kept of it before. Who
is in a hurry gets that for all of them.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from orchestrator.sessions.errors import StorageFailed
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.live_session import LiveSession
from orchestrator.sessions.stays.life import AT_SHUTDOWN
from orchestrator.sessions.view import endings

logger = logging.getLogger(__name__)

PAUSE = "shutdown"
TRIES = 3
"""Something else may be under way when the session is asked to rest."""


class Drain:
    def __init__(self, limits: SessionLimits) -> None:
        self._limits = limits
        self._kept_at_once = asyncio.Semaphore(limits.kept_at_once)
        self._hurry = asyncio.Event()

    def hurry(self) -> None:
        """Nothing more is waited for."""
        self._hurry.set()

    async def run(self, sessions: Sequence[LiveSession]) -> None:
        """Returns in bounded time."""
        for session in sessions:
            session.life.close()
            session.parts.turns.pause(PAUSE)
        resting = [
            asyncio.create_task(self._rest(session), name=f"drain-{session.id}")
            for session in sessions
        ]
        await self._until_done(resting)
        late = [s for s, task in zip(sessions, resting, strict=True) if not _went_well(task)]
        await self._break_off(late)

    async def _until_done(self, resting: Sequence[asyncio.Task[None]]) -> None:
        """Or until it was long enough, or somebody is in a hurry."""
        limits = self._limits
        longest = limits.drain_seconds + limits.interrupt_seconds + limits.close_seconds
        if resting:
            all_done = asyncio.ensure_future(asyncio.wait(resting))
            hurry = asyncio.ensure_future(self._hurry.wait())
            await asyncio.wait(
                [all_done, hurry], timeout=longest, return_when=asyncio.FIRST_COMPLETED
            )
            for task in [*resting, all_done, hurry]:
                task.cancel()
            await asyncio.wait([*resting, all_done, hurry])

    async def _rest(self, session: LiveSession) -> None:
        if session.is_awake and session.parts.turns.stay is not None:
            await self._end_turn(session)
            async with self._kept_at_once:
                await self._leave(session)
        if session.is_awake:
            await session.life.break_off(endings.RESTS_FOR_SHUTDOWN)
        await session.settle()

    async def _end_turn(self, session: LiveSession) -> None:
        turns, limits = session.parts.turns, self._limits
        try:
            async with asyncio.timeout(limits.drain_seconds):
                await session.life.until_may_rest()
        except TimeoutError:
            interrupt = partial(turns.interrupt_for, endings.INTERRUPTED)
            await session.parts.order.exclusively(interrupt)
            try:
                async with asyncio.timeout(limits.interrupt_seconds):
                    await session.life.until_may_rest()
            except TimeoutError:
                logger.warning("session.turn_hung", extra={"session_id": session.id})

    async def _leave(self, session: LiveSession) -> None:
        for _ in range(TRIES):
            if session.life.wish(AT_SHUTDOWN) or session.life.may_rest():
                await session.life.outcome()
            if not session.life.may_rest():
                return

    async def _break_off(self, late: Sequence[LiveSession]) -> None:
        tasks = [
            asyncio.create_task(self._broken_off(session), name=f"drain-break-{session.id}")
            for session in late
        ]
        if not tasks:
            return
        limit = 2 * self._limits.destroy_seconds
        _, hung = await asyncio.wait(tasks, timeout=limit)
        for task in hung:
            task.cancel()
            logger.error("session.rest_too_slow", extra={"task": task.get_name()})

    async def _broken_off(self, session: LiveSession) -> None:
        try:
            await session.life.break_off(endings.RESTS_FOR_SHUTDOWN)
            await session.settle()
        except StorageFailed:
            extra = {"session_id": session.id}
            logger.exception("session.rest_not_logged", extra=extra)


def _went_well(task: asyncio.Task[None]) -> bool:
    if task.cancelled():
        return False
    if (error := task.exception()) is not None:
        logger.error("session.rest_failed", exc_info=error, extra={"task": task.get_name()})
    return error is None
