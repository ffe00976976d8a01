"""What one session in memory is made of, in one hand for those who carry it."""

import logging
from collections.abc import Callable, Sequence

import msgspec

from orchestrator.protocol.chat import SessionView
from orchestrator.protocol.events import Event
from orchestrator.protocol.ids import SessionId, TurnId
from orchestrator.sessions.conversation.intake import Intake
from orchestrator.sessions.conversation.turns import Turns
from orchestrator.sessions.errors import StorageFailed, UnknownProfile
from orchestrator.sessions.journal.journal import Journal
from orchestrator.sessions.journal.order import Order
from orchestrator.sessions.journal.saver import Saver
from orchestrator.sessions.kept.checkpoints import Checkpoints
from orchestrator.sessions.kept.transcripts import Transcripts
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.ports import Ports, Sandbox, SessionRecord
from orchestrator.sessions.profiles import Profile
from orchestrator.sessions.stays.stay import Stay
from orchestrator.sessions.view.standing import Standing
from orchestrator.sessions.watch.activity import Activity

logger = logging.getLogger(__name__)
replace = msgspec.structs.replace


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    ports: Ports
    limits: SessionLimits
    checkpoints: Checkpoints
    profile: Profile | None
    """None where it is not in the catalogue any more."""
    order: Order
    saver: Saver
    journal: Journal
    turns: Turns
    intake: Intake
    activity: Activity

    @property
    def id(self) -> SessionId:
        return self.view.id

    @property
    def view(self) -> SessionView:
        return self.journal.view

    @property
    def standing(self) -> Standing:
        return self.journal.standing

    @property
    def known_profile(self) -> Profile:
        """Raises UnknownProfile."""
        if self.profile is None:
            raise UnknownProfile
        return self.profile

    def now(self) -> float:
        return self.ports.clock.monotonic()

    async def go_on(self) -> None:
        """Run what waits. Where the storage refuses, it goes on waiting."""
        try:
            await self.order.exclusively(self.turns.go_on)
        except StorageFailed:
            extra = {"session_id": self.id}
            logger.warning("session.queue_waits", exc_info=True, extra=extra)

    def begin_stay(self, sandbox: Sandbox, *, logged: int = 0, held: int = 0) -> Stay:
        """It is read from now on."""
        transcripts = Transcripts(
            self.id,
            store=self.ports.transcripts,
            sandbox=sandbox,
            branch=self.standing.branch,
            held=held,
            limits=self.limits,
        )
        stay = Stay(
            sandbox,
            transcripts=transcripts,
            limits=self.limits,
            on_frozen=self._show_frozen,
            on_stuck=self._note_stuck,
            logged=logged,
        )
        stay.start(
            lambda batch: self.order.exclusively(lambda: self.intake.take(stay, batch)),
            name=f"session-read-{self.id}",
        )
        return stay

    def _show_frozen(self, frozen: bool) -> None:  # noqa: FBT001 - the one thing it is told
        self.ports.on_step("freeze" if frozen else "thaw", "done")
        self.journal.change(replace(self.view, frozen=frozen))

    def _note_stuck(self, freezing: bool) -> None:  # noqa: FBT001 - as above
        self.ports.on_step("freeze" if freezing else "thaw", "stuck")


def put_together(
    record: SessionRecord,
    standing: Standing,
    *,
    seq: int,
    profile: Profile | None,
    ports: Ports,
    checkpoints: Checkpoints,
    limits: SessionLimits,
    on_shown: Callable[[SessionView, Sequence[Event]], None],
    on_behind: Callable[[], None],
    on_turn_over: Callable[[TurnId], None],
) -> Parts:
    """Of a session as it was found: nothing is begun yet."""
    log, clock = ports.log, ports.clock
    journal = Journal(
        standing,
        seq=seq,
        log=log,
        clock=clock,
        limits=limits,
        on_shown=on_shown,
        on_behind=on_behind,
    )
    turns = Turns(journal, profile=profile)
    return Parts(
        ports=ports,
        limits=limits,
        checkpoints=checkpoints,
        profile=profile,
        order=Order(record.id),
        saver=Saver(record, store=ports.store),
        journal=journal,
        turns=turns,
        intake=Intake(
            journal, turns, log=log, clock=clock, limits=limits, on_turn_over=on_turn_over
        ),
        activity=Activity(
            now=clock.monotonic(),
            view=standing.view,
            is_stopping=standing.stopping is not None,
        ),
    )
