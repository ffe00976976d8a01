"""All that is folded from a session's events: the view that people see, and beside it what only the
rules need to go on after anything. Pure: the same events always give the same standing.
"""

from collections.abc import Iterable

import msgspec

from orchestrator.protocol.chat import QueuedPrompt, SessionView
from orchestrator.protocol.commands import AnswerPermission, AnswerQuestion, PermissionDecision
from orchestrator.protocol.control_events import (
    CheckpointTaken,
    InterruptRequested,
    PermissionResolved,
    PromptAccepted,
    PromptLetGo,
    PromptRemoved,
    PromptUnfinished,
    QuestionAnswered,
    RecoveryStopped,
    SandboxAssigned,
    SandboxLost,
    SessionEnded,
    SessionHibernated,
    SessionRenamed,
    TurnStarted,
    UsageMetered,
    WentBack,
)
from orchestrator.protocol.event_parts import Usage
from orchestrator.protocol.events import Event, event_codec
from orchestrator.protocol.ids import TurnId
from orchestrator.protocol.sandbox_events import (
    AgentReady,
    AgentResumed,
    ConversationReset,
    ModelChanged,
    PermissionModeChanged,
    PermissionRequested,
    PermissionWithdrawn,
    QuestionAsked,
    QuestionWithdrawn,
    TurnEnded,
)
from orchestrator.sessions.ports import SessionRecord
from orchestrator.sessions.view.endings import RESTARTED
from orchestrator.sessions.view.states import SERVED
from orchestrator.sessions.view.view import deferrable, fold

replace = msgspec.structs.replace

LOST = "sandbox_lost"
"""The subtype of a turn's end that the control plane had to write."""
MAX_ANSWERS = 64
"""Of one turn, kept for a sandbox that may not have got them."""

Answer = AnswerPermission | AnswerQuestion

FOLDED: tuple[type[msgspec.Struct], ...] = (
    AgentReady,
    AgentResumed,
    CheckpointTaken,
    ConversationReset,
    InterruptRequested,
    ModelChanged,
    PermissionModeChanged,
    PermissionRequested,
    PermissionResolved,
    PermissionWithdrawn,
    PromptAccepted,
    PromptLetGo,
    PromptRemoved,
    PromptUnfinished,
    QuestionAnswered,
    QuestionAsked,
    QuestionWithdrawn,
    RecoveryStopped,
    SandboxAssigned,
    SandboxLost,
    SessionEnded,
    SessionHibernated,
    SessionRenamed,
    TurnEnded,
    TurnStarted,
    UsageMetered,
    WentBack,
)
TAGS = frozenset(str(event.__struct_config__.tag) for event in FOLDED)
"""Of the durable events that a standing is folded from; no other one changes it."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    view: SessionView
    prompt: QueuedPrompt | None = None
    """Of the turn that runs; of a turn that is about to, between two events of one write."""
    stopping: TurnId | None = None
    """The turn that somebody asked to interrupt."""
    answers: tuple[Answer, ...] = ()
    """Decisions of this turn, as they went to the sandbox."""
    undelivered: tuple[Answer, ...] = ()
    """Those among them that were made while there was no sandbox to tell."""
    pending: PermissionRequested | QuestionAsked | None = None
    """For which the turn waits without a sandbox; set also where it is answered meanwhile."""
    held: bool = False
    """The queue waits: a prompt was not finished, and nobody said yet how to go on."""
    by_loss: bool = False
    """It was not finished because its sandbox was lost, and nobody gave up on it."""
    agent_session_id: str = ""
    branch: int = 0
    deaths: int = 0
    rests: bool = False
    """Waking it was given up: only a person's wish tries again."""
    went_back_to: str = ""
    """The checkpoint that it stands at, where that is not the latest."""


def advanced(standing: Standing, event: Event) -> Standing:
    """The standing after `event`."""
    before = standing.view
    standing = _with_turn(standing, event)
    standing = _with_life(standing, event)
    view = fold(before, event)
    return standing if view is standing.view else replace(standing, view=view)


def view_of(record: SessionRecord) -> SessionView:
    """A session that is not in memory, as the store has it."""
    return SessionView(
        id=record.id,
        title=record.title,
        profile=record.profile,
        state=record.state,
        created_at=record.created_at,
        updated_at=record.updated_at,
        model=record.model,
        permission_mode=record.permission_mode,
        usage=record.usage,
        cost_usd=record.cost_usd,
        context_used=record.context_used,
        context_window=record.context_window,
        checkpoint_id=record.checkpoint_id,
        checkpoint_at=record.checkpoint_at,
        ending=record.ending,
    )


def updated(record: SessionRecord, standing: Standing) -> SessionRecord:
    """What the store shall have of it."""
    view = standing.view
    return replace(
        record,
        title=view.title,
        state=view.state,
        updated_at=view.updated_at,
        model=view.model,
        permission_mode=view.permission_mode,
        usage=view.usage,
        cost_usd=view.cost_usd,
        context_used=view.context_used,
        context_window=view.context_window,
        sandbox_id=view.sandbox_id,
        ending=view.ending,
        agent_session_id=standing.agent_session_id,
        branch=standing.branch,
        deaths=standing.deaths,
        checkpoint_id=view.checkpoint_id,
        checkpoint_at=view.checkpoint_at,
    )


def new_standing(record: SessionRecord) -> Standing:
    return Standing(view=view_of(record))


def blank(record: SessionRecord) -> Standing:
    """Before its first event: what the record says of what the log says exactly is left out."""
    view = replace(view_of(record), state="waiting", ending=None, usage=Usage(), cost_usd=0.0)
    return Standing(view=view)


def replayed(standing: Standing, bodies: Iterable[bytes]) -> Standing:
    """`standing` after the events of which these are the bodies, as the log has them."""
    for body in bodies:
        standing = advanced(standing, event_codec.decode(body))
    return standing


def waits_for_one_answer(standing: Standing) -> bool:
    """A turn that another sandbox can go on with. Not one that somebody asked to stop."""
    if standing.stopping is not None:
        return False
    return standing.pending is not None or deferrable(standing.view) is not None


def _with_turn(standing: Standing, event: Event) -> Standing:  # noqa: PLR0911 - one per case
    view = standing.view
    match event:
        case PromptAccepted(queued=queued):
            prompt = QueuedPrompt(client_id=event.client_id, text=event.text, by=event.by)
            by_loss = standing.by_loss and not standing.rests
            standing = replace(standing, held=False, by_loss=by_loss)
            return standing if queued else replace(standing, prompt=prompt)
        case PromptUnfinished():
            return replace(standing, held=True)
        case PromptLetGo():
            return replace(standing, held=False)
        case TurnStarted(client_id=client_id):
            waiting = (p for p in view.queue if p.client_id == client_id)
            begun = next(waiting, standing.prompt)
            standing = replace(standing, prompt=begun, stopping=None, held=False, by_loss=False)
            return replace(standing, answers=(), undelivered=())
        case InterruptRequested(turn_id=turn_id):
            return replace(standing, stopping=turn_id)
        case PermissionResolved():
            return _decided(standing, _decision(view, event))
        case QuestionAnswered(question_id=key, answers=answers):
            return _decided(standing, AnswerQuestion(question_id=key, answers=answers))
        case TurnEnded(turn_id=turn_id, subtype=subtype) if turn_id == view.turn_id:
            deaths = standing.deaths if subtype == LOST else 0
            standing = replace(standing, prompt=None, stopping=None, pending=None, deaths=deaths)
            return replace(standing, answers=(), undelivered=())
        case _:
            return standing


def _decision(view: SessionView, event: PermissionResolved) -> AnswerPermission | None:
    """What was decided, as the sandbox is told it."""
    key = event.permission_id
    request = next((p for p in view.permissions if p.permission_id == key), None)
    if request is None:
        return None
    decision = PermissionDecision(
        choice=event.choice,
        input_hash=request.input_hash,
        updated_input=event.updated_input,
        suggestions=event.suggestions,
        reason=event.reason,
    )
    return AnswerPermission(permission_id=key, decision=decision)


def _decided(standing: Standing, answer: Answer | None) -> Standing:
    if answer is None:
        return standing
    answers = (*standing.answers, answer)[-MAX_ANSWERS:]
    undelivered = standing.undelivered
    if standing.view.state not in SERVED:
        undelivered = (*undelivered, answer)[-MAX_ANSWERS:]
    return replace(standing, answers=answers, undelivered=undelivered)


def _with_life(standing: Standing, event: Event) -> Standing:  # noqa: PLR0911 - one per case
    match event:
        case (
            AgentReady(agent_session_id=named)
            | AgentResumed(agent_session_id=named)
            | ConversationReset(agent_session_id=named)
        ):
            return replace(standing, agent_session_id=named)
        case SandboxAssigned():
            return replace(standing, rests=False, pending=None, undelivered=())
        case SandboxLost(tag=tag):
            deaths = standing.deaths + (tag != RESTARTED)
            pending = standing.pending or deferrable(standing.view)
            return replace(standing, deaths=deaths, pending=pending, by_loss=True)
        case RecoveryStopped():
            return replace(standing, rests=True)
        case SessionHibernated():
            pending = standing.pending or deferrable(standing.view)
            return replace(standing, rests=False, pending=pending)
        case CheckpointTaken():
            return replace(standing, went_back_to="")
        case WentBack(checkpoint_id=checkpoint, branch=branch, agent_session_id=named):
            return replace(standing, went_back_to=checkpoint, branch=branch, agent_session_id=named)
        case _:
            return standing
