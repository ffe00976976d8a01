"""A session's view, folded from its events. Pure: the same events always give the same view."""

from collections.abc import Iterable

import msgspec

from orchestrator.protocol.chat import Ending, QueuedPrompt, SessionView
from orchestrator.protocol.control_events import (
    PermissionResolved,
    PromptAccepted,
    PromptRemoved,
    QuestionAnswered,
    SandboxAssigned,
    SandboxLost,
    SessionEnded,
    SessionRenamed,
    TurnStarted,
    UsageMetered,
)
from orchestrator.protocol.events import Event
from orchestrator.protocol.ids import ClientId, PermissionId, QuestionId, SandboxId
from orchestrator.protocol.sandbox_events import (
    AgentReady,
    ContextMeasured,
    MemoryMeasured,
    ModelChanged,
    PermissionModeChanged,
    PermissionRequested,
    PermissionWithdrawn,
    QuestionAsked,
    QuestionWithdrawn,
    StatusReported,
    TurnEnded,
)
from orchestrator.sessions.endings import is_wished
from orchestrator.sessions.ports import SessionRecord
from orchestrator.sessions.states import is_over, step
from orchestrator.sessions.usage import summed

replace = msgspec.structs.replace

OPENS_OR_CLOSES = (
    TurnStarted,
    TurnEnded,
    PermissionRequested,
    PermissionResolved,
    PermissionWithdrawn,
    QuestionAsked,
    QuestionAnswered,
    QuestionWithdrawn,
)


def fold(view: SessionView, event: Event) -> SessionView:  # noqa: PLR0911 - one per case
    """The view after `event`; the very same object where the event changes nothing in it."""
    match event:
        case TurnStarted() | TurnEnded() | PromptAccepted() | PromptRemoved():
            return _fold_turn(view, event)
        case PermissionRequested() | QuestionAsked():
            return _fold_asked(view, event)
        case PermissionResolved(permission_id=key) | PermissionWithdrawn(permission_id=key):
            return _without_permission(view, key)
        case QuestionAnswered(question_id=key) | QuestionWithdrawn(question_id=key):
            return _without_question(view, key)
        case SandboxAssigned() | SandboxLost() | SessionEnded() | SessionRenamed():
            return _fold_life(view, event)
        case (
            AgentReady()
            | ModelChanged()
            | PermissionModeChanged()
            | StatusReported()
            | ContextMeasured()
            | MemoryMeasured()
            | UsageMetered()
        ):
            return _changed(view, _fold_figures(view, event))
        case _:
            return view


def view_of(record: SessionRecord) -> SessionView:
    """A session that no sandbox serves, as the store has it."""
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
        ending=record.ending,
    )


def updated(record: SessionRecord, view: SessionView) -> SessionRecord:
    """What the store shall have of the view."""
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
    )


def recovered(view: SessionView, events: Iterable[Event]) -> SessionView:
    """`view` with the turn and the questions that `events`, its latest, leave open."""
    folded = replace(view, state="idle")
    for event in events:
        if isinstance(event, OPENS_OR_CLOSES):
            folded = fold(folded, event)
    return replace(
        view,
        turn_id=folded.turn_id,
        permissions=folded.permissions,
        questions=folded.questions,
    )


def withdrawals(view: SessionView) -> list[Event]:
    """What says that every open question of the view is moot."""
    permissions = [PermissionWithdrawn(permission_id=p.permission_id) for p in view.permissions]
    questions = [QuestionWithdrawn(question_id=q.question_id) for q in view.questions]
    return [*permissions, *questions]


def _fold_turn(
    view: SessionView, event: TurnStarted | TurnEnded | PromptAccepted | PromptRemoved
) -> SessionView:
    if is_over(view.state):
        return view
    match event:
        case PromptAccepted():
            prompt = QueuedPrompt(client_id=event.client_id, text=event.text, by=event.by)
            return replace(view, queue=[*view.queue, prompt]) if event.queued else view
        case PromptRemoved(client_id=client_id):
            return _changed(view, replace(view, queue=_without(view.queue, client_id)))
        case TurnStarted(turn_id=turn_id, client_id=client_id):
            state = step(view.state, "turn_started")
            queue = _without(view.queue, client_id)
            return replace(view, state=state, turn_id=turn_id, queue=queue)
        case TurnEnded(turn_id=turn_id):
            if turn_id != view.turn_id:
                return view
            state = step(view.state, "turn_over")
            return replace(view, state=state, turn_id=None, permissions=[], questions=[])


def _fold_asked(view: SessionView, event: PermissionRequested | QuestionAsked) -> SessionView:
    """Also outside a turn: what runs in the background may ask as well."""
    if is_over(view.state):
        return view
    state = step(view.state, "asked")
    if isinstance(event, PermissionRequested):
        others = [p for p in view.permissions if p.permission_id != event.permission_id]
        return replace(view, state=state, permissions=[*others, event])
    asked = [q for q in view.questions if q.question_id != event.question_id]
    return replace(view, state=state, questions=[*asked, event])


def _without_permission(view: SessionView, key: PermissionId) -> SessionView:
    left = [p for p in view.permissions if p.permission_id != key]
    if len(left) == len(view.permissions):
        return view
    return _answered(replace(view, permissions=left))


def _without_question(view: SessionView, key: QuestionId) -> SessionView:
    left = [q for q in view.questions if q.question_id != key]
    if len(left) == len(view.questions):
        return view
    return _answered(replace(view, questions=left))


def _answered(view: SessionView) -> SessionView:
    if view.permissions or view.questions:
        return view
    return replace(view, state=step(view.state, "answered"))


def _fold_life(
    view: SessionView, event: SandboxAssigned | SandboxLost | SessionEnded | SessionRenamed
) -> SessionView:
    match event:
        case SandboxAssigned(sandbox_id=sandbox_id):
            state = step(view.state, "assigned")
            return replace(view, state=state, place=None, sandbox_id=SandboxId(sandbox_id))
        case SandboxLost(tag=tag, sentence=sentence):
            return _over(view, Ending(tag=tag, sentence=sentence), wished=False)
        case SessionEnded(tag=tag, sentence=sentence):
            if is_over(view.state):
                return view
            return _over(view, Ending(tag=tag, sentence=sentence), wished=is_wished(tag))
        case SessionRenamed(title=title):
            return _changed(view, replace(view, title=title))


def _over(view: SessionView, ending: Ending, *, wished: bool) -> SessionView:
    return replace(
        view,
        state=step(view.state, "ended" if wished else "failed"),
        ending=ending,
        place=None,
        turn_id=None,
        queue=[],
        permissions=[],
        questions=[],
        memory_bytes=0,
    )


def _fold_figures(  # noqa: PLR0911 - one per case
    view: SessionView,
    event: AgentReady
    | ModelChanged
    | PermissionModeChanged
    | StatusReported
    | ContextMeasured
    | MemoryMeasured
    | UsageMetered,
) -> SessionView:
    match event:
        case AgentReady(model=model, permission_mode=mode):
            return replace(view, model=model, permission_mode=mode)
        case ModelChanged(model=model):
            return replace(view, model=model)
        case PermissionModeChanged(mode=changed):
            return replace(view, permission_mode=changed)
        case StatusReported(permission_mode=reported):
            return replace(view, permission_mode=reported or view.permission_mode)
        case ContextMeasured(used=used, window=window):
            return replace(view, context_used=used, context_window=window)
        case MemoryMeasured(usage=used, limit=limit):
            return replace(view, memory_bytes=used, memory_limit=limit)
        case UsageMetered(usage=usage, cost_usd=cost):
            return replace(view, usage=summed(view.usage, usage), cost_usd=view.cost_usd + cost)


def _without(queue: list[QueuedPrompt], client_id: ClientId) -> list[QueuedPrompt]:
    return [prompt for prompt in queue if prompt.client_id != client_id]


def _changed(before: SessionView, after: SessionView) -> SessionView:
    return before if before == after else after
