"""States that are rare or brief, staged: how they look, and that everybody can use them."""

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from msgspec.structs import replace
from playwright.async_api import Browser, Page, expect

from orchestrator.api.checkpoint_routes import CheckpointView
from orchestrator.protocol.chat import Notice, QueuedPrompt, SessionView, UnfinishedPrompt
from orchestrator.protocol.control_events import (
    CheckpointFailed,
    CheckpointTaken,
    LimitNear,
    LimitReached,
    PromptAccepted,
    RecoveryStopped,
    SandboxAssigned,
    SandboxLost,
    SessionHibernated,
    TurnStarted,
    WentBack,
)
from orchestrator.protocol.events import Event
from orchestrator.protocol.ids import ClientId, SandboxId, TurnId
from orchestrator.protocol.sandbox_events import (
    AgentResumed,
    McpServerFailed,
    PermissionRequested,
    TextWritten,
    ThoughtWritten,
    TurnEnded,
)

from .chat_page import ChatPage
from .conftest import FORMS
from .looks import accessible, photographed
from .stage import ORIGIN, PAGE, VIEW, Stage
from .watching import Watch

MIB = 1 << 20
SENTENCE = "The sandbox ran out of memory."
PROMPT = "Run the whole test suite and tell me which test is the slowest."
UNFINISHED = UnfinishedPrompt(client_id=ClientId("c3"), text=PROMPT, by="ada", sentence=SENTENCE)
PENDING = PermissionRequested(
    permission_id="p1",
    tool_name="Bash",
    input={"command": "make deploy"},
    input_hash="h",
    tool_use_id="u1",
)
FULL = replace(
    VIEW,
    sandbox_id=SandboxId("5f0c9a1b2c3d"),
    checkpoint_id="k2",
    memory_bytes=1_750 * MIB,
    memory_limit=2_048 * MIB,
    home_bytes=90 * MIB,
    home_limit=256 * MIB,
    workspace_bytes=210 * MIB,
    workspace_limit=1_024 * MIB,
)
KEPT = [
    CheckpointView(
        id=f"k{n}",
        created_at=f"2026-01-05T10:0{n}:00.000Z",
        seq=n,
        turn_id=TurnId(f"t{n}"),
        size=n * 3 * MIB,
        unpacked=n * 9 * MIB,
        entries=40 * n,
        omitted=n - 1,
    )
    for n in (2, 1)
]


def turn(n: int, prompt: str, answer: str) -> list[Event]:
    turn_id, client_id = TurnId(f"t{n}"), ClientId(f"c{n}")
    return [
        PromptAccepted(client_id=client_id, text=prompt, by="ada"),
        TurnStarted(turn_id=turn_id, client_id=client_id),
        TextWritten(message_id=f"m{n}", index=0, text=answer),
        TurnEnded(turn_id=turn_id, outcome="completed", duration_ms=9_000),
        CheckpointTaken(checkpoint_id=f"k{n}", size=n * MIB, entries=40),
    ]


def death(n: int, *, back: bool = True) -> list[Event]:
    """A turn whose sandbox dies in the middle of a sentence; with `back` it is run again."""
    turn_id, client_id = TurnId(f"t{n}"), ClientId(f"c{n}")
    told: list[Event] = [
        PromptAccepted(client_id=client_id, text=PROMPT, by="ada"),
        TurnStarted(turn_id=turn_id, client_id=client_id),
        ThoughtWritten(message_id=f"m{n}", index=0, text="The suite is large, so", cut=True),
        TextWritten(
            message_id=f"m{n}", index=1, text="I start with the unit tests, and the", cut=True
        ),
        TurnEnded(turn_id=turn_id, outcome="failed", subtype="sandbox_lost"),
        SandboxLost(tag="oom", sentence=SENTENCE),
    ]
    if not back:
        return told
    again, second = TurnId(f"t{n}b"), ClientId(f"c{n}b")
    return [
        *told,
        SandboxAssigned(sandbox_id="x", reason="recovered", restored_bytes=3 * MIB),
        AgentResumed(agent_session_id="a", took_ms=400),
        PromptAccepted(client_id=second, text=PROMPT, by="ada", again=client_id),
        TurnStarted(turn_id=again, client_id=second),
        TextWritten(message_id=f"m{n}b", index=0, text="The slowest one is `test_export`."),
        TurnEnded(turn_id=again, outcome="completed", duration_ms=30_000),
    ]


TALK = [
    *turn(1, "What is in this folder?", "A small web service with its tests."),
    *turn(2, "Which endpoints has it?", "Three: `/health`, `/export` and `/users`."),
]
STORIES: dict[str, tuple[SessionView, list[Event]]] = {
    "one-conversation": (FULL, [*TALK, *death(3)]),
    "unfinished": (
        replace(
            FULL,
            unfinished=UNFINISHED,
            queue=[QueuedPrompt(client_id=ClientId("q"), text="And fix it.", by="ada")],
        ),
        [*TALK, *death(3, back=False), SandboxAssigned(sandbox_id="x", reason="recovered")],
    ),
    "waking": (
        replace(FULL, state="waking", restoring_bytes=38 * MIB),
        [*TALK, *death(3, back=False)],
    ),
    "asleep": (
        replace(FULL, state="hibernated", sandbox_id=None, memory_bytes=0, memory_limit=0),
        [*TALK, SessionHibernated(reason="idle", sentence="Nobody needed it.")],
    ),
    "asleep-with-a-permission": (
        replace(FULL, state="hibernated", turn_id=TurnId("t2"), permissions=[PENDING]),
        [*TALK, PENDING, SessionHibernated(reason="idle", sentence="Nobody needed it.")],
    ),
    "stopped": (
        replace(FULL, state="hibernated", unfinished=UNFINISHED),
        [
            *TALK,
            *death(3, back=False),
            RecoveryStopped(
                deaths=3,
                sentence=f"{SENTENCE} That was sandbox number 3 in a row to go, so no other one is"
                " tried by itself. Send a prompt to try once more, or ask for less at once.",
            ),
        ],
    ),
    "warnings": (
        FULL,
        [
            *TALK,
            LimitNear(limit="workspace", sentence="The workspace is nearly full."),
            McpServerFailed(server="docs", why="died"),
            CheckpointFailed(tag="checkpoint_too_large", sentence="The workspace holds too much."),
            LimitReached(limit="memory", sentence="The sandbox used nearly all of its memory."),
            SandboxAssigned(sandbox_id="x", reason="recycled"),
            SessionHibernated(reason="idle", sentence="Nobody needed it."),
            SandboxAssigned(sandbox_id="x", reason="woken"),
            WentBack(checkpoint_id="k1", by="ada"),
        ],
    ),
    "notices": (
        replace(
            FULL,
            notices=[
                Notice(
                    tag="upstream_down",
                    sentence="Claude cannot be reached. Prompts are kept.",
                    until="2026-01-05T10:10:42.000Z",
                )
            ],
        ),
        TALK,
    ),
    "restarting": (
        replace(
            FULL,
            notices=[
                Notice(tag="restarting", sentence="Casemate restarts. Your session continues.")
            ],
        ),
        TALK,
    ),
}


@pytest.fixture
async def staged(browser: Browser, watches: list[Watch]) -> Callable[..., object]:
    """Opens a tab on a stage that is set as a story says."""
    if not (PAGE / "index.html").exists():
        pytest.skip("the page is not built; run `casemate prepare page`")

    async def staged(view: SessionView, events: list[Event], form: str) -> tuple[Stage, ChatPage]:
        context = await browser.new_context(**FORMS[form], locale="en-GB", timezone_id="UTC")
        watch = Watch(urlsplit(ORIGIN).netloc)
        watches.append(watch)
        await watch.over(context)
        page: Page = await context.new_page()
        await page.clock.install(time="2026-01-05T10:10:00Z")
        stage = Stage(page)
        stage.sessions = [view, *(_neighbour(state) for state in ("hibernated", "waking"))]
        stage.checkpoints = KEPT
        stage.happened(events)
        await stage.open()
        await expect(page.get_by_role("log", name="Conversation")).to_be_visible()
        if form == "desktop":
            await expect(page.get_by_role("list", name="Checkpoints")).to_be_visible()
        return stage, ChatPage(page, form=form, watch=watch)

    return staged


def _neighbour(state: str) -> SessionView:
    return replace(VIEW, id=f"s-{state}", title=f"A session that is {state}", state=state)


@pytest.mark.parametrize("story", STORIES)
async def test_a_rare_state(story: str, staged) -> None:
    """On desktop and phone, in light and dark, it is accessible and fits the width."""
    view, events = STORIES[story]
    stages = await asyncio.gather(*(staged(view, events, form) for form in FORMS))
    tabs = [tab for _, tab in stages]
    await photographed(f"staged-{story}", *tabs)
    await accessible(*tabs)
    for tab in tabs:
        assert await tab.too_wide() == []


async def test_a_death_in_every_third_turn(staged) -> None:
    """The conversation reads as one: each prompt once, one quiet line for each death."""
    told: list[Event] = []
    for n in range(1, 10):
        told += death(n) if n % 3 == 0 else turn(n, f"Question {n}?", f"Answer {n}.")
    _, tab = await staged(FULL, told, "desktop")
    await expect(tab.text(f"{SENTENCE} Restored in a new one.")).to_have_count(3)
    await expect(tab.log.locator("[data-kind=stay]")).to_have_count(3)
    await expect(tab.log.locator(".failure, .turn-outcome, .mark-line")).to_have_count(0)
    await expect(tab.log.locator(".user-text")).to_have_count(9)
    await expect(tab.text("Run again:")).to_have_count(3)


async def test_what_is_unfinished_is_decided_with_the_keyboard(staged) -> None:
    """It is run again with one press, said once, and the focus is where one goes on."""
    view, events = STORIES["unfinished"]
    stage, tab = await staged(view, events, "desktop")
    await tab.button("Run it again").focus()
    await tab.page.keyboard.press("Enter")
    await expect(tab.box).to_be_focused()
    await expect(tab.button("Run it again")).to_be_disabled()
    said = [word for word in stage.heard if word["type"] == "run_again"]
    assert [word["unfinished"] for word in said] == ["c3"]
    await stage.show(replace(view, unfinished=None))
    await expect(tab.button("Let it go")).to_be_hidden()


async def test_a_draft_outlives_sleep_and_waking(staged) -> None:
    """What was typed and not sent is there in every state on the way."""
    stage, tab = await staged(FULL, TALK, "desktop")
    await tab.box.fill("half a thought")
    for state in ("hibernated", "waking", "idle"):
        await stage.show(replace(FULL, state=state))
        await tab.state({"hibernated": "Asleep", "waking": "Waking", "idle": "Idle"}[state])
        await expect(tab.box).to_have_value("half a thought")
