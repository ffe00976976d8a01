"""`Sessions`: all that the world may ask of sessions, and who may ask it.

A session is its owner's alone: everybody else, administrators too, is told that there is none.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.protocol.chat import BrowserCommand, Resume, SequencedEvent, SessionView
from orchestrator.protocol.control_events import EgressRefused, UpstreamFailed, UsageMetered
from orchestrator.protocol.events import event_codec
from orchestrator.protocol.ids import ProfileName, SessionId, UserId
from orchestrator.sessions import endings
from orchestrator.sessions.cursors import decode_cursor, encode_cursor
from orchestrator.sessions.errors import (
    SessionOver,
    ShuttingDown,
    StorageFailed,
    TooManySessions,
    UnknownProfile,
    UnknownSession,
)
from orchestrator.sessions.files import Files
from orchestrator.sessions.files_limits import FileLimits
from orchestrator.sessions.journal import latest_events
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.live_session import LiveSession
from orchestrator.sessions.ports import Actor, Ports, SessionPage, SessionRecord
from orchestrator.sessions.profiles import Profile
from orchestrator.sessions.room import ROOM_CLOSED, Follower
from orchestrator.sessions.states import is_over
from orchestrator.sessions.titles import MAX_CHOSEN_TITLE, UNTITLED, title_from
from orchestrator.sessions.view import recovered, view_of

logger = logging.getLogger(__name__)

MAX_PAGE = 200
MAX_HISTORY = 500
NEWEST = 1 << 62
"""Above every `seq`."""


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
        self.files = Files(self._live, limits=files or FileLimits())
        self._in_memory: dict[SessionId, LiveSession] = {}
        self._keyed = asyncio.Lock()
        self._closing = False

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
        record = await self._owned(actor, session_id)
        return self._current(record)

    async def page(self, actor: Actor, *, limit: int, cursor: str | None) -> SessionPage:
        """The actor's sessions, newest first."""
        limit = max(1, min(limit, MAX_PAGE))
        before = decode_cursor(cursor) if cursor else None
        records = await self._ports.store.page(actor.id, limit=limit + 1, before=before)
        shown, last = records[:limit], None
        if len(records) > limit:
            last = encode_cursor(shown[-1].created_at, shown[-1].id)
        return SessionPage(sessions=[self._current(r) for r in shown], next_cursor=last)

    async def command(self, actor: Actor, session_id: SessionId, command: BrowserCommand) -> None:
        """Carry out a command. Raises RuleBroken; then nothing was changed."""
        session = await self._open(actor, session_id)
        try:
            await session.command(actor, command)
        finally:
            self._drop_if_quiet(session)

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
        """Follow a session: an async iterator of encoded server frames, first what was missed.

        The iteration ends when the follower is dropped; `Follower.dropped` then says why.
        """
        self._refuse_when_closing()
        session = await self._open(actor, session_id)
        async with session.follow(resume) as follower:
            yield follower

    def seq(self, session_id: SessionId) -> int:
        """The latest `seq` of a session that is followed; 0 for one that is not."""
        session = self._in_memory.get(session_id)
        return session.seq if session is not None else 0

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

    # --- from the composition root -----------------------------------------------------------

    async def start(self) -> None:
        """Fail the sessions that an earlier run left open: their sandboxes are gone."""
        for record in await self._ports.store.unfinished():
            session = await self._load(record)
            await session.end(endings.CONTROL_PLANE_RESTARTED)
            self._drop_if_quiet(session)
            logger.info("session.given_up", extra={"session_id": record.id})

    async def close(self) -> None:
        """End every session and tell those who follow; returns in bounded time."""
        self._closing = True
        live = list(self._in_memory.values())
        ends = [
            asyncio.create_task(session.end(endings.SHUTDOWN), name=f"shutdown-{session.id}")
            for session in live
        ]
        if ends:
            _, late = await asyncio.wait(ends, timeout=self._limits.close_seconds)
            for task in late:
                task.cancel()
                logger.error("session.end_too_slow", extra={"task": task.get_name()})
        for session in live:
            session.close_room(ROOM_CLOSED)
            self._drop_if_quiet(session)

    # --- creating ----------------------------------------------------------------------------

    async def _begin(self, record: SessionRecord, profile: Profile, *, wait: bool) -> SessionView:
        return await self._when_ready(await self._add(record, profile), wait=wait)

    async def _add(self, record: SessionRecord, profile: Profile) -> LiveSession:
        """Durable before anything else happens. Counted first, so that nobody overtakes the
        limit."""
        self._refuse_too_many(record.owner)
        session = self._remember(record, view_of(record), seq=0, profile=profile)
        try:
            await self._ports.store.add(record)
            self._refuse_when_closing()
        except BaseException:
            await asyncio.shield(self._forget(session))
            raise
        session.start()
        return session

    async def _when_ready(self, session: LiveSession, *, wait: bool) -> SessionView:
        try:
            await (session.claimed() if wait else session.placed())
        except BaseException:
            await asyncio.shield(self._forget(session))
            raise
        return session.view

    async def _forget(self, session: LiveSession) -> None:
        """A request that failed or was given up leaves nothing behind."""
        await session.end(endings.NO_SANDBOX_FREE)
        session.close_room(endings.NO_SANDBOX_FREE)
        self._drop(session)
        try:
            await self._ports.store.remove(session.id)
        except StorageFailed:
            extra = {"session_id": session.id}
            logger.warning("session.remove_failed", exc_info=True, extra=extra)

    async def _again(self, known: SessionRecord, *, wait: bool) -> SessionView:
        session = self._in_memory.get(known.id)
        if session is None or session.is_over:
            return self._current(known)
        await (session.claimed() if wait else session.placed())
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

    def _refuse_too_many(self, owner: UserId) -> None:
        mine = sum(s.owner == owner and not s.is_over for s in self._in_memory.values())
        if mine >= self._limits.max_open_per_user:
            raise TooManySessions

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
        await self._owned(actor, session_id)
        live = self._in_memory.get(session_id)
        if live is None or live.is_over:
            raise SessionOver
        return live

    async def _open(self, actor: Actor, session_id: SessionId) -> LiveSession:
        record = await self._owned(actor, session_id)
        live = self._in_memory.get(session_id)
        return live if live is not None else await self._load(record)

    async def _load(self, record: SessionRecord) -> LiveSession:
        """A session of the past, from the store and the log."""
        seq = await self._ports.log.last_seq(record.id)
        view = view_of(record)
        if not is_over(record.state):
            latest = await self._ports.log.read(
                record.id, before=seq + 1, limit=self._limits.snapshot_events
            )
            view = recovered(view, [event_codec.decode(bytes(e.event)) for e in latest])
        if (already := self._in_memory.get(record.id)) is not None:
            return already
        return self._remember(record, view, seq=seq, profile=None)

    def _remember(
        self, record: SessionRecord, view: SessionView, *, seq: int, profile: Profile | None
    ) -> LiveSession:
        session = LiveSession(
            record,
            view,
            seq=seq,
            profile=profile,
            ports=self._ports,
            limits=self._limits,
            on_quiet=self._drop_if_quiet,
        )
        self._in_memory[record.id] = session
        return session

    def _drop_if_quiet(self, session: LiveSession) -> None:
        if session.is_quiet:
            self._drop(session)

    def _drop(self, session: LiveSession) -> None:
        if self._in_memory.get(session.id) is session:
            del self._in_memory[session.id]
            session.forget()

    def _current(self, record: SessionRecord) -> SessionView:
        live = self._in_memory.get(record.id)
        return live.view if live is not None else view_of(record)
