"""What a sandbox says: whether it may say that, what is kept of it, and what follows.

For: one batch at a time, written down before it is acknowledged. Whoever calls holds the session's
turn to write. Not for the transcript, which `Transcripts` took before.
"""

import logging
from collections.abc import Callable, Sequence

from orchestrator.protocol.commands import AnswerPermission
from orchestrator.protocol.control_events import SandboxAssigned
from orchestrator.protocol.events import TRANSIENT, event_codec
from orchestrator.protocol.ids import TurnId
from orchestrator.protocol.sandbox_events import (
    AgentDied,
    AgentResumed,
    CommandFailed,
    PermissionRequested,
    QuestionAsked,
    TurnEnded,
)
from orchestrator.protocol.transcripts import TranscriptWord
from orchestrator.sessions.conversation.checks import names_its_input
from orchestrator.sessions.conversation.conversation import key_of, tell
from orchestrator.sessions.conversation.turns import Turns
from orchestrator.sessions.errors import StorageFailed
from orchestrator.sessions.journal.journal import Draft, Journal
from orchestrator.sessions.journal.log_allowance import LogAllowance
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.ports import Clock, EventLog, ReceivedEvent
from orchestrator.sessions.stays.misbehaviour import SandboxMisbehaved
from orchestrator.sessions.stays.stay import Said, Stay
from orchestrator.sessions.view import endings, recovery
from orchestrator.sessions.view.endings import SAID_TOO_MUCH, SANDBOX_MISBEHAVED, agent_died
from orchestrator.sessions.view.standing import Answer
from orchestrator.sessions.view.view import fold, moot_after_turn

logger = logging.getLogger(__name__)

RESUME = "resume_agent"
"""The name under which a shim says that it could not resume."""


class Intake:
    """`on_turn_over` is called when a turn came to its end, before the next one may start."""

    def __init__(
        self,
        journal: Journal,
        turns: Turns,
        *,
        log: EventLog,
        clock: Clock,
        limits: SessionLimits,
        on_turn_over: Callable[[TurnId], None],
    ) -> None:
        self._journal = journal
        self._turns = turns
        self._log = log
        self._limits = limits
        self._clock = clock
        self._on_turn_over = on_turn_over
        self._allowance = LogAllowance(limits, now=clock.monotonic())
        self._knows_log = False

    @property
    def log_used(self) -> float:
        """Part of all that the session's sandboxes may have written into the log."""
        return self._allowance.used

    async def take(self, stay: Stay, batch: Sequence[ReceivedEvent]) -> None:
        """Raises StorageFailed, SandboxMisbehaved. What comes from a sandbox that the session has
        left is dropped: by its numbers, it would pass for the next one's."""
        if stay.dismissed:
            return
        await self._look_at_log()
        said = self._new(stay, batch)
        self._refuse(said)
        if not stay.assigned:
            self._hold(stay, said)
            return
        await self._write(stay, said)
        self._acknowledge(stay, batch)
        await self._turns.go_on()

    async def assign(self, stay: Stay, assigned: SandboxAssigned) -> None:
        """The session is at home in it from now on, and all that it said until now is said."""
        undelivered = self._turns.standing.undelivered
        drafts = [Draft(assigned), *self._drafts(stay.prelude)]
        await self._journal.write(drafts)
        stay.assigned, stay.prelude, self._turns.stay = True, [], stay
        for answer in undelivered:
            await tell(stay, answer)
        await self._turns.go_on()

    async def _look_at_log(self) -> None:
        """What was written in an earlier run counts as well. Where it cannot be told, it is asked
        for again with the next batch."""
        if self._knows_log:
            return
        try:
            held = await self._log.said_bytes(self._journal.session)
        except StorageFailed:
            extra = {"session_id": self._journal.session}
            logger.warning("session_log.not_measured", exc_info=True, extra=extra)
            return
        self._allowance.go_on_from(held)
        self._knows_log = True

    # --- taking ------------------------------------------------------------------------------

    def _new(self, stay: Stay, batch: Sequence[ReceivedEvent]) -> list[Said]:
        """Without what the log holds already."""
        return [
            Said(received.event, received.n, len(received.body))
            for received in batch
            if not isinstance(received.event, TranscriptWord) and received.n > stay.logged
        ]

    def _hold(self, stay: Stay, said: list[Said]) -> None:
        """Kept until the session is at home there: few words, of an honest sandbox."""
        stay.prelude += said
        size, limits = sum(one.size for one in stay.prelude), self._limits
        if len(stay.prelude) > limits.max_prelude_events or size > limits.max_prelude_bytes:
            raise SandboxMisbehaved(SANDBOX_MISBEHAVED)
        for one in said:
            match one.event:
                case AgentResumed() as answer:
                    stay.take_resumed(answer)
                case CommandFailed(command=name) as failed if name == RESUME:
                    stay.take_resumed(failed)
                case AgentDied() as died:
                    stay.agent_died(agent_died(died))
                case _:
                    pass

    async def _write(self, stay: Stay, said: list[Said]) -> None:
        answered = [answer for one in said if (answer := self._answer_to(one)) is not None]
        turn_id = self._journal.view.turn_id
        await self._journal.write(self._drafts(said))
        for answer in answered:
            if key_of(answer) not in stay.told:
                await tell(stay, answer)
        for one in said:
            match one.event:
                case AgentDied() as died:
                    stay.agent_died(agent_died(died))
                case TurnEnded(turn_id=ended) if ended == turn_id:
                    self._turns.interruption = None
                    self._on_turn_over(ended)
                case _:
                    pass

    def _drafts(self, said: Sequence[Said]) -> list[Draft]:
        """Not what is asked once more, because this or an earlier control plane might not know it;
        and a turn ends once, and no other one does than that which runs."""
        drafts, view = list[Draft](), self._journal.view
        for one in said:
            if one.event in [*view.permissions, *view.questions]:
                continue
            if self._answer_to(one) is not None:
                continue
            if isinstance(one.event, TurnEnded):
                if one.event.turn_id != view.turn_id:
                    continue
                drafts += [Draft(moot) for moot in moot_after_turn(view)]
            drafts.append(Draft(one.event, one.n))
            if isinstance(one.event, TurnEnded):
                drafts += self._offered(one.event)
            view = fold(view, one.event)
        return drafts

    def _answer_to(self, said: Said) -> Answer | None:
        """What was decided already about a question that is asked again."""
        match said.event:
            case PermissionRequested(permission_id=permission):
                wanted = f"permission {permission}"
            case QuestionAsked(question_id=question):
                wanted = f"question {question}"
            case _:
                return None
        answers = self._turns.standing.answers
        answer = next((answer for answer in answers if key_of(answer) == wanted), None)
        if isinstance(answer, AnswerPermission) and isinstance(said.event, PermissionRequested):
            return answer if answer.decision.input_hash == said.event.input_hash else None
        return answer

    def _offered(self, ended: TurnEnded) -> list[Draft]:
        """The prompt of a turn that did not come to an end of its own."""
        standing, stopped = self._turns.standing, self._turns.interruption
        if ended.outcome == "completed":
            return []
        if stopped is not None and stopped.turn_id == ended.turn_id:
            why = stopped.sentence
        else:
            why = endings.UPSTREAM_FAILED if recovery.failed_upstream(ended) else ""
        return [Draft(event) for event in recovery.offer(standing, why)] if why else []

    def _acknowledge(self, stay: Stay, batch: Sequence[ReceivedEvent]) -> None:
        """As far as what the deltas said is durable, too."""
        safe = [one for one in batch if not isinstance(one.event, TRANSIENT)]
        if not self._journal.has_open_blocks:
            safe = list(batch)
        if safe:
            stay.sandbox.acknowledge(stay.transcripts.safe(safe[-1].n))

    # --- what it must not --------------------------------------------------------------------

    def _refuse(self, said: Sequence[Said]) -> None:
        self._refuse_flood(said)
        self._refuse_unnamed_inputs(said)
        kept = sum(one.size for one in said if not isinstance(one.event, TRANSIENT))
        if not self._allowance.spend(kept, now=self._clock.monotonic()):
            raise SandboxMisbehaved(SAID_TOO_MUCH)

    def _refuse_flood(self, said: Sequence[Said]) -> None:
        asks = [s.event for s in said if isinstance(s.event, PermissionRequested | QuestionAsked)]
        if not asks:
            return
        view = self._journal.view
        known: list[PermissionRequested | QuestionAsked] = [*view.permissions, *view.questions]
        still_open = [*known, *(ask for ask in asks if ask not in known)]
        size = sum(len(event_codec.encode(ask)) for ask in still_open)
        limits = self._limits
        if len(still_open) > limits.max_open_questions or size > limits.max_open_question_bytes:
            raise SandboxMisbehaved(SANDBOX_MISBEHAVED)

    def _refuse_unnamed_inputs(self, said: Sequence[Said]) -> None:
        """People are shown the input and answer by its hash: a sandbox that says them apart could
        have one thing approved and do another."""
        asks = (s.event for s in said if isinstance(s.event, PermissionRequested))
        if not all(names_its_input(ask) for ask in asks):
            raise SandboxMisbehaved(SANDBOX_MISBEHAVED)
