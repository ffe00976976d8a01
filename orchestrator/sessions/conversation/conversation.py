"""What people may ask of a session, and what follows from it.

For: one command at a time. Whoever calls holds the session's turn to write (see `order`), so no two
of these overlap. Not for what the sandbox says (`intake`), nor for its coming and going (`life`).
"""

from typing import assert_never

from orchestrator.protocol.chat import (
    ChooseModel,
    ChoosePermissionMode,
    DecidePermission,
    End,
    GiveAnswer,
    GoBack,
    Hibernate,
    LetGo,
    Ping,
    Prompt,
    RemovePrompt,
    Rename,
    Resume,
    RunAgain,
    SessionView,
    Stop,
    TakeCheckpoint,
    UnfinishedPrompt,
    Wake,
)
from orchestrator.protocol.commands import (
    AnswerPermission,
    AnswerQuestion,
    SetModel,
    SetPermissionMode,
)
from orchestrator.protocol.control_events import (
    InterruptRequested,
    PermissionResolved,
    PromptAccepted,
    PromptLetGo,
    PromptRemoved,
    QuestionAnswered,
    SessionRenamed,
)
from orchestrator.protocol.events import Event
from orchestrator.protocol.ids import ClientId
from orchestrator.protocol.wire import Unrecognised
from orchestrator.sessions.conversation.checks import (
    check_answers,
    check_decision,
    check_model,
    check_prompt,
    hash_of_decided,
)
from orchestrator.sessions.conversation.turns import Turns
from orchestrator.sessions.errors import (
    AnswerTooLate,
    NothingToStop,
    NothingUnfinished,
    QueueFull,
    SandboxNotReady,
    SessionOver,
    UnknownCommand,
    UnknownPrompt,
)
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.ports import Actor, EventLog
from orchestrator.sessions.profiles import Profile
from orchestrator.sessions.stays.stay import Stay
from orchestrator.sessions.view.recovery import close_turn
from orchestrator.sessions.view.standing import Answer
from orchestrator.sessions.view.states import is_over
from orchestrator.sessions.view.titles import MAX_CHOSEN_TITLE, UNTITLED, title_from

SessionCommand = (
    Prompt
    | RemovePrompt
    | Stop
    | DecidePermission
    | GiveAnswer
    | ChooseModel
    | ChoosePermissionMode
    | Rename
    | RunAgain
    | LetGo
    | TakeCheckpoint
    | GoBack
    | Hibernate
    | Wake
    | End
    | Resume
    | Ping
    | Unrecognised
)


class Conversation:
    def __init__(
        self,
        turns: Turns,
        *,
        log: EventLog,
        profile: Profile | None,
        limits: SessionLimits,
    ) -> None:
        self._turns = turns
        self._log = log
        self._profile = profile
        self._limits = limits

    @property
    def view(self) -> SessionView:
        return self._turns.view

    async def obey(  # noqa: C901, PLR0912 - one per case
        self, actor: Actor, command: SessionCommand
    ) -> None:
        """Raises RuleBroken; then nothing was changed."""
        match command:
            case Prompt():
                await self._prompt(actor, command)
            case RunAgain():
                await self._run_again(actor, command)
            case LetGo(unfinished=client_id):
                self._unfinished(client_id)
                await self._write(PromptLetGo(client_id=client_id, by=actor.name))
                await self._turns.go_on()
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
                await self._ready_stay().send(SetPermissionMode(mode=mode))
            case Rename(title=title):
                await self._write(SessionRenamed(title=title_from(title, longest=MAX_CHOSEN_TITLE)))
            case TakeCheckpoint() | GoBack() | Hibernate() | Wake() | End():
                raise UnknownCommand
            case Resume() | Ping() | Unrecognised():
                raise UnknownCommand
            case _:
                assert_never(command)

    # --- prompts -----------------------------------------------------------------------------

    async def _prompt(self, actor: Actor, command: Prompt) -> None:
        check_prompt(command.text)
        if await self._log.has_prompt(self.view.id, command.client_id):
            return
        self._refuse_when_over()
        queued = not self._turns.may_start
        if queued:
            self._refuse_full_queue(command.text)
        accepted = PromptAccepted(
            client_id=command.client_id, text=command.text, by=actor.name, queued=queued
        )
        await self._accept(accepted, *self._first_title(command.text))

    async def _run_again(self, actor: Actor, command: RunAgain) -> None:
        """Ahead of all that waits."""
        if await self._log.has_prompt(self.view.id, command.client_id):
            return
        self._refuse_when_over()
        unfinished = self._unfinished(command.unfinished)
        accepted = PromptAccepted(
            client_id=command.client_id,
            text=unfinished.text,
            by=actor.name,
            queued=not self._turns.may_start,
            again=unfinished.client_id,
        )
        await self._accept(accepted)

    async def _accept(self, accepted: PromptAccepted, *beside: Event) -> None:
        if not accepted.queued:
            await self._turns.start(accepted.client_id, accepted.text, accepted, *beside)
            return
        await self._write(accepted, *beside)
        await self._turns.go_on()

    def _unfinished(self, client_id: ClientId) -> UnfinishedPrompt:
        unfinished = self.view.unfinished
        if unfinished is None or unfinished.client_id != client_id:
            raise NothingUnfinished
        return unfinished

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

    # --- the turn that runs ------------------------------------------------------------------

    async def _stop(self, actor: Actor) -> None:
        """Of a turn that waits without a sandbox nothing runs: it is over at once."""
        turn_id = self.view.turn_id
        if turn_id is None:
            raise NothingToStop
        if self._turns.stay is not None:
            await self._turns.interrupt(actor.name)
            return
        if self.view.state != "hibernated":
            raise SandboxNotReady
        asked = InterruptRequested(turn_id=turn_id, by=actor.name)
        await self._write(asked, *close_turn(self._turns.standing, text="", interrupted=True))

    async def _decide(self, actor: Actor, command: DecidePermission) -> None:
        key, decision = command.permission_id, command.decision
        request = next((p for p in self.view.permissions if p.permission_id == key), None)
        if request is None:
            raise AnswerTooLate
        check_decision(decision, request)
        decided = hash_of_decided(decision, request)
        self._refuse_when_over()
        stay = self._turns.stay
        await self._write(
            PermissionResolved(
                permission_id=key,
                choice=decision.choice,
                by=actor.name,
                reason=decision.reason,
                changed_input=decision.updated_input is not None,
                tool_name=request.tool_name,
                input_hash=decided,
                updated_input=decision.updated_input,
                suggestions=decision.suggestions,
            )
        )
        await tell(stay, AnswerPermission(permission_id=key, decision=decision))

    async def _answer(self, actor: Actor, command: GiveAnswer) -> None:
        key, answers = command.question_id, command.answers
        asked = next((q for q in self.view.questions if q.question_id == key), None)
        if asked is None:
            raise AnswerTooLate
        check_answers(answers, asked)
        self._refuse_when_over()
        stay = self._turns.stay
        await self._write(QuestionAnswered(question_id=key, answers=answers, by=actor.name))
        await tell(stay, AnswerQuestion(question_id=key, answers=answers))

    async def _choose_model(self, model: str) -> None:
        """Takes effect when the agent says so, with `ModelChanged`."""
        stay = self._ready_stay()
        if self._profile is not None:
            check_model(model, self._profile)
        await stay.send(SetModel(model=model))

    # --- whether it may ----------------------------------------------------------------------

    def _ready_stay(self) -> Stay:
        self._refuse_when_over()
        if self._turns.stay is None:
            raise SandboxNotReady
        return self._turns.stay

    def _refuse_when_over(self) -> None:
        if is_over(self.view.state) or self.view.state == "ending":
            raise SessionOver

    async def _write(self, *events: Event) -> None:
        await self._turns.write(events)


async def tell(stay: Stay | None, answer: Answer) -> None:
    """Hand a decision over; without a sandbox it is kept for the next one."""
    if stay is not None:
        stay.told.add(key_of(answer))
        await stay.send(answer)


def key_of(answer: Answer) -> str:
    if isinstance(answer, AnswerPermission):
        return f"permission {answer.permission_id}"
    return f"question {answer.question_id}"
