"""What is written when a sandbox is gone or its session ends: in which order, in which words. Pure.

What was half-written is kept first, then open questions are closed, the turn ends, and what becomes
of its prompt is said.
"""

from collections.abc import Sequence

from orchestrator.protocol.chat import Ending, QueuedPrompt, SessionView
from orchestrator.protocol.commands import PendingTool
from orchestrator.protocol.control_events import (
    PromptUnfinished,
    RecoveryStopped,
    SandboxLost,
    SessionEnded,
)
from orchestrator.protocol.events import Event
from orchestrator.protocol.sandbox_events import PermissionRequested, TurnEnded
from orchestrator.sessions.view import endings
from orchestrator.sessions.view.standing import LOST, Standing, waits_for_one_answer
from orchestrator.sessions.view.view import withdrawals

SERVER_ERROR = 500
"""HTTP: this and above."""
UPSTREAM_STATUSES = frozenset({408, 429})
"""The model API could not answer, and may later; as above."""


def words_of_loss(
    standing: Standing, ending: Ending, *, cut: Sequence[Event], runs_again: bool
) -> list[Event]:
    """A sandbox is lost. A turn that waited for one answer alone waits on, without it."""
    lost = SandboxLost(tag=ending.tag, sentence=ending.sentence)
    if waits_for_one_answer(standing):
        return [*cut, lost]
    lost = SandboxLost(tag=ending.tag, sentence=with_withdrawn(ending.sentence, standing.view))
    closed = [*cut, *close_turn(standing, text=ending.sentence), lost]
    offered = offer(standing, endings.unfinished(ending, runs=runs_again))
    return closed if standing.stopping is not None else [*closed, *offered]


def words_of_end(
    standing: Standing, ending: Ending, *, cut: Sequence[Event], by: str | None
) -> list[Event]:
    wished = endings.is_wished(ending.tag)
    closed = close_turn(standing, text="" if wished else ending.sentence, interrupted=wished)
    return [*cut, *closed, SessionEnded(tag=ending.tag, sentence=ending.sentence, by=by)]


def words_of_giving_up(standing: Standing, sentence: str) -> list[Event]:
    """Nothing more is tried by itself. `standing` is that after the loss."""
    return [RecoveryStopped(deaths=standing.deaths, sentence=sentence)]


def close_turn(standing: Standing, *, text: str, interrupted: bool = False) -> list[Event]:
    """Nobody will say any more how it ended. One that was to be stopped was stopped."""
    view = standing.view
    if view.turn_id is None:
        return withdrawals(view)
    stopped = interrupted or standing.stopping == view.turn_id
    ended = TurnEnded(
        turn_id=view.turn_id,
        outcome="interrupted" if stopped else "failed",
        subtype=LOST,
        text="" if stopped else text,
    )
    return [*withdrawals(view), ended]


def with_withdrawn(sentence: str, view: SessionView) -> str:
    """Why the sandbox goes, and that what was asked there goes as well."""
    asked = view.permissions or view.questions
    return f"{sentence} {endings.WITHDRAWN}" if asked else sentence


def offer(standing: Standing, sentence: str) -> list[Event]:
    """The prompt of the turn that ran, to be run again."""
    prompt = standing.prompt
    if prompt is None or standing.view.turn_id is None:
        return []
    return [unfinished(prompt, sentence)]


def unfinished(prompt: QueuedPrompt, sentence: str) -> PromptUnfinished:
    return PromptUnfinished(
        client_id=prompt.client_id, text=prompt.text, by=prompt.by, sentence=sentence
    )


def failed_upstream(ended: TurnEnded) -> bool:
    """The turn failed at the model API, in a way that another try may not."""
    status = ended.api_error_status
    return (
        ended.outcome == "failed"
        and status is not None
        and (status >= SERVER_ERROR or status in UPSTREAM_STATUSES)
    )


def pending_tool(standing: Standing) -> PendingTool | None:
    """The call that the next agent shall ask about again."""
    asked, turn_id = standing.pending, standing.view.turn_id
    if asked is None or turn_id is None or asked.tool_use_id is None:
        return None
    if isinstance(asked, PermissionRequested):
        return PendingTool(
            turn_id=turn_id,
            tool_use_id=asked.tool_use_id,
            permission_id=asked.permission_id,
            input_hash=asked.input_hash,
        )
    return PendingTool(
        turn_id=turn_id, tool_use_id=asked.tool_use_id, question_id=asked.question_id
    )
