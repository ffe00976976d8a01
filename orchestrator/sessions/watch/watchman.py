"""Carries out what `watch` decides, for as long as a session has its sandbox.

It looks again when time alone may have changed the answer, and when something was measured.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import assert_never

from orchestrator.protocol.chat import Ending
from orchestrator.protocol.control_events import LimitNear, LimitReached, OutOfMemory
from orchestrator.protocol.events import Event
from orchestrator.sessions.errors import SandboxStuck, StorageFailed
from orchestrator.sessions.parts import Parts
from orchestrator.sessions.profiles import Lifetimes
from orchestrator.sessions.stays.departure import Exchange, Rest, Wish
from orchestrator.sessions.stays.stay import Stay
from orchestrator.sessions.view import endings
from orchestrator.sessions.watch.watch import (
    Action,
    EndSession,
    Freeze,
    HibernateNow,
    InterruptTurn,
    KillSandbox,
    Recycle,
    Situation,
    Warn,
    decide,
    next_look,
)

logger = logging.getLogger(__name__)

RETRY_SECONDS = 300.0
"""Before something that was not possible is tried again."""
OUT_OF_MEMORY_SECONDS = 60.0
"""Between two words on that programs were killed for memory: a loop in a sandbox shall not fill the
log."""


class Watchman:
    """`wish` asks for the session to leave its sandbox; `end` for its end."""

    def __init__(
        self, parts: Parts, *, wish: Callable[[Wish], bool], end: Callable[[Ending], None]
    ) -> None:
        self._parts = parts
        self._wish = wish
        self._end = end
        self._news = asyncio.Event()
        self._leaves_from = self._freezes_from = self._tells_memory_from = 0.0
        self._killed: Stay | None = None

    def look_soon(self) -> None:
        """Something was measured, or began, or ended."""
        self._news.set()

    def put_off(self) -> None:
        """What was wished was not possible."""
        self._leaves_from = self._parts.now() + RETRY_SECONDS

    async def watch(self, stay: Stay) -> None:
        """Until cancelled."""
        lifetimes = self._lifetimes
        while True:
            self._news.clear()
            situation = self._situation(stay)
            for action in decide(situation, lifetimes):
                await self._guarded(stay, action)
            await self._until_next(self._situation(stay), lifetimes)

    async def watch_memory(self, stay: Stay) -> None:
        """Until cancelled: tell what the engine tells, unless the sandbox dies of it. Its news may
        come before the sandbox's last words, and one death needs no two explanations."""
        while True:
            await stay.sandbox.ran_out_of_memory()
            if await stay.dies_soon():
                return
            if self._parts.now() < self._tells_memory_from:
                continue
            self._tells_memory_from = self._parts.now() + OUT_OF_MEMORY_SECONDS
            try:
                await self._tell(OutOfMemory(sentence=endings.OUT_OF_MEMORY))
            except StorageFailed:
                extra = {"session_id": self._parts.id}
                logger.warning("out_of_memory.not_told", exc_info=True, extra=extra)

    @property
    def _lifetimes(self) -> Lifetimes:
        """Those of any profile, where that of the session is in the catalogue no more."""
        profile = self._parts.profile
        return profile.lifetimes if profile is not None else Lifetimes()

    async def _until_next(self, situation: Situation, lifetimes: Lifetimes) -> None:
        """Also until what was not possible is tried again."""
        later = [at - situation.now for at in (self._leaves_from, self._freezes_from)]
        rest = min([next_look(situation, lifetimes), *(one for one in later if one > 0)])
        try:
            async with asyncio.timeout(rest):
                await self._news.wait()
        except TimeoutError:
            return

    def _situation(self, stay: Stay) -> Situation:
        parts, now = self._parts, self._parts.now()
        if stay.in_use:
            parts.activity.touch(now)
        return parts.activity.situation(
            parts.view,
            now=now,
            age=seconds_between(parts.view.created_at, parts.ports.clock.now()),
            record=self._record(stay),
            is_current=stay.sandbox.is_current,
        )

    def _record(self, stay: Stay) -> float:
        """In the transcripts' store or in the event log, whichever is fuller."""
        transcript = stay.transcripts.stored_bytes / self._parts.limits.transcript_bytes
        return max(transcript, self._parts.intake.log_used)

    async def _guarded(self, stay: Stay, action: Action) -> None:
        try:
            await self._carry_out(stay, action)
        except StorageFailed:
            extra = {"session_id": self._parts.id, "action": type(action).__name__}
            logger.warning("limit.not_told", exc_info=True, extra=extra)

    async def _carry_out(self, stay: Stay, action: Action) -> None:
        match action:
            case Warn(limit=limit, sentence=sentence, seconds=seconds):
                await self._tell(LimitNear(limit=limit, sentence=sentence, seconds=seconds))
                self._parts.activity.told.add(limit)
            case Freeze():
                await self._freeze(stay)
            case HibernateNow(reason=reason, sentence=sentence):
                await self._leave(stay, Rest(reason=reason, sentence=sentence))
            case Recycle(reason=reason, sentence=sentence):
                await self._leave(stay, Exchange(reason=reason, sentence=sentence))
            case InterruptTurn(limit=limit, sentence=sentence):
                offer = endings.stopped_for_memory(sentence) if limit == "memory" else ""
                await self._tell(LimitReached(limit=limit, sentence=sentence))
                await self._parts.order.exclusively(partial(self._parts.turns.interrupt_for, offer))
            case KillSandbox(limit=limit, sentence=sentence):
                await self._kill(stay, Ending(tag=limit, sentence=sentence))
            case EndSession(tag=tag, sentence=sentence):
                self._end(Ending(tag=tag, sentence=sentence))
            case _:
                assert_never(action)

    async def _kill(self, stay: Stay, why: Ending) -> None:
        """Once, whatever can be written down and however slow its engine is."""
        if self._killed is stay:
            return
        self._killed = stay
        try:
            await self._tell(LimitReached(limit=why.tag, sentence=why.sentence))
        finally:
            stay.kill(why)

    async def _leave(self, stay: Stay, wish: Wish) -> None:
        """What cannot leave now rests at least."""
        if self._parts.now() >= self._leaves_from and self._wish(wish):
            return
        situation = self._situation(stay)
        if situation.rests(self._lifetimes.freeze_after):
            await self._freeze(stay)

    async def _freeze(self, stay: Stay) -> None:
        """One that the engine cannot freeze stays as it is."""
        if stay.frozen or self._parts.now() < self._freezes_from:
            return
        try:
            await stay.freeze()
        except SandboxStuck as error:
            extra = {"session_id": self._parts.id, "reason": str(error.__cause__ or error)}
            logger.warning("sandbox.freeze_failed", extra=extra)
            self._freezes_from = self._parts.now() + RETRY_SECONDS

    async def _tell(self, event: Event) -> None:
        await self._parts.order.exclusively(lambda: self._parts.turns.write([event]))


def seconds_between(earlier: str, later: str) -> float:
    """Of two times as events have them."""
    return (moment(later) - moment(earlier)).total_seconds()


def moment(at: str) -> datetime:
    return datetime.fromisoformat(at).astimezone(UTC)
