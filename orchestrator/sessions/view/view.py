"""A session's view, folded from its events. Pure: the same events always give the same view."""

import msgspec

from orchestrator.protocol.chat import Ending, QueuedPrompt, SessionView, UnfinishedPrompt
from orchestrator.protocol.control_events import (
    CheckpointTaken,
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
    StorageMeasured,
    TurnEnded,
)
from orchestrator.sessions.view.endings import is_wished
from orchestrator.sessions.view.states import is_over, step
from orchestrator.sessions.view.usage import summed

replace = msgspec.structs.replace

Life = SandboxAssigned | SandboxLost | SessionHibernated | RecoveryStopped | SessionEnded
Turn = TurnStarted | TurnEnded | PromptAccepted | PromptRemoved | PromptUnfinished | PromptLetGo
Figure = (
    AgentReady
    | ModelChanged
    | PermissionModeChanged
    | StatusReported
    | ContextMeasured
    | MemoryMeasured
    | StorageMeasured
    | UsageMetered
)


def fold(view: SessionView, event: Event) -> SessionView:  # noqa: PLR0911 - one per case
    """The view after `event`; the very same object where the event changes nothing in it."""
    match event:
        case (
            TurnStarted()
            | TurnEnded()
            | PromptAccepted()
            | PromptRemoved()
            | PromptUnfinished()
            | PromptLetGo()
        ):
            return view if is_over(view.state) else _changed(view, _fold_turn(view, event))
        case PermissionRequested() | QuestionAsked():
            return _fold_asked(view, event)
        case PermissionResolved(permission_id=key) | PermissionWithdrawn(permission_id=key):
            return _without_permission(view, key)
        case QuestionAnswered(question_id=key) | QuestionWithdrawn(question_id=key):
            return _without_question(view, key)
        case (
            SandboxAssigned()
            | SandboxLost()
            | SessionHibernated()
            | RecoveryStopped()
            | SessionEnded()
        ):
            return view if is_over(view.state) else _fold_life(view, event)
        case SessionRenamed(title=title):
            return _changed(view, replace(view, title=title))
        case CheckpointTaken(checkpoint_id=checkpoint):
            return _changed(view, replace(view, checkpoint_id=checkpoint))
        case WentBack(checkpoint_id=checkpoint):
            return _fold_went_back(view, checkpoint)
        case (
            AgentReady()
            | ModelChanged()
            | PermissionModeChanged()
            | StatusReported()
            | ContextMeasured()
            | MemoryMeasured()
            | StorageMeasured()
            | UsageMetered()
        ):
            return _changed(view, _fold_figures(view, event))
        case _:
            return view


def withdrawals(view: SessionView) -> list[Event]:
    """What says that every open question of the view is moot."""
    permissions = [PermissionWithdrawn(permission_id=p.permission_id) for p in view.permissions]
    questions = [QuestionWithdrawn(question_id=q.question_id) for q in view.questions]
    return [*permissions, *questions]


def moot_after_turn(view: SessionView) -> list[Event]:
    """What says so of those that end with their turn: all but a subagent's, which may go on in the
    background and be waiting."""
    ending = [ask for ask in view.permissions if ask.agent is None]
    return withdrawals(replace(view, permissions=ending))


def deferrable(view: SessionView) -> PermissionRequested | QuestionAsked | None:
    """The one question for which the turn waits, if an agent elsewhere can ask it again: of the
    main agent, about a known call of a tool, with no other one beside it."""
    asked: list[PermissionRequested | QuestionAsked] = [*view.permissions, *view.questions]
    if view.turn_id is None or len(asked) != 1 or asked[0].tool_use_id is None:
        return None
    if isinstance(asked[0], PermissionRequested) and asked[0].agent is not None:
        return None
    return asked[0]


def without_sandbox(view: SessionView) -> SessionView:
    """What a view says of a sandbox, taken out of it."""
    return replace(
        view,
        sandbox_id=None,
        frozen=False,
        place=None,
        restoring_bytes=0,
        memory_bytes=0,
        home_bytes=0,
        workspace_bytes=0,
    )


def _fold_turn(view: SessionView, event: Turn) -> SessionView:  # noqa: PLR0911 - one per case
    match event:
        case PromptAccepted():
            return _fold_accepted(view, event)
        case PromptRemoved(client_id=client_id):
            return replace(view, queue=_without(view.queue, client_id))
        case PromptUnfinished(client_id=client_id, text=text, by=by, sentence=why):
            unfinished = UnfinishedPrompt(client_id=client_id, text=text, by=by, sentence=why)
            return replace(view, unfinished=unfinished)
        case PromptLetGo(client_id=client_id):
            return _without_unfinished(view, client_id)
        case TurnStarted(turn_id=turn_id, client_id=client_id):
            state = step(view.state, "turn_started")
            queue = _without(view.queue, client_id)
            return replace(view, state=state, turn_id=turn_id, queue=queue)
        case TurnEnded(turn_id=turn_id):
            if turn_id != view.turn_id:
                return view
            state = step(view.state, "turn_over")
            asked = [ask for ask in view.permissions if ask.agent is not None]
            return replace(view, state=state, turn_id=None, permissions=asked, questions=[])


def _fold_accepted(view: SessionView, event: PromptAccepted) -> SessionView:
    """What is run again goes ahead of all that was asked after it."""
    if event.again is not None:
        view = _without_unfinished(view, event.again)
    if not event.queued:
        return view
    prompt = QueuedPrompt(client_id=event.client_id, text=event.text, by=event.by)
    queue = [prompt, *view.queue] if event.again is not None else [*view.queue, prompt]
    return replace(view, queue=queue)


def _without_unfinished(view: SessionView, client_id: ClientId) -> SessionView:
    if view.unfinished is None or view.unfinished.client_id != client_id:
        return view
    return replace(view, unfinished=None)


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


def _fold_life(view: SessionView, event: Life) -> SessionView:
    match event:
        case SandboxAssigned(sandbox_id=sandbox_id):
            view = replace(without_sandbox(view), sandbox_id=SandboxId(sandbox_id))
            return _served(view)
        case SandboxLost():
            view = _without_background(view)
            return replace(without_sandbox(view), state=step(view.state, "lost"))
        case SessionHibernated() | RecoveryStopped():
            view = _without_background(view)
            return replace(without_sandbox(view), state=step(view.state, "rested"))
        case SessionEnded(tag=tag, sentence=sentence):
            return _over(view, Ending(tag=tag, sentence=sentence), wished=is_wished(tag))


def _without_background(view: SessionView) -> SessionView:
    """What was asked outside a turn was asked by something that ran in the sandbox."""
    return view if view.turn_id is not None else replace(view, permissions=[], questions=[])


def _fold_went_back(view: SessionView, checkpoint: str) -> SessionView:
    """The sandbox that it was in has the present: it is not the session's any more."""
    view = replace(view, checkpoint_id=checkpoint)
    if view.sandbox_id is None or is_over(view.state):
        return view
    return replace(without_sandbox(view), state=step(view.state, "exchanged"))


def _served(view: SessionView) -> SessionView:
    """A turn may have been left open for a person's answer: it goes on in the new sandbox."""
    state = step(view.state, "assigned")
    if view.turn_id is not None:
        state = step(state, "turn_started")
        if view.permissions or view.questions:
            state = step(state, "asked")
    return replace(view, state=state)


def _over(view: SessionView, ending: Ending, *, wished: bool) -> SessionView:
    return replace(
        without_sandbox(view),
        sandbox_id=view.sandbox_id,
        state=step(view.state, "ended" if wished else "failed"),
        ending=ending,
        turn_id=None,
        queue=[],
        permissions=[],
        questions=[],
        unfinished=None,
    )


def _fold_figures(view: SessionView, event: Figure) -> SessionView:  # noqa: PLR0911 - one per case
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
        case StorageMeasured():
            return replace(
                view,
                home_bytes=event.home_used,
                home_limit=event.home_size,
                workspace_bytes=event.workspace_used,
                workspace_limit=event.workspace_size,
            )
        case UsageMetered(usage=usage, cost_usd=cost):
            return replace(view, usage=summed(view.usage, usage), cost_usd=view.cost_usd + cost)


def _without(queue: list[QueuedPrompt], client_id: ClientId) -> list[QueuedPrompt]:
    return [prompt for prompt in queue if prompt.client_id != client_id]


def _changed(before: SessionView, after: SessionView) -> SessionView:
    return before if before == after else after
