"""One session in memory: its conversation, its sandbox, the tasks that carry them, its followers.

For: the order of things. One write at a time, finished even where its requester went away; the
claim; reading the sandbox; the end, which happens once. Not for what is allowed: that is
`conversation`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec

from orchestrator.protocol.chat import End, Ending, Resume, SessionState, SessionView
from orchestrator.protocol.events import Event
from orchestrator.protocol.ids import SessionId, UserId
from orchestrator.sessions import endings
from orchestrator.sessions.conversation import Conversation, SandboxMisbehaved, SessionCommand
from orchestrator.sessions.errors import (
    RuleBroken,
    SandboxNotReady,
    SessionOver,
    StorageFailed,
)
from orchestrator.sessions.journal import Journal
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.ports import Actor, Ports, Sandbox, SessionRecord
from orchestrator.sessions.profiles import Profile
from orchestrator.sessions.reports import Reports
from orchestrator.sessions.room import Follower
from orchestrator.sessions.saver import Saver
from orchestrator.sessions.states import is_over, step
from orchestrator.sessions.workspace import Workspace

logger = logging.getLogger(__name__)

LAST_WORDS_SECONDS = 2.0
"""How long what a destroyed sandbox still said may take to be written down."""


class LiveSession:
    """`on_quiet` is called when nothing keeps it in memory any more."""

    def __init__(
        self,
        record: SessionRecord,
        view: SessionView,
        *,
        seq: int,
        profile: Profile | None,
        ports: Ports,
        limits: SessionLimits,
        on_quiet: Callable[["LiveSession"], None],
    ) -> None:
        self._ports = ports
        self._limits = limits
        self._on_quiet = on_quiet
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._saver = Saver(record, store=ports.store)
        self._journal = Journal(
            view, seq=seq, log=ports.log, clock=ports.clock, limits=limits, on_shown=self._shown
        )
        self._conversation = Conversation(
            self._journal, log=ports.log, clock=ports.clock, profile=profile, limits=limits
        )
        self._reports = Reports()
        self._placed = asyncio.Event()
        self._claimed = asyncio.Event()
        self._refusal: RuleBroken | None = None
        self._carriers: list[asyncio.Task[None]] = []
        self._claim: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._burying: asyncio.Task[None] | None = None
        self._winding_up: asyncio.Task[None] | None = None
        self._tell(None, view.state, [])

    @property
    def id(self) -> SessionId:
        return self.view.id

    @property
    def owner(self) -> UserId:
        return self.record.owner

    @property
    def record(self) -> SessionRecord:
        return self._saver.record

    @property
    def view(self) -> SessionView:
        return self._journal.view

    @property
    def seq(self) -> int:
        return self._journal.room.seq

    @property
    def reports(self) -> Reports:
        return self._reports

    @property
    def is_over(self) -> bool:
        return is_over(self.view.state)

    @property
    def is_quiet(self) -> bool:
        """Over, wound up and followed by nobody."""
        winding_up = self._winding_up is not None and not self._winding_up.done()
        return self.is_over and not winding_up and not self._journal.room.followers

    # --- for people --------------------------------------------------------------------------

    async def command(self, actor: Actor, command: SessionCommand) -> None:
        if isinstance(command, End):
            await self.end(endings.ENDED_BY_USER, by=actor.name)
            return
        await self._exclusively(partial(self._conversation.obey, actor, command))
        if self.is_over:
            await self._saver.save()

    @asynccontextmanager
    async def follow(self, resume: Resume) -> AsyncIterator[Follower]:
        room = self._journal.room
        follower = room.enter()
        try:
            await self._journal.open(follower, seq=resume.seq, epoch=resume.epoch)
            yield follower
        finally:
            room.leave(follower)
            if self.is_quiet:
                self._on_quiet(self)

    @property
    def workspace(self) -> Workspace:
        """Raises SessionOver, SandboxNotReady."""
        if self.is_over:
            raise SessionOver
        if self._conversation.sandbox is None:
            raise SandboxNotReady
        return self._conversation.sandbox.workspace

    async def note(self, event: Event) -> None:
        """Something that a person did beside the conversation, for everybody to see. Raises
        StorageFailed."""
        await self._exclusively(partial(self._conversation.report, [event]))

    def forget(self) -> None:
        """It is no longer kept in memory."""
        self._tell(self.view.state, None, [])

    def close_room(self, why: Ending) -> None:
        self._journal.room.close(why)

    # --- the claim ---------------------------------------------------------------------------

    def start(self) -> None:
        """Claim a sandbox and serve the session with it, until its end."""
        self._carriers = [
            self._keep(self._saver.run(), "save"),
            self._keep(self._write_reports(), "reports"),
        ]
        self._claim = self._keep(self._claim_sandbox(), "claim")

    async def placed(self) -> None:
        """Until the session has its sandbox or a place in the queue. Raises what refused it."""
        await self._placed.wait()
        if self._refusal is not None:
            raise self._refusal

    async def claimed(self) -> None:
        """Until the session has its sandbox. Raises what refused it."""
        await self._claimed.wait()
        if self._refusal is not None:
            raise self._refusal

    async def _claim_sandbox(self) -> None:
        try:
            await self._take_sandbox()
        except asyncio.CancelledError:
            self._refusal = SessionOver()
            raise
        except RuleBroken as refusal:
            self._refuse(refusal)
        except Exception:
            logger.exception("sandbox.claim_failed", extra={"session_id": self.id})
            self._refuse(RuleBroken(endings.NOT_STARTED.sentence))
        finally:
            self._placed.set()
            self._claimed.set()

    async def _take_sandbox(self) -> None:
        began = self._ports.clock.monotonic()
        sandbox = await self._ports.pool.claim(
            self.view.profile, session=self.id, on_place=self._take_place
        )
        self._conversation.sandbox = sandbox
        waited_ms = round((self._ports.clock.monotonic() - began) * 1000)
        assign = partial(self._conversation.assigned, sandbox, waited_ms=waited_ms)
        await self._exclusively(assign)
        self._reading = self._keep(self._read(sandbox), "read")

    def _refuse(self, refusal: RuleBroken) -> None:
        self._refusal = refusal
        self._wind_up(endings.refused(refusal))

    def _take_place(self, place: int) -> None:
        if self.view.state == "waiting":
            self._journal.change(msgspec.structs.replace(self.view, place=place))
        self._placed.set()

    # --- while it lives ----------------------------------------------------------------------

    async def _read(self, sandbox: Sandbox) -> None:
        """Take in what the sandbox says until it is gone; then the session is over."""
        try:
            async for batch in sandbox.events():
                await self._exclusively(partial(self._conversation.take, sandbox, batch))
                if self._conversation.died is not None and self._burying is None:
                    self._burying = self._keep(self._destroy_after_grace(sandbox), "bury")
        except SandboxMisbehaved as broken:
            logger.warning("sandbox.misbehaved", extra={"session_id": self.id})
            self._wind_up(broken.ending, lost=True)
        except StorageFailed:
            self._wind_up(endings.STORAGE_FAILED)
        except Exception:
            logger.exception("session.reading_failed", extra={"session_id": self.id})
            self._wind_up(endings.INTERNAL_ERROR)
        else:
            died = self._conversation.died
            self._wind_up(endings.lost(sandbox.ending, died=died), lost=True)

    async def _destroy_after_grace(self, sandbox: Sandbox) -> None:
        await asyncio.sleep(self._limits.death_grace_seconds)
        await self._destroy(sandbox)

    async def _write_reports(self) -> None:
        while True:
            await self._reports.wait()
            if not await self._flush_reports():
                self._wind_up(endings.STORAGE_FAILED)

    async def _flush_reports(self) -> bool:
        events = self._reports.take()
        try:
            if events:
                await self._exclusively(partial(self._conversation.report, events))
        except StorageFailed:
            extra = {"session_id": self.id, "cost_usd": self.view.cost_usd}
            logger.exception("usage.write_failed", extra=extra)
            return False
        return True

    # --- the end -----------------------------------------------------------------------------

    async def end(self, ending: Ending, *, by: str | None = None) -> None:
        """Returns when the container is gone and the end is written down. Idempotent."""
        if self.is_over and self._winding_up is None:
            return
        await asyncio.shield(self._wind_up(ending, by=by))

    def _wind_up(
        self, ending: Ending, *, by: str | None = None, lost: bool = False
    ) -> asyncio.Task[None]:
        """The one end of the session: whoever comes first says why."""
        if self._winding_up is None:
            work = self._wind_up_lost(ending) if lost else self._wind_up_kept(ending, by)
            self._winding_up = asyncio.create_task(work, name=f"session-end-{self.id}")
            self._winding_up.add_done_callback(self._wound_up)
        return self._winding_up

    async def _wind_up_kept(self, ending: Ending, by: str | None) -> None:
        """First the sandbox, so that all it said and cost is in the log before the end."""
        state = step(self.view.state, "end_asked")
        self._journal.change(msgspec.structs.replace(self.view, state=state, place=None))
        await self._give_up_sandbox()
        await self._flush_reports()
        await self._finish(ending, by=by)
        await self._saver.save()

    async def _wind_up_lost(self, ending: Ending) -> None:
        """First the news: nothing more comes from a sandbox that is gone."""
        await self._finish(ending, lost=True)
        await self._give_up_sandbox()
        await self._flush_reports()
        await self._saver.save()

    async def _give_up_sandbox(self) -> None:
        if self._claim is not None:
            self._claim.cancel()
            await asyncio.wait([self._claim])
        if self._conversation.sandbox is not None:
            await self._destroy(self._conversation.sandbox)
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=LAST_WORDS_SECONDS)

    async def _finish(self, ending: Ending, *, by: str | None = None, lost: bool = False) -> None:
        try:
            finish = partial(self._conversation.finish, ending, by=by, lost=lost)
            await self._exclusively(finish)
        except StorageFailed:
            extra = {"session_id": self.id, "tag": ending.tag}
            logger.exception("session.end_not_logged", extra=extra)

    async def _destroy(self, sandbox: Sandbox) -> None:
        """Whatever happens here, the session ends; what is left is swept by its engine."""
        try:
            await asyncio.wait_for(sandbox.destroy(), self._limits.destroy_seconds)
        except Exception:
            extra = {"session_id": self.id, "sandbox_id": sandbox.id}
            logger.exception("sandbox.destroy_failed", extra=extra)

    def _wound_up(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            extra = {"session_id": self.id}
            logger.error("session.end_failed", exc_info=task.exception(), extra=extra)
        for carrier in [*self._carriers, self._reading]:
            if carrier is not None:
                carrier.cancel()
        if self.is_quiet:
            self._on_quiet(self)

    # --- order -------------------------------------------------------------------------------

    async def _exclusively(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """One write at a time, and each to its end: a requester who goes away must not leave the
        log and the memory of it apart."""
        task = self._keep(self._in_turn(work), "write")
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._log_orphan)
            raise

    def _log_orphan(self, task: asyncio.Task[None]) -> None:
        """Nobody waits for this write any more, so its failure is told here."""
        if not task.cancelled() and (error := task.exception()) is not None:
            extra = {"session_id": self.id}
            logger.warning("session.write_refused", exc_info=error, extra=extra)

    async def _in_turn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async with self._turn:
            await work()

    def _keep(self, work: Coroutine[Any, Any, Any], what: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name=f"session-{what}-{self.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _shown(self, before: SessionView, events: Sequence[Event]) -> None:
        self._saver.note(self.view)
        self._tell(before.state, self.view.state, events)

    def _tell(
        self, before: SessionState | None, after: SessionState | None, events: Sequence[Event]
    ) -> None:
        for listener in self._ports.listeners:
            for event in events:
                self._guarded(partial(listener.happened, self.record, event))
            if before != after:
                change = partial(listener.state_changed, before=before, after=after)
                self._guarded(partial(change, self.record))

    def _guarded(self, call: Callable[[], None]) -> None:
        """What a listener raises is told to the operator and harms no session."""
        try:
            call()
        except Exception:
            logger.exception("listener.call_failed", extra={"session_id": self.id})
