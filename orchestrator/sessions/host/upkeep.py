"""What is done for all sessions from time to time: those that slept for too long are ended, and
content that no checkpoint names is given up."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from orchestrator.protocol.chat import Ending
from orchestrator.sessions.errors import RuleBroken, UnknownProfile
from orchestrator.sessions.host.in_memory import SessionsInMemory
from orchestrator.sessions.kept.checkpoints import Checkpoints
from orchestrator.sessions.ports import Ports, SessionRecord
from orchestrator.sessions.profiles import Lifetimes
from orchestrator.sessions.watch.situation import Situation
from orchestrator.sessions.watch.watch import EndSession, decide
from orchestrator.sessions.watch.watchman import moment, seconds_between

logger = logging.getLogger(__name__)

LOOK_SECONDS = 3600.0
COLLECT_EVERY = 24
"""Looks."""
MOST_AT_ONCE = 1_000
"""Sessions that are looked at in one look; the others have slept for less long."""


class Upkeep:
    def __init__(self, ports: Ports, sessions: SessionsInMemory, checkpoints: Checkpoints) -> None:
        self._ports = ports
        self._sessions = sessions
        self._checkpoints = checkpoints

    async def run(self) -> None:
        """Until cancelled. What fails is logged, and tried again at the next look."""
        look = 0
        while True:
            try:
                if look % COLLECT_EVERY == 0:
                    collected = await self._checkpoints.collect()
                    logger.info("blobs.collected", extra={"count": collected})
                await self.expire()
            except Exception:
                logger.exception("sessions.upkeep_failed")
            look += 1
            await asyncio.sleep(LOOK_SECONDS)

    async def expire(self) -> int:
        """End what slept for too long; how many those were."""
        spans = [p.lifetimes.keep for p in self._ports.catalogue.profiles()]
        kept = [span for span in spans if span is not None]
        if not kept:
            return 0
        before = earlier(self._ports.clock.now(), seconds=min(kept))
        asleep = await self._ports.store.hibernated_before(before, limit=MOST_AT_ONCE)
        return sum([await self._expired(record) for record in asleep])

    async def _expired(self, record: SessionRecord) -> bool:
        ending = self._ending(record)
        if ending is None:
            return False
        try:
            async with self._sessions.opened(record) as session:
                if session.view.state == "hibernated" and not session.life.goes_on:
                    await session.end(ending)
                return session.is_over
        except RuleBroken:
            extra = {"session_id": record.id}
            logger.warning("session.expiry_failed", exc_info=True, extra=extra)
            return False

    def _ending(self, record: SessionRecord) -> Ending | None:
        try:
            lifetimes: Lifetimes = self._ports.catalogue.profile(record.profile).lifetimes
        except UnknownProfile:
            return None
        now = self._ports.clock.now()
        situation = Situation(
            state="hibernated",
            now=self._ports.clock.monotonic(),
            age=seconds_between(record.created_at, now),
            asleep=seconds_between(record.updated_at, now),
        )
        for action in decide(situation, lifetimes):
            if isinstance(action, EndSession):
                return Ending(tag=action.tag, sentence=action.sentence)
        return None


def earlier(at: str, *, seconds: float) -> str:
    """A time as events have it, so many seconds before."""
    try:
        then = moment(at) - timedelta(seconds=seconds)
    except OverflowError:
        then = datetime.min.replace(tzinfo=UTC)
    return then.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
