"""What tests of lost and resting sandboxes share: the person at work, and how a page folds it."""

import asyncio
import contextlib
import secrets
from typing import Any

import msgspec

from orchestrator.protocol.chat import RunAgain, Stop
from orchestrator.protocol.control_events import (
    LimitReached,
    OutOfMemory,
    PromptAccepted,
    PromptUnfinished,
    RecoveryStopped,
    SandboxAssigned,
    SandboxLost,
    SessionHibernated,
    WentBack,
)
from orchestrator.protocol.events import Event
from orchestrator.protocol.ids import ClientId
from orchestrator.protocol.sandbox_events import (
    AgentDied,
    BlockDelta,
    PermissionRequested,
    TextWritten,
    ThoughtWritten,
    ToolStarted,
    TurnEnded,
)
from orchestrator.testing.chat_client import ApiClient, Chat, decision_on
from orchestrator.testing.scripted_model import ScriptedModel
from tests.chaos.victims import NoVictim, docker

STORY = "story.txt"
PROFILES = """
[[profile]]
name = "default"
title = "Asks"
agent = { model = "claude-sonnet-4-5" }
resources = { memory = 805306368, tmp = 67108864, home = 67108864, workspace = 134217728 }

[[profile]]
name = "eager"
title = "Runs again by itself"
unfinished = "run"
agent = { model = "claude-sonnet-4-5" }
"""
TALK = "!say 120 words at 40/s"
"""Long enough to be harmed meanwhile."""
LONG_TALK = "!say 2000 words at 20/s"
"""Nobody waits for its end."""
_OF_A_STAY = (
    AgentDied,
    LimitReached,
    OutOfMemory,
    RecoveryStopped,
    SandboxAssigned,
    SandboxLost,
    SessionHibernated,
    WentBack,
)
_SAID = (PromptAccepted, TextWritten, ThoughtWritten, ToolStarted)


def rows(events: list[Event]) -> list[list[Event]]:
    """What happened to sandboxes, as a page shows it: one row for all that nobody said anything
    between. A prompt may stand before the new sandbox: it is what woke the session."""
    found: list[list[Event]] = []
    is_open = False
    for event in events:
        if isinstance(event, SandboxAssigned):
            if event.reason != "new":
                found[-1].append(event)
        elif isinstance(event, _OF_A_STAY):
            if is_open:
                found[-1].append(event)
            else:
                found.append([event])
            is_open = True
        elif isinstance(event, _SAID) and not getattr(event, "cut", False):
            is_open = False
    return found


def shown(chat: Chat) -> list[Event]:
    return [event for _, event in chat.events]


async def allow(chat: Chat, *, after: int) -> PermissionRequested:
    _, asked = await chat.next(PermissionRequested, after=after)
    await chat.send(decision_on(asked, "allow"))
    return asked


async def write(chat: Chat, line: str, *, more: str = "") -> int:
    """A turn that adds a line to the story is under way and was allowed; what it comes after."""
    before = await chat.prompt(f"!bash echo {line} >>{STORY}{more}")
    await allow(chat, after=before)
    return before


async def written(chat: Chat, line: str) -> int:
    """Such a turn, from beginning to end."""
    before = await write(chat, line)
    seq, ended = await chat.next(TurnEnded, after=before)
    assert ended.outcome == "completed"
    return seq


async def talking(chat: Chat, *, after: int) -> None:
    """Words arrive."""
    await chat.until(
        lambda c: any(
            seq > after and isinstance(e, BlockDelta) and e.kind == "text" for seq, e in c.events
        )
    )


async def stopped(chat: Chat, *, after: int) -> None:
    """Words arrived, and the person has heard enough."""
    await talking(chat, after=after)
    await chat.send(Stop())
    _, ended = await chat.next(TurnEnded, after=after)
    assert ended.outcome == "interrupted"


async def idle(chat: Chat, *, limit: float = 60) -> None:
    await chat.until(lambda c: c.view and c.view.state == "idle", limit=limit)


async def hibernated(chat: Chat) -> None:
    await chat.until(lambda c: c.view and c.view.state == "hibernated")


async def run_again(chat: Chat, *, after: int) -> int:
    """As soon as that is offered; what it comes after."""
    seq, lost = await chat.next(PromptUnfinished, after=after)
    again = ClientId(secrets.token_hex(8))
    await chat.send(RunAgain(client_id=again, unfinished=lost.client_id))
    return seq


def sandbox_of(chat: Chat) -> str:
    assert chat.view is not None
    assert chat.view.sandbox_id is not None
    return chat.view.sandbox_id


async def story(api: ApiClient, session: str) -> list[str]:
    path = f"/api/v1/sessions/{session}/files/content"
    async with api.http.get(path, params={"path": STORY}) as answer:
        assert answer.status == 200, await answer.text()
        return (await answer.text()).split()


async def is_sent(chat: Chat, model: ScriptedModel) -> str:
    """All that the model is sent with one more prompt."""
    mark = secrets.token_hex(8)
    assert (await chat.turn(f"!say 3 words\n[{mark}]")).outcome == "completed"
    bodies = [msgspec.json.encode(request.body).decode() for request in model.requests]
    return next(body for body in reversed(bodies) if mark in body)


async def state_of(api: ApiClient, session: str) -> dict[str, Any]:
    _, view, _ = await api.request("GET", f"/api/v1/sessions/{session}")
    return dict(view)


async def removed(container: str) -> None:
    """It is, or will be in a moment."""
    async with asyncio.timeout(20):
        with contextlib.suppress(NoVictim):
            while await asyncio.to_thread(docker, "inspect", container):
                await asyncio.sleep(0.1)
