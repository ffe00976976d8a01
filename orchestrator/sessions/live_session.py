"""One session in memory: what it is made of, what people may ask of it, and its end.

For: commands, followers and reports, one write at a time; the end, which happens once. How it comes
to its sandboxes and leaves them is its `life`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial

import msgspec

from orchestrator.protocol.chat import (
    DecidePermission,
    End,
    Ending,
    GiveAnswer,
    GoBack,
    Hibernate,
    Notice,
    Prompt,
    Resume,
    RunAgain,
    SessionView,
    TakeCheckpoint,
    Wake,
)
from orchestrator.protocol.events import Event
from orchestrator.protocol.ids import SessionId, TurnId, UserId
from orchestrator.protocol.sandbox_events import MemoryMeasured, StorageMeasured
from orchestrator.sessions.conversation.conversation import Conversation, SessionCommand
from orchestrator.sessions.errors import (
    RuleBroken,
    SandboxNotReady,
    SandboxStuck,
    SessionOver,
    TurnUnderWay,
)
from orchestrator.sessions.files.workspace_in_use import WorkspaceInUse
from orchestrator.sessions.journal.listeners import Listeners
from orchestrator.sessions.journal.report_writer import ReportWriter
from orchestrator.sessions.journal.reports import Reports
from orchestrator.sessions.journal.room import OUT_OF_STEP, Follower
from orchestrator.sessions.kept.checkpoints import Checkpoints
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.parts import Parts, put_together
from orchestrator.sessions.ports import Actor, Ports, Sandbox, SessionRecord
from orchestrator.sessions.profiles import Profile
from orchestrator.sessions.stays.departure import Keep, Rest, RestReason, Return, Wish
from orchestrator.sessions.stays.life import Life
from orchestrator.sessions.stays.wind_up import WindUp
from orchestrator.sessions.view import endings
from orchestrator.sessions.view.standing import Standing
from orchestrator.sessions.view.states import is_over
from orchestrator.sessions.workspace import Workspace

replace = msgspec.structs.replace

WAKING = (Prompt, RunAgain, DecidePermission, GiveAnswer)
"""What needs a sandbox once it was accepted."""
MEASURED = (MemoryMeasured, StorageMeasured)


class LiveSession:
    """`on_quiet` is called when nothing keeps it in memory any more; `may_wake` raises what forbids
    it another sandbox."""

    def __init__(
        self,
        record: SessionRecord,
        standing: Standing,
        *,
        seq: int,
        profile: Profile | None,
        ports: Ports,
        checkpoints: Checkpoints,
        limits: SessionLimits,
        on_quiet: Callable[["LiveSession"], None],
        may_wake: Callable[["LiveSession"], None],
    ) -> None:
        self._on_quiet = on_quiet
        self._may_wake = may_wake
        self._parts = put_together(
            record,
            standing,
            seq=seq,
            profile=profile,
            ports=ports,
            checkpoints=checkpoints,
            limits=limits,
            on_shown=self._shown,
            on_behind=self._begin_anew,
            on_turn_over=self._turn_over,
        )
        self._order, self._saver = self._parts.order, self._parts.saver
        self._journal, self._turns = self._parts.journal, self._parts.turns
        self._activity = self._parts.activity
        self._conversation = Conversation(
            self._turns, log=ports.log, profile=profile, limits=limits
        )
        self._life = Life(
            self._parts, on_end=self._end_soon, on_fail=self._fail_soon, on_over=self._rest
        )
        self._reports = Reports()
        self._writer = ReportWriter(self._parts, self._reports)
        self._end = WindUp(self._parts, self._life, self._writer, on_done=self._ended)
        self._users = 0
        self._carriers: list[asyncio.Task[None]] = []
        self._listeners = Listeners(ports.listeners, record=lambda: self.record)
        self._listeners.tell(None, self.view.state, [])

    def _turn_over(self, turn_id: TurnId) -> None:
        self._life.turn_over(turn_id)

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
    def life(self) -> Life:
        return self._life

    @property
    def parts(self) -> Parts:
        return self._parts

    @property
    def is_over(self) -> bool:
        return is_over(self.view.state)

    @property
    def is_awake(self) -> bool:
        """It has a sandbox, or wants one."""
        return self._life.goes_on and not self.is_over

    @property
    def active_at(self) -> float:
        """Monotonic."""
        return self._activity.active_at

    @property
    def is_quiet(self) -> bool:
        """Over or at rest, wound up, used and followed by nobody."""
        at_rest = self.is_over or (self.view.state == "hibernated" and not self._life.goes_on)
        kept = self._end.is_under_way or self._journal.room.followers or self._users
        return at_rest and not kept

    # --- for people --------------------------------------------------------------------------

    @contextmanager
    def used(self) -> Iterator[None]:
        """It stays in memory meanwhile."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._leave_if_quiet()

    async def command(self, actor: Actor, command: SessionCommand) -> None:
        """What takes a while goes on after this returned; what comes of it is told by events."""
        self._activity.touch(self._parts.now())
        match command:
            case End():
                await self.end(endings.ENDED_BY_USER, by=actor.name)
            case Wake():
                self.wake()
            case Hibernate():
                self._wish(Rest(reason="asked", sentence=endings.RESTS_AS_ASKED))
            case TakeCheckpoint():
                self._wish(Keep())
            case GoBack(checkpoint_id=checkpoint_id):
                await self._go_back(actor, checkpoint_id)
            case _:
                await self._obey(actor, command)

    async def _obey(self, actor: Actor, command: SessionCommand) -> None:
        wakes = isinstance(command, WAKING)
        if wakes and self.view.state == "hibernated":
            self._may_wake(self)
        await self._order.exclusively(partial(self._conversation.obey, actor, command))
        if wakes and self.view.state == "hibernated":
            self._life.begin("woken")
        if self.is_over or not self._life.goes_on:
            await self._saver.save()

    def wake(self) -> None:
        """Raises SessionOver, and what forbids it another sandbox."""
        self._refuse_when_over()
        if self.view.state == "hibernated":
            self._may_wake(self)
            self._life.begin("woken")

    @property
    def may_hibernate(self) -> bool:
        """Its sandbox is there, and nobody would be interrupted."""
        stay = self._turns.stay
        in_use = stay is not None and stay.in_use
        return self._life.may_rest() and not self._activity.busy and not in_use

    async def hibernate(self, reason: RestReason, sentence: str) -> bool:
        """Whether it does, once that is known."""
        with self.used():
            wished = self._life.wish(Rest(reason=reason, sentence=sentence))
            return wished and await self._life.outcome()

    def visit(self) -> None:
        """Somebody looks on: a session that rests in good order wakes, if it may."""
        if self.view.state == "hibernated" and not self._journal.standing.rests:
            with suppress(RuleBroken):
                self.wake()

    async def _go_back(self, actor: Actor, checkpoint_id: str) -> None:
        """Raises UnknownCheckpoint, SessionOver, TurnUnderWay, SandboxNotReady."""
        self._refuse_when_over()
        checkpoint = await self._parts.checkpoints.get(self.id, checkpoint_id)
        wish = Return(checkpoint=checkpoint, by=actor.name)
        if self.view.state != "hibernated" or self._life.goes_on:
            self._wish(wish)
            return
        if self.view.turn_id is not None:
            raise TurnUnderWay
        self._may_wake(self)
        await self._life.go_back_asleep(wish)

    def _wish(self, wish: Wish) -> None:
        self._refuse_when_over()
        if self._life.wish(wish):
            return
        if self._turns.stay is None:
            raise SandboxNotReady
        raise TurnUnderWay

    def _refuse_when_over(self) -> None:
        if self.is_over or self.view.state == "ending":
            raise SessionOver

    @asynccontextmanager
    async def follow(self, resume: Resume) -> AsyncIterator[Follower]:
        room = self._journal.room
        follower = room.enter()
        try:
            await self._journal.open(follower, seq=resume.seq, epoch=resume.epoch)
            yield follower
        finally:
            room.leave(follower)
            self._leave_if_quiet()

    @property
    def workspace(self) -> Workspace:
        """Raises SessionOver, SandboxNotReady."""
        if self.is_over:
            raise SessionOver
        if self._turns.stay is None:
            raise SandboxNotReady
        return WorkspaceInUse(self._turns.stay)

    async def note(self, event: Event) -> None:
        """Something that a person did beside the conversation, for everybody to see. Raises
        StorageFailed."""
        await self._writer.note([event])

    def show_notices(self, notices: Sequence[Notice]) -> None:
        self._journal.change(replace(self.view, notices=list(notices)))

    def close_room(self, why: Ending) -> None:
        self._journal.room.close(why)

    async def go_on_in(self, sandbox: Sandbox, *, logged: int, held: int) -> None:
        """Its own sandbox outlived the control plane. `logged`: the highest of its events that is
        in the log; `held`: the highest in the transcript."""
        stay = self._parts.begin_stay(sandbox, logged=logged, held=held)
        stay.frozen = True  # perhaps: whoever knew is gone
        self._life.go_on_in(stay)
        with suppress(SandboxStuck):
            await stay.thaw()
        await self._order.exclusively(self._turns.take_up)
        await self._parts.go_on()

    # --- in memory ---------------------------------------------------------------------------

    def carry(self) -> None:
        """Keep its record and reports written, until it is forgotten or over."""
        if not self._carriers:
            self._carriers = [
                self._order.keep(self._saver.run(), "save"),
                self._order.keep(self._writer.run(self._give_up_storage), "reports"),
            ]

    def forget(self) -> None:
        """It is no longer kept in memory."""
        self._put_down()
        self._listeners.tell(self.view.state, None, [])

    async def settle(self) -> None:
        """What was reported is written down, and what it came to is stored."""
        await self._writer.flush()
        await self._saver.save()

    def _rest(self) -> None:
        """It has no sandbox any more: what is stored of it is all that it needs."""
        if self.view.state == "hibernated":
            self._users += 1  # from this moment on, not from the task's first step
            self._order.keep(self._settle_and_leave(), "settle")

    async def _settle_and_leave(self) -> None:
        try:
            await self.settle()
        finally:
            self._users -= 1
            self._leave_if_quiet()

    def _begin_anew(self) -> None:
        """The log holds more of it than it knows. It leaves memory, and its sandbox goes: whoever
        asks for it next gets it as the log has it."""
        self._life.close()
        self._order.keep(self._give_way(), "give-way")

    async def _give_way(self) -> None:
        await self._life.stop()
        if self._life.stay is not None:
            self._life.stay.dismissed = True
            await self._life.stay.give_up()
        self._on_quiet(self)
        self.close_room(OUT_OF_STEP)

    def _give_up_storage(self) -> None:
        self._end_soon(endings.STORAGE_FAILED)

    def _put_down(self) -> None:
        for carrier in self._carriers:
            carrier.cancel()
        self._carriers = []

    def _leave_if_quiet(self) -> None:
        if self.is_quiet:
            self._on_quiet(self)

    # --- the end -----------------------------------------------------------------------------

    async def end(self, ending: Ending, *, by: str | None = None) -> None:
        """Returns when the container is gone and the end is written down. Idempotent."""
        if self.is_over and not self._end.was_begun:
            return
        await asyncio.shield(self._end.begin(ending, by=by))

    def _end_soon(self, ending: Ending) -> None:
        if not self._journal.is_behind:
            self._end.begin(ending)

    def _fail_soon(self, ending: Ending) -> None:
        if not self._journal.is_behind:
            self._end.begin(ending, lost=True)

    def _ended(self) -> None:
        self._put_down()
        self._leave_if_quiet()

    # --- what happened -----------------------------------------------------------------------

    def _shown(self, before: SessionView, events: Sequence[Event]) -> None:
        view, now = self.view, self._parts.now()
        self._saver.note(self._journal.standing)
        for event in events:
            self._activity.take(before, view, event, now)
        if before.state != view.state or any(isinstance(e, MEASURED) for e in events):
            self._life.look_soon()
        self._listeners.tell(before.state, view.state, events)
