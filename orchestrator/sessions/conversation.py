"""The rules of one conversation: may this happen now, and what follows from it?

For: what browsers ask and what the sandbox says, one at a time. Whoever calls holds the session's
turn (see `live_session`), so no two of these overlap. Not for tasks, followers or the sandbox's
life.

Prompts that are sent while a turn runs wait in order and run after it, also after a stopped one:
whoever wants them not to run removes them.
"""

import secrets
from collections.abc import Sequence
from typing import assert_never

from orchestrator.protocol.chat import (
    ChooseModel,
    ChoosePermissionMode,
    DecidePermission,
    End,
    Ending,
    GiveAnswer,
    Ping,
    Prompt,
    RemovePrompt,
    Rename,
    Resume,
    SessionView,
    Stop,
)
from orchestrator.protocol.commands import (
    AnswerPermission,
    AnswerQuestion,
    Interrupt,
    SetModel,
    SetPermissionMode,
    StartTurn,
)
from orchestrator.protocol.control_events import (
    InterruptRequested,
    PermissionResolved,
    PromptAccepted,
    PromptRemoved,
    QuestionAnswered,
    SandboxAssigned,
    SandboxLost,
    SessionEnded,
    SessionRenamed,
    TurnStarted,
)
from orchestrator.protocol.events import TRANSIENT, Event, event_codec
from orchestrator.protocol.ids import ClientId, TurnId
from orchestrator.protocol.sandbox_events import (
    AgentDied,
    PermissionRequested,
    QuestionAsked,
    TurnEnded,
)
from orchestrator.protocol.wire import Unrecognised
from orchestrator.sessions.checks import (
    check_answers,
    check_decision,
    check_model,
    check_prompt,
    hash_of_decided,
    names_its_input,
)
from orchestrator.sessions.endings import (
    SAID_TOO_MUCH,
    SANDBOX_MISBEHAVED,
    agent_died,
    is_wished,
)
from orchestrator.sessions.errors import (
    AnswerTooLate,
    NothingToStop,
    QueueFull,
    SandboxNotReady,
    SessionOver,
    StorageFailed,
    UnknownCommand,
    UnknownPrompt,
)
from orchestrator.sessions.journal import Draft, Journal, is_transient
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.log_allowance import LogAllowance
from orchestrator.sessions.ports import Actor, Clock, EventLog, ReceivedEvent, Sandbox
from orchestrator.sessions.profiles import Profile
from orchestrator.sessions.states import is_over
from orchestrator.sessions.titles import MAX_CHOSEN_TITLE, UNTITLED, title_from
from orchestrator.sessions.view import withdrawals

SessionCommand = (
    Prompt
    | RemovePrompt
    | Stop
    | DecidePermission
    | GiveAnswer
    | ChooseModel
    | ChoosePermissionMode
    | Rename
    | End
    | Resume
    | Ping
    | Unrecognised
)


class SandboxMisbehaved(Exception):
    """The sandbox broke a bound that an honest one keeps; `ending` is what its people are told."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.tag)
        self.ending = ending


class Conversation:
    def __init__(
        self,
        journal: Journal,
        *,
        log: EventLog,
        clock: Clock,
        profile: Profile | None,
        limits: SessionLimits,
    ) -> None:
        self._journal = journal
        self._log = log
        self._profile = profile
        self._limits = limits
        self._clock = clock
        self._allowance = LogAllowance(limits, now=clock.monotonic())
        self._stopping: TurnId | None = None
        self.sandbox: Sandbox | None = None
        self.died: Ending | None = None
        """Set once the agent said that it is dead."""

    @property
    def view(self) -> SessionView:
        return self._journal.view

    # --- from browsers -----------------------------------------------------------------------

    async def obey(self, actor: Actor, command: SessionCommand) -> None:
        """Raises RuleBroken; then nothing was changed."""
        match command:
            case Prompt():
                await self._prompt(actor, command)
            case RemovePrompt(client_id=client_id):
                await self._remove_prompt(client_id)
            case Stop():
                await self._stop(actor)
            case DecidePermission():
                await self._decide(actor, command)
            case GiveAnswer():
                await self._answer(actor, command)
            case ChooseModel(model=model):
                await self._choose_model(model)
            case ChoosePermissionMode(mode=mode):
                await self._ready_sandbox().send(SetPermissionMode(mode=mode))
            case Rename(title=title):
                await self._write(SessionRenamed(title=title_from(title, longest=MAX_CHOSEN_TITLE)))
            case End() | Resume() | Ping() | Unrecognised():
                raise UnknownCommand
            case _:
                assert_never(command)

    async def _prompt(self, actor: Actor, command: Prompt) -> None:
        check_prompt(command.text)
        if await self._log.has_prompt(self.view.id, command.client_id):
            return
        self._refuse_when_over()
        queued = self.view.state != "idle"
        if queued:
            self._refuse_full_queue(command.text)
        accepted = PromptAccepted(
            client_id=command.client_id, text=command.text, by=actor.name, queued=queued
        )
        title = self._first_title(command.text)
        if queued:
            await self._write(accepted, *title)
        else:
            await self._start_turn(command.client_id, command.text, accepted, *title)

    def _refuse_full_queue(self, text: str) -> None:
        queue, limits = self.view.queue, self._limits
        size = sum(len(prompt.text.encode()) for prompt in queue) + len(text.encode())
        if len(queue) >= limits.max_queued_prompts or size > limits.max_queued_bytes:
            raise QueueFull

    def _first_title(self, text: str) -> list[Event]:
        if self.view.title != UNTITLED:
            return []
        return [SessionRenamed(title=title_from(text))]

    async def _remove_prompt(self, client_id: ClientId) -> None:
        if all(prompt.client_id != client_id for prompt in self.view.queue):
            raise UnknownPrompt
        await self._write(PromptRemoved(client_id=client_id))

    async def _stop(self, actor: Actor) -> None:
        """Asked again for the same turn it is only sent again."""
        turn_id = self.view.turn_id
        if turn_id is None or self.sandbox is None:
            raise NothingToStop
        if self._stopping != turn_id:
            await self._write(InterruptRequested(turn_id=turn_id, by=actor.name))
            self._stopping = turn_id
        await self.sandbox.send(Interrupt(turn_id=turn_id))

    async def _decide(self, actor: Actor, command: DecidePermission) -> None:
        key, decision = command.permission_id, command.decision
        request = next((p for p in self.view.permissions if p.permission_id == key), None)
        if request is None:
            raise AnswerTooLate
        check_decision(decision, request)
        decided = hash_of_decided(decision, request)
        sandbox = self._ready_sandbox()
        await self._write(
            PermissionResolved(
                permission_id=key,
                choice=decision.choice,
                by=actor.name,
                reason=decision.reason,
                changed_input=decision.updated_input is not None,
                tool_name=request.tool_name,
                input_hash=decided,
            )
        )
        await sandbox.send(AnswerPermission(permission_id=key, decision=decision))

    async def _answer(self, actor: Actor, command: GiveAnswer) -> None:
        key, answers = command.question_id, command.answers
        asked = next((q for q in self.view.questions if q.question_id == key), None)
        if asked is None:
            raise AnswerTooLate
        check_answers(answers, asked)
        sandbox = self._ready_sandbox()
        await self._write(QuestionAnswered(question_id=key, answers=answers, by=actor.name))
        await sandbox.send(AnswerQuestion(question_id=key, answers=answers))

    async def _choose_model(self, model: str) -> None:
        """Takes effect when the agent says so, with `ModelChanged`."""
        sandbox = self._ready_sandbox()
        if self._profile is not None:
            check_model(model, self._profile)
        await sandbox.send(SetModel(model=model))

    def _ready_sandbox(self) -> Sandbox:
        self._refuse_when_over()
        if self.sandbox is None:
            raise SandboxNotReady
        return self.sandbox

    def _refuse_when_over(self) -> None:
        if is_over(self.view.state) or self.view.state == "ending":
            raise SessionOver

    # --- from the sandbox and the gateway ----------------------------------------------------

    async def assigned(self, sandbox: Sandbox, *, waited_ms: int) -> None:
        self.sandbox = sandbox
        await self._write(SandboxAssigned(sandbox_id=sandbox.id, waited_ms=waited_ms))
        await self._go_on()

    async def take(self, sandbox: Sandbox, batch: Sequence[ReceivedEvent]) -> None:
        """What the sandbox said, whether or not its turn is over. Acknowledged as far as what the
        deltas said is durable. Raises StorageFailed, SandboxMisbehaved."""
        self._refuse_flood(batch)
        self._refuse_unnamed_inputs(batch)
        self._refuse_endless_log(batch)
        drafts = [Draft(received.event, received.n) for received in batch]
        await self._journal.write(drafts)
        safe = [draft for draft in drafts if not is_transient(draft)]
        if not self._journal.has_open_blocks:
            safe = drafts
        if safe and safe[-1].n is not None:
            sandbox.acknowledge(safe[-1].n)
        for draft in drafts:
            if isinstance(draft.event, AgentDied):
                self.died = agent_died(draft.event)
        await self._go_on()

    async def report(self, events: Sequence[Event]) -> None:
        """What the gateway reported. Money that was spent is counted even where it cannot be
        logged."""
        drafts = [Draft(event) for event in events]
        try:
            await self._journal.write(drafts)
        except StorageFailed:
            self._journal.show_unlogged(drafts)
            raise

    async def finish(self, ending: Ending, *, by: str | None = None, lost: bool = False) -> None:
        """The end. Its people are told even where it cannot be logged (raises StorageFailed)."""
        if is_over(self.view.state):
            return
        drafts = [Draft(event) for event in self._last_words(ending, by=by, lost=lost)]
        try:
            await self._journal.write(drafts)
        except StorageFailed:
            self._journal.show_unlogged(drafts)
            raise

    def _last_words(self, ending: Ending, *, by: str | None, lost: bool) -> list[Event]:
        words = withdrawals(self.view)
        if self.view.turn_id is not None:
            outcome = TurnEnded(
                turn_id=self.view.turn_id,
                outcome="interrupted" if is_wished(ending.tag) else "failed",
                text="" if is_wished(ending.tag) else ending.sentence,
            )
            words.append(outcome)
        if lost:
            words.append(SandboxLost(tag=ending.tag, sentence=ending.sentence))
        tag = "sandbox_lost" if lost else ending.tag
        return [*words, SessionEnded(tag=tag, sentence=ending.sentence, by=by)]

    def _refuse_flood(self, batch: Sequence[ReceivedEvent]) -> None:
        asks = [r.event for r in batch if isinstance(r.event, PermissionRequested | QuestionAsked)]
        if not asks:
            return
        still_open = [*self.view.permissions, *self.view.questions, *asks]
        size = sum(len(event_codec.encode(ask)) for ask in still_open)
        limits = self._limits
        if len(still_open) > limits.max_open_questions or size > limits.max_open_question_bytes:
            raise SandboxMisbehaved(SANDBOX_MISBEHAVED)

    def _refuse_unnamed_inputs(self, batch: Sequence[ReceivedEvent]) -> None:
        """People are shown the input and answer by its hash: a sandbox that says them apart could
        have one thing approved and do another."""
        asks = (r.event for r in batch if isinstance(r.event, PermissionRequested))
        if not all(names_its_input(ask) for ask in asks):
            raise SandboxMisbehaved(SANDBOX_MISBEHAVED)

    def _refuse_endless_log(self, batch: Sequence[ReceivedEvent]) -> None:
        kept = sum(len(r.body) for r in batch if not isinstance(r.event, TRANSIENT))
        if not self._allowance.spend(kept, now=self._clock.monotonic()):
            raise SandboxMisbehaved(SAID_TOO_MUCH)

    # --- turns -------------------------------------------------------------------------------

    async def _go_on(self) -> None:
        """Run the next waiting prompt, if the last turn is over."""
        if self.view.state == "idle" and self.view.queue:
            following = self.view.queue[0]
            await self._start_turn(following.client_id, following.text)

    async def _start_turn(self, client_id: ClientId, text: str, *before: Event) -> None:
        sandbox = self._ready_sandbox()
        turn_id = TurnId(secrets.token_hex(8))
        await self._write(*before, TurnStarted(turn_id=turn_id, client_id=client_id))
        await sandbox.send(StartTurn(turn_id=turn_id, text=text))

    async def _write(self, *events: Event) -> None:
        await self._journal.write([Draft(event) for event in events])
