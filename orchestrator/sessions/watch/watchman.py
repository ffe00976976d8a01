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


class Watchman:
    """`wish` asks for the session to leave its sandbox; `end` for its end."""

    def __init__(
        self, parts: Parts, *, wish: Callable[[Wish], bool], end: Callable[[Ending], None]
    ) -> None:
        self._parts = parts
        self._wish = wish
        self._end = end
        self._news = asyncio.Event()
        self._leaves_from = self._freezes_from = 0.0

    def look_soon(self) -> None:
        """Something was measured, or began, or ended."""
        self._news.set()

    def put_off(self) -> None:
        """What was wished was not possible."""
        self._leaves_from = self._parts.now() + RETRY_SECONDS

    async def watch(self, stay: Stay) -> None:
        """Until cancelled."""
        lifetimes = self._parts.known_profile.lifetimes
        while True:
            self._news.clear()
            situation = self._situation(stay)
            for action in decide(situation, lifetimes):
                await self._guarded(stay, action)
            await self._until_next(self._situation(stay), lifetimes)

    async def watch_memory(self, stay: Stay) -> None:
        """Until cancelled: tell what the engine tells."""
        while True:
            await stay.sandbox.ran_out_of_memory()
            await self._tell(OutOfMemory(sentence=endings.OUT_OF_MEMORY))

    async def _until_next(self, situation: Situation, lifetimes: Lifetimes) -> None:
        try:
            async with asyncio.timeout(next_look(situation, lifetimes)):
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
            is_current=stay.sandbox.is_current,
        )

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
                await self._tell(LimitReached(limit=limit, sentence=sentence))
                stay.kill(Ending(tag=limit, sentence=sentence))
            case EndSession(tag=tag, sentence=sentence):
                self._end(Ending(tag=tag, sentence=sentence))
            case _:
                assert_never(action)

    async def _leave(self, stay: Stay, wish: Wish) -> None:
        """What cannot leave now rests at least."""
        if self._parts.now() >= self._leaves_from and self._wish(wish):
            return
        situation = self._situation(stay)
        if situation.rests(self._parts.known_profile.lifetimes.freeze_after):
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
