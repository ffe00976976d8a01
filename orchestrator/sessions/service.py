"""`Sessions`: all that the world may ask of sessions, and who may ask it.

A session is its owner's alone: everybody else, administrators too, is told that there is none.
"""

import asyncio
import logging
import secrets
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from orchestrator.protocol.chat import BrowserCommand, Notice, Resume, SequencedEvent, SessionView
from orchestrator.protocol.control_events import EgressRefused, UpstreamFailed, UsageMetered
from orchestrator.protocol.ids import ProfileName, SessionId, UserId
from orchestrator.sessions.cursors import decode_cursor, encode_cursor
from orchestrator.sessions.errors import (
    SandboxNotReady,
    SessionOver,
    ShuttingDown,
    StorageFailed,
    TooManyAwake,
    TooManySessions,
    UnknownProfile,
    UnknownSession,
)
from orchestrator.sessions.files.files import Files
from orchestrator.sessions.files.limits import FileLimits
from orchestrator.sessions.host.drain import Drain
from orchestrator.sessions.host.host_pressure import HostPressure
from orchestrator.sessions.host.in_memory import SessionsInMemory
from orchestrator.sessions.host.start_up import StartUp
from orchestrator.sessions.host.upkeep import Upkeep
from orchestrator.sessions.journal.journal import latest_events
from orchestrator.sessions.journal.room import ROOM_CLOSED, Follower
from orchestrator.sessions.kept.checkpoints import Checkpoints
from orchestrator.sessions.kept.kept import Kept
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.live_session import LiveSession
from orchestrator.sessions.ports import Actor, Ports, SessionPage, SessionRecord
from orchestrator.sessions.profiles import Profile
from orchestrator.sessions.view import endings
from orchestrator.sessions.view.titles import MAX_CHOSEN_TITLE, UNTITLED, title_from

logger = logging.getLogger(__name__)

MAX_PAGE = 200
MAX_HISTORY = 500
ASK_AGAIN_SECONDS = 300.0
"""Before a session is asked again to give its sandbox up for memory."""
NEWEST = 1 << 62
"""Above every `seq`."""


class SessionFigures(msgspec.Struct, frozen=True, kw_only=True):
    """For those who run Casemate."""

    awake: int
    """With a sandbox, or about to have one."""
    frozen: int
    """Of those."""
    hibernated: int
    adopted: int
    """Went on in their own sandbox when this control plane was started."""


class Sessions:
    """Call `start` before the first request and `close` after the last."""

    def __init__(
        self,
        ports: Ports,
        limits: SessionLimits | None = None,
        *,
        files: FileLimits | None = None,
    ) -> None:
        self._ports = ports
        self._limits = limits or SessionLimits()
        self.checkpoints = Checkpoints(
            store=ports.checkpoints,
            blobs=ports.blobs,
            transcripts=ports.transcripts,
            clock=ports.clock,
        )
        self.files = Files(self._live, limits=files or FileLimits())
        self.kept = Kept(self._owned, checkpoints=self.checkpoints, places=self.files.places)
        self._in_memory = SessionsInMemory(
            ports, self._limits, checkpoints=self.checkpoints, may_wake=self._refuse_waking
        )
        self._drain = Drain(self._limits)
        self._keyed, self._adding = asyncio.Lock(), asyncio.Lock()
        self._carriers: list[asyncio.Task[None]] = []
        self._closing = False
        self._adopted = 0
        self._asked_from: weakref.WeakKeyDictionary[LiveSession, float]
        self._asked_from = weakref.WeakKeyDictionary()

    @property
    def in_memory(self) -> int:
        """How many sessions are: those that live, and those of the past that somebody reads."""
        return len(self._in_memory)

    # --- from the API ------------------------------------------------------------------------

    async def create(
        self,
        actor: Actor,
        *,
        profile: ProfileName | None,
        title: str | None,
        idempotency_key: str | None,
        wait: bool,
    ) -> SessionView:
        """A new session. Without `wait` as soon as it has its sandbox or a place in the queue;
        with it once it has its sandbox. Raises NoSandboxFree and its like, and then leaves none
        behind.

        The same owner's same `idempotency_key` gives the session that the first call made.
        """
        self._refuse_when_closing()
        chosen = self._profile(profile)
        if idempotency_key is None:
            return await self._begin(self._record(actor, chosen, title), chosen, wait=wait)
        async with self._keyed:
            known = await self._ports.store.by_idempotency_key(actor.id, idempotency_key)
            if known is None:
                record = self._record(actor, chosen, title, key=idempotency_key)
                session = await self._add(record, chosen)
        if known is not None:
            return await self._again(known, wait=wait)
        return await self._when_ready(session, wait=wait)

    async def view(self, actor: Actor, session_id: SessionId) -> SessionView:
        """Exactly, also of one that hibernates: what waits in it is in the log alone."""
        record = await self._owned(actor, session_id)
        if record.state != "hibernated":
            return self._in_memory.view(record)
        async with self._in_memory.opened(record) as session:
            return session.view

    async def page(self, actor: Actor, *, limit: int, cursor: str | None) -> SessionPage:
        """The actor's sessions, newest first."""
        limit = max(1, min(limit, MAX_PAGE))
        before = decode_cursor(cursor) if cursor else None
        records = await self._ports.store.page(actor.id, limit=limit + 1, before=before)
        shown, last = records[:limit], None
        if len(records) > limit:
            last = encode_cursor(shown[-1].created_at, shown[-1].id)
        return SessionPage(sessions=[self._in_memory.view(r) for r in shown], next_cursor=last)

    async def command(self, actor: Actor, session_id: SessionId, command: BrowserCommand) -> None:
        """Carry out a command. Raises RuleBroken; then nothing was changed."""
        record = await self._owned(actor, session_id)
        async with self._in_memory.opened(record) as session:
            await session.command(actor, command)

    async def history(
        self, actor: Actor, session_id: SessionId, *, before: int | None, limit: int
    ) -> tuple[list[SequencedEvent], bool]:
        """The last durable events below `before`, ascending, and whether there are earlier ones."""
        await self._owned(actor, session_id)
        return await latest_events(
            self._ports.log,
            session_id,
            before=NEWEST if before is None else before,
            max_events=max(1, min(limit, MAX_HISTORY)),
            max_bytes=self._limits.snapshot_bytes,
        )

    @asynccontextmanager
    async def attach(
        self, actor: Actor, session_id: SessionId, resume: Resume
    ) -> AsyncIterator[Follower]:
        """Follow a session: an async iterator of encoded server frames, first what was missed. One
        that hibernates in good order wakes.

        The iteration ends when the follower is dropped; `Follower.dropped` then says why.
        """
        self._refuse_when_closing()
        record = await self._owned(actor, session_id)
        async with (
            self._in_memory.opened(record) as session,
            session.follow(resume) as follower,
        ):
            session.visit()
            yield follower

    def seq(self, session_id: SessionId) -> int:
        """The latest `seq` of a session that is followed; 0 for one that is not."""
        session = self._in_memory.get(session_id)
        return session.seq if session is not None else 0

    async def figures(self) -> SessionFigures:
        """Of everybody's sessions together."""
        views = [session.view for session in self._in_memory if session.is_awake]
        awake = [view for view in views if view.state != "hibernated"]
        return SessionFigures(
            awake=len(awake),
            frozen=sum(view.frozen for view in awake),
            hibernated=await self._ports.store.hibernated(),
            adopted=self._adopted,
        )

    # --- from the gateway --------------------------------------------------------------------

    def metered(self, session_id: SessionId, event: UsageMetered) -> None:
        session = self._in_memory.get(session_id)
        if session is None:
            extra = {"session_id": session_id, "cost_usd": event.cost_usd}
            logger.error("usage.came_late", extra=extra)
            return
        session.reports.add_usage(event)

    def upstream_failed(self, session_id: SessionId, event: UpstreamFailed) -> None:
        session = self._in_memory.get(session_id)
        if session is not None:
            session.reports.add_failure(event)

    def egress_refused(self, session_id: SessionId, event: EgressRefused) -> None:
        session = self._in_memory.get(session_id)
        if session is not None:
            session.reports.add_refusal(event)

    def notify(self, notice: Notice) -> None:
        """Show it in every session, until it is withdrawn. Replaces the one with its tag."""
        self._in_memory.notify(notice)

    def withdraw(self, tag: str) -> None:
        self._in_memory.withdraw(tag)

    # --- from the composition root -----------------------------------------------------------

    async def start(self) -> None:
        """Take up the sessions that an earlier run left behind, and look after all of them from now
        on. Raises StorageFailed."""
        start_up = StartUp(self._ports, self._limits, self._in_memory)
        await start_up.run()
        self._adopted = start_up.adopted
        upkeep = Upkeep(self._ports, self._in_memory, self.checkpoints)
        pressure = HostPressure(
            self._ports.host,
            self._ports.pool,
            hibernate_least_recent=self.hibernate_least_recent,
            reserve_bytes=self._limits.host_reserve_bytes,
        )
        self._carriers = [
            asyncio.create_task(upkeep.run(), name="sessions-upkeep"),
            asyncio.create_task(pressure.run(), name="host-pressure"),
        ]

    async def close(self) -> None:
        """The good end: turns may end, everything is kept, every session rests. Nothing new begins,
        people are told, and it returns in bounded time. Idempotent."""
        self._closing = True
        self.notify(Notice(tag="restarting", sentence=endings.RESTARTING))
        for carrier in self._carriers:
            carrier.cancel()
        live = [session for session in self._in_memory if not session.is_over]
        await self._drain.run(live)
        for session in self._in_memory:
            session.close_room(ROOM_CLOSED)
            if session.is_quiet:
                self._in_memory.drop(session)

    def hurry(self) -> None:
        """Somebody is impatient: what `close` waits for is broken off."""
        self._drain.hurry()

    async def hibernate_least_recent(self) -> bool:
        """Have the session that was used least recently give its sandbox up. Whether there was
        one that could. One that failed to is not asked again for a while: packing its files takes
        what is short."""
        now = self._ports.clock.monotonic()
        awake = [
            session
            for session in self._in_memory
            if session.may_hibernate and self._asked_from.get(session, now) <= now
        ]
        for session in sorted(awake, key=lambda session: session.active_at):
            self._asked_from[session] = now + ASK_AGAIN_SECONDS
            if await session.hibernate("host_memory", endings.RESTS_FOR_MEMORY):
                return True
        return False

    # --- creating ----------------------------------------------------------------------------

    async def _begin(self, record: SessionRecord, profile: Profile, *, wait: bool) -> SessionView:
        return await self._when_ready(await self._add(record, profile), wait=wait)

    async def _add(self, record: SessionRecord, profile: Profile) -> LiveSession:
        """Durable before anything else happens. One at a time, so that nobody overtakes the
        limits."""
        async with self._adding:
            await self._refuse_too_many(record.owner)
            session = self._in_memory.begin(record, profile)
            try:
                await self._ports.store.add(record)
                self._refuse_when_closing()
            except BaseException:
                await asyncio.shield(self._forget(session))
                raise
        session.life.begin("new")
        return session

    async def _when_ready(self, session: LiveSession, *, wait: bool) -> SessionView:
        try:
            await (session.life.claimed() if wait else session.life.placed())
        except BaseException:
            await asyncio.shield(self._forget(session))
            raise
        return session.view

    async def _forget(self, session: LiveSession) -> None:
        """A request that failed or was given up leaves nothing behind."""
        await session.end(endings.NO_SANDBOX_FREE)
        session.close_room(endings.NO_SANDBOX_FREE)
        self._in_memory.drop(session)
        try:
            await self._ports.store.remove(session.id)
        except StorageFailed:
            extra = {"session_id": session.id}
            logger.warning("session.remove_failed", exc_info=True, extra=extra)

    async def _again(self, known: SessionRecord, *, wait: bool) -> SessionView:
        session = self._in_memory.get(known.id)
        if session is None or not session.is_awake:
            return self._in_memory.view(known)
        await (session.life.claimed() if wait else session.life.placed())
        return session.view

    def _record(
        self, actor: Actor, profile: Profile, title: str | None, *, key: str | None = None
    ) -> SessionRecord:
        now = self._ports.clock.now()
        return SessionRecord(
            id=SessionId(secrets.token_hex(16)),
            owner=actor.id,
            title=title_from(title, longest=MAX_CHOSEN_TITLE) if title else UNTITLED,
            profile=profile.name,
            state="waiting",
            created_at=now,
            updated_at=now,
            model=profile.agent.model,
            permission_mode=profile.agent.permission_mode,
            idempotency_key=key,
        )

    def _refuse_when_closing(self) -> None:
        if self._closing:
            raise ShuttingDown

    async def _refuse_too_many(self, owner: UserId) -> None:
        if await self._ports.store.open_of(owner) >= self._limits.max_open_per_user:
            raise TooManySessions
        self._refuse_too_many_awake(owner)

    def _refuse_too_many_awake(self, owner: UserId) -> None:
        awake = sum(s.owner == owner and s.is_awake for s in self._in_memory)
        if awake >= self._limits.max_awake_per_user:
            raise TooManyAwake

    def _refuse_waking(self, session: LiveSession) -> None:
        """A session that rests wants a sandbox."""
        self._refuse_when_closing()
        if not session.is_awake:
            self._refuse_too_many_awake(session.owner)

    def _profile(self, name: ProfileName | None) -> Profile:
        if name is not None:
            return self._ports.catalogue.profile(name)
        if not (profiles := self._ports.catalogue.profiles()):
            raise UnknownProfile
        return profiles[0]

    # --- finding -----------------------------------------------------------------------------

    async def _owned(self, actor: Actor, session_id: SessionId) -> SessionRecord:
        live = self._in_memory.get(session_id)
        record = live.record if live is not None else await self._ports.store.get(session_id)
        if record is None or record.owner != actor.id:
            raise UnknownSession
        return record

    async def _live(self, actor: Actor, session_id: SessionId) -> LiveSession:
        record = await self._owned(actor, session_id)
        live = self._in_memory.get(record.id)
        if live is None and record.state == "hibernated":
            raise SandboxNotReady
        if live is None or live.is_over:
            raise SessionOver
        return live
