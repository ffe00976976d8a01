"""The sessions that are in memory: those that are awake, and those that somebody reads.

For: each session there once, folded from the log when it comes, gone when nothing keeps it. Not for
who may see it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import msgspec

from orchestrator.protocol.chat import Notice, SessionView
from orchestrator.protocol.ids import ProfileName, SessionId
from orchestrator.sessions.errors import UnknownProfile
from orchestrator.sessions.kept.checkpoints import Checkpoints
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.live_session import LiveSession
from orchestrator.sessions.ports import Ports, SessionRecord
from orchestrator.sessions.profiles import Profile
from orchestrator.sessions.view.standing import (
    TAGS,
    Standing,
    blank,
    new_standing,
    replayed,
    updated,
    view_of,
)
from orchestrator.sessions.view.states import is_over

logger = logging.getLogger(__name__)
replace = msgspec.structs.replace


class SessionsInMemory:
    def __init__(
        self,
        ports: Ports,
        limits: SessionLimits,
        *,
        checkpoints: Checkpoints,
        may_wake: Callable[[LiveSession], None],
    ) -> None:
        self._ports = ports
        self._limits = limits
        self._checkpoints = checkpoints
        self._may_wake = may_wake
        self._sessions: dict[SessionId, LiveSession] = {}
        self._loading: dict[SessionId, asyncio.Task[LiveSession]] = {}
        self._notices: dict[str, Notice] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(list(self._sessions.values()))

    def get(self, session_id: SessionId) -> LiveSession | None:
        return self._sessions.get(session_id)

    def view(self, record: SessionRecord) -> SessionView:
        live = self._sessions.get(record.id)
        return live.view if live is not None else view_of(record)

    @asynccontextmanager
    async def opened(self, record: SessionRecord) -> AsyncIterator[LiveSession]:
        """The session, which stays in memory meanwhile. Raises StorageFailed."""
        session = await self._found(record)
        while self._sessions.get(record.id) is not session:  # it came and went meanwhile
            session = await self._found(record)
        with session.used():
            yield session

    @asynccontextmanager
    async def left_behind(self, record: SessionRecord) -> AsyncIterator[LiveSession]:
        """The same, as an earlier run left it: it may have a sandbox yet."""
        session = await self._load(record)
        with session.used():
            yield session

    def begin(self, record: SessionRecord, profile: Profile) -> LiveSession:
        """A new one."""
        return self._remember(record, new_standing(record), seq=0, profile=profile)

    def drop(self, session: LiveSession) -> None:
        if self._sessions.get(session.id) is session:
            del self._sessions[session.id]
            session.forget()

    def notify(self, notice: Notice) -> None:
        """Every session that is or comes into memory shows it. Replaces the one with its tag."""
        self._notices[notice.tag] = notice
        self._show_notices()

    def withdraw(self, tag: str) -> None:
        if self._notices.pop(tag, None) is not None:
            self._show_notices()

    # --- coming into memory ------------------------------------------------------------------

    async def _found(self, record: SessionRecord) -> LiveSession:
        """Whoever asks meanwhile waits for the same one."""
        if (live := self._sessions.get(record.id)) is not None and record.id not in self._loading:
            return live
        loading = self._loading.get(record.id)
        if loading is None:
            loading = asyncio.create_task(self._bring(record), name=f"session-load-{record.id}")
            self._loading[record.id] = loading
            loading.add_done_callback(lambda _: self._loading.pop(record.id, None))
        return await asyncio.shield(loading)

    async def _bring(self, record: SessionRecord) -> LiveSession:
        """One that has neither a sandbox nor a rest was cut off from the log: now it rests."""
        session = await self._load(record)
        if not session.is_over and session.view.state != "hibernated":
            try:
                await session.life.rest_alone()
            except BaseException:
                self.drop(session)
                raise
        return session

    async def _load(self, record: SessionRecord) -> LiveSession:
        record = await self._ports.store.get(record.id) or record
        standing = await self._standing(record)
        seq = await self._ports.log.last_seq(record.id)
        profile = self._profile(record.profile)
        return self._remember(updated(record, standing), standing, seq=seq, profile=profile)

    async def _standing(self, record: SessionRecord) -> Standing:
        """Exactly, from the log; of what is over the record says enough."""
        if is_over(record.state):
            return new_standing(record)
        standing = blank(record)
        async for bodies in self._ports.log.of_tags(record.id, TAGS):
            standing = replayed(standing, bodies)
        view = standing.view
        if view.checkpoint_id != record.checkpoint_id:
            view = replace(view, checkpoint_at="")
        return replace(standing, view=view)

    def _profile(self, name: ProfileName) -> Profile | None:
        try:
            return self._ports.catalogue.profile(name)
        except UnknownProfile:
            return None

    def _remember(
        self, record: SessionRecord, standing: Standing, *, seq: int, profile: Profile | None
    ) -> LiveSession:
        notices = list(self._notices.values())
        standing = replace(standing, view=replace(standing.view, notices=notices))
        session = LiveSession(
            record,
            standing,
            seq=seq,
            profile=profile,
            ports=self._ports,
            checkpoints=self._checkpoints,
            limits=self._limits,
            on_quiet=self.drop,
            may_wake=self._may_wake,
        )
        self._sessions[record.id] = session
        if not session.is_over:
            session.carry()
        return session

    def _show_notices(self) -> None:
        for session in self:
            session.show_notices(list(self._notices.values()))
