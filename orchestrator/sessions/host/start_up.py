"""What becomes of the sessions that an earlier run left behind.

Those whose sandbox outlived it go on in it as if nothing had happened; the others rest, with what
was not finished on offer, and wake at once where there is work waiting.
"""

import asyncio
import logging

from orchestrator.sessions.errors import RuleBroken
from orchestrator.sessions.host.in_memory import SessionsInMemory
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.live_session import LiveSession
from orchestrator.sessions.ports import Ports, Sandbox, SessionRecord
from orchestrator.sessions.view import endings
from orchestrator.sessions.view.states import SERVED
from orchestrator.sessions.view.usage import total_tokens

logger = logging.getLogger(__name__)


class StartUp:
    def __init__(self, ports: Ports, limits: SessionLimits, sessions: SessionsInMemory) -> None:
        self._ports = ports
        self._limits = limits
        self._sessions = sessions
        self._at_once = asyncio.Semaphore(limits.adopted_at_once)
        self.adopted = 0

    async def run(self) -> None:
        """Raises StorageFailed where not even the list of them can be read."""
        left = await self._ports.store.unfinished()
        have_work = await asyncio.gather(*(self._guarded(record) for record in left))
        await self._ports.pool.release_unadopted()
        for record, has_work in zip(left, have_work, strict=True):
            if has_work:
                async with self._sessions.opened(record) as session:
                    session.life.begin("recovered")

    async def _guarded(self, record: SessionRecord) -> bool:
        """Whether it rests although there is something to do. One that fails is taken up when
        somebody asks for it."""
        try:
            async with self._at_once, self._sessions.left_behind(record) as session:
                await self._take_up(record, session)
                return session.view.state == "hibernated" and session.parts.turns.has_work
        except Exception:
            logger.exception("session.take_up_failed", extra={"session_id": record.id})
            session_or_none = self._sessions.get(record.id)
            if session_or_none is not None and not session_or_none.is_awake:
                self._sessions.drop(session_or_none)
            return False

    async def _take_up(self, record: SessionRecord, session: LiveSession) -> None:
        if record.state == "ending":
            await session.end(endings.ENDED_BY_USER)
        elif session.view.state in SERVED and await self._adopted(session):
            self.adopted += 1
            logger.info("session.adopted", extra={"session_id": record.id})
        elif not session.is_over and session.view.state != "hibernated":
            await session.life.rest_alone()
            logger.info("session.left_alone", extra={"session_id": record.id})
        await session.settle()

    async def _adopted(self, session: LiveSession) -> bool:
        sandbox_id = session.view.sandbox_id
        if sandbox_id is None:
            return False
        logged = await self._ports.log.last_sandbox_n(session.id)
        held = await self._ports.transcripts.last_n(session.id, sandbox_id)
        sandbox = await self._sandbox(session, safe=min(logged, held))
        self._ports.on_step("adopt", "gone" if sandbox is None else "done")
        if sandbox is None:
            return False
        await session.go_on_in(sandbox, logged=logged, held=held)
        return True

    async def _sandbox(self, session: LiveSession, *, safe: int) -> Sandbox | None:
        """`safe`: up to here nothing of it is lost, whatever was not whole."""
        sandbox_id = session.view.sandbox_id
        if sandbox_id is None:
            return None
        try:
            async with asyncio.timeout(self._limits.adopt_seconds):
                return await self._ports.pool.adopt(
                    sandbox_id,
                    session=session.id,
                    held=safe,
                    used_tokens=total_tokens(session.view.usage),
                )
        except (RuleBroken, TimeoutError) as error:
            extra = {"session_id": session.id, "sandbox_id": sandbox_id, "error": repr(error)}
            logger.warning("sandbox.adoption_failed", extra=extra)
            return None
