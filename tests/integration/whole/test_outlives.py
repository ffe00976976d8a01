"""A session outlives its sandboxes: what its people see of it, on the whole real stack."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from orchestrator.protocol.chat import GoBack, Hibernate
from orchestrator.protocol.control_events import (
    CheckpointTaken,
    PromptAccepted,
    PromptUnfinished,
    RecoveryStopped,
    SandboxAssigned,
    SandboxLost,
    SessionHibernated,
    WentBack,
)
from orchestrator.protocol.sandbox_events import (
    PermissionRequested,
    TextWritten,
    ToolFinished,
    TurnEnded,
)
from orchestrator.sandboxes.image_builder import BuiltImage
from orchestrator.testing.chat_client import ApiClient, Chat, decision_on
from orchestrator.testing.running_casemate import NotRunning, RunningCasemate, running_casemate
from orchestrator.testing.scripted_model import ScriptedModel
from tests.chaos import squeeze, victims

from . import outliving as a
from .conftest import PASSWORD, environment

pytestmark = pytest.mark.timeout(150)
OUT_OF_MEMORY = "The sandbox ran out of memory."


@pytest.fixture(scope="module")
def house(
    sandbox_image: BuiltImage, model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningCasemate]:
    """A Casemate of these tests' own: it is stopped and started again between them."""
    assert sandbox_image
    profiles = tmp_path_factory.mktemp("outlives") / "profiles.toml"
    profiles.write_text(a.PROFILES)
    settings = environment(model) | {
        "CASEMATE_PROFILES_PATH": str(profiles),
        "CASEMATE_SESSIONS_DRAIN_SECONDS": "4",
    }
    with running_casemate(settings, users={"ada": PASSWORD}) as running:
        yield running


@pytest.fixture
async def ada(house: RunningCasemate) -> AsyncIterator[ApiClient]:
    async with ApiClient.signed_in(house.url, "ada", PASSWORD) as client:
        yield client


@pytest.fixture
async def begin(ada: ApiClient) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Sessions, by profile; ended afterwards."""
    begun: list[str] = []

    async def one(profile: str = "default") -> str:
        begun.append((await ada.create(profile=profile))["id"])
        return begun[-1]

    yield one
    for session in begun:
        await ada.end(session)


async def test_it_reads_as_one_conversation(ada, begin, model: ScriptedModel) -> None:
    """Its sandbox runs out of memory in every third turn. Each time that is one line, what was
    half-written is kept and marked, the prompt is offered and runs again; every line of the file is
    there once, and the model is sent all that was said."""
    session, marks = await begin(), [f"part-{number}" for number in range(1, 7)]
    async with ada.chat(session) as chat:
        for number, mark in enumerate(marks, start=1):
            if number % 3:
                await a.written(chat, mark)
                continue
            before = await a.write(chat, mark, more=f"\n{a.TALK}")
            await a.talking(chat, after=before)
            await asyncio.to_thread(squeeze.overfill, a.sandbox_of(chat))
            seq = await a.run_again(chat, after=before)
            await a.allow(chat, after=seq)
            _, ended = await chat.next(TurnEnded, after=seq)
            assert ended.outcome == "completed"
        sent = await a.is_sent(chat, model)
        assert [mark for mark in marks if mark not in sent] == []
        assert await a.story(ada, session) == marks
        _is_one_conversation(chat, losses=2, completed=7)
    async with ada.chat(session) as phone:
        _is_one_conversation(phone, losses=2, completed=7)


def _is_one_conversation(chat: Chat, *, losses: int, completed: int) -> None:
    rows = a.rows(a.shown(chat))
    assert len(rows) == losses, [(s, type(e).__name__) for s, e in chat.events]
    for row in rows:
        [lost] = [event for event in row if isinstance(event, SandboxLost)]
        assert (lost.tag, lost.sentence) == ("out_of_memory", OUT_OF_MEMORY)
        assert isinstance(row[-1], SandboxAssigned)
        assert row[-1].reason == "recovered"
    offered = chat.of(PromptUnfinished)
    assert [one.sentence.startswith(OUT_OF_MEMORY) for one in offered] == [True] * losses
    again = [one.again for one in chat.of(PromptAccepted) if one.again]
    assert again == [one.client_id for one in offered]
    assert sum(text.cut for text in chat.of(TextWritten)) == losses
    assert [e.outcome for e in chat.of(TurnEnded)].count("completed") == completed


@pytest.mark.parametrize("victim", ["CLI", "shim", "container"])
async def test_whatever_is_killed(ada, begin, victim: str) -> None:
    """CLI, shim or container in a turn: one line, one offer, and the prompt runs again."""
    kill = {"CLI": victims.cli_of, "shim": victims.shim_of, "container": _first_process}[victim]
    session = await begin()
    async with ada.chat(session) as chat:
        await a.written(chat, "before")
        before = await chat.prompt(a.LONG_TALK)
        await a.talking(chat, after=before)
        await asyncio.to_thread(lambda: victims.kill(kill(a.sandbox_of(chat))))
        await a.stopped(chat, after=await a.run_again(chat, after=before))
        assert len(a.rows(a.shown(chat))) == 1
        assert sum(text.cut for text in chat.of(TextWritten)) == 1
        assert await a.story(ada, session) == ["before"]


def _first_process(sandbox: str) -> int:
    name = victims.container_of(sandbox)
    return int(victims.docker("inspect", "-f", "{{.State.Pid}}", name))


async def test_a_question_is_answered_tomorrow(house, ada, begin) -> None:
    """A permission that was open when the session was put to rest is given from another device:
    exactly that tool runs, once, and the turn ends as if nothing had been."""
    session = await begin()
    async with ada.chat(session) as chat:
        await a.written(chat, "first")
        before = await chat.prompt(f"!bash echo second >>{a.STORY}\n!say 3 words")
        seq, asked = await chat.next(PermissionRequested, after=before)
        was = victims.container_of(a.sandbox_of(chat))
        await chat.send(Hibernate())
        await a.hibernated(chat)
        assert chat.view.permissions == [asked]
    await a.removed(was)
    async with (
        ApiClient.signed_in(house.url, "ada", PASSWORD) as phone_of_ada,
        phone_of_ada.chat(session) as phone,
    ):
        assert phone.view.permissions == [asked]
        await phone.send(decision_on(asked, "allow"))
        _, finished = await phone.next(ToolFinished, after=seq)
        assert finished.tool_use_id == asked.tool_use_id
        _, ended = await phone.next(TurnEnded, after=seq)
        assert ended.outcome == "completed"
        assert len(phone.of(ToolFinished)) == 2
        assert await a.story(ada, session) == ["first", "second"]


async def test_one_can_go_back(ada, begin, model: ScriptedModel) -> None:
    """To a checkpoint: files are as they were there, and the model is sent what was said until
    there and nothing of what came after, while the log still shows it."""
    session = await begin()
    async with ada.chat(session) as chat:
        ended = await a.written(chat, "kept-line")
        seq, then = await chat.next(CheckpointTaken, after=ended)
        ended = await a.written(chat, "undone-line")
        seq, _ = await chat.next(CheckpointTaken, after=ended)
        await chat.send(GoBack(checkpoint_id=then.checkpoint_id))
        seq, back = await chat.next(WentBack, after=seq)
        assert back.checkpoint_id == then.checkpoint_id
        await chat.next(SandboxAssigned, after=seq)
        await a.idle(chat)
        assert await a.story(ada, session) == ["kept-line"]
        sent = await a.is_sent(chat, model)
        assert "kept-line" in sent
        assert "undone-line" not in sent
        assert any("undone-line" in prompt.text for prompt in chat.of(PromptAccepted))


async def test_sleep_outlasts_a_restart(house, ada, begin, model: ScriptedModel) -> None:
    """A session that rests is there after the control plane was stopped and started, costs no
    container, and a prompt finds files and conversation."""
    session = await begin()
    async with ada.chat(session) as chat:
        await a.written(chat, "long-ago")
        await a.idle(chat)
        await chat.send(Hibernate())
        await a.hibernated(chat)
    assert await asyncio.to_thread(house.stop) == 0
    assert house.containers() == []
    await asyncio.to_thread(house.start)
    async with ApiClient.signed_in(house.url, "ada", PASSWORD) as again:
        view = await a.state_of(again, session)
        assert view["state"] == "hibernated"
        assert "sandbox_id" not in view
        async with again.chat(session) as chat:
            assert "long-ago" in await a.is_sent(chat, model)
            assert await a.story(again, session) == ["long-ago"]
            assert chat.of(SandboxLost) == []


async def test_a_profile_may_run_it_again_by_itself(ada, begin) -> None:
    """Nobody is asked, and the prompt has one more turn."""
    session = await begin("eager")
    async with ada.chat(session) as chat:
        before = await chat.prompt(a.LONG_TALK)
        await a.talking(chat, after=before)
        await asyncio.to_thread(lambda: victims.kill(_first_process(a.sandbox_of(chat))))
        seq, lost = await chat.next(PromptUnfinished, after=before)
        await a.stopped(chat, after=seq)
        [again] = [one for one in chat.of(PromptAccepted) if one.again]
        assert again.again == lost.client_id
        await chat.until(lambda c: c.view and c.view.unfinished is None)


async def test_three_deaths_in_a_row_are_enough(ada, begin) -> None:
    """No other sandbox is tried by itself, with a plain explanation; a prompt tries once more, and
    the conversation goes on."""
    session = await begin("eager")
    async with ada.chat(session) as chat:
        await a.written(chat, "safe")
        seq = await chat.prompt(a.LONG_TALK)
        for _ in range(3):
            await a.talking(chat, after=seq)
            await asyncio.to_thread(lambda: victims.kill(victims.cli_of(a.sandbox_of(chat))))
            seq, _lost = await chat.next(SandboxLost, after=seq)
        _, stopped = await chat.next(RecoveryStopped, after=seq)
        assert stopped.deaths == 3
        assert "no other one is tried by itself" in stopped.sentence
        await a.hibernated(chat)
        assert chat.view.sandbox_id is None
        assert chat.view.unfinished is not None
        assert (await chat.turn("!say 3 words")).outcome == "completed"
        assert await a.story(ada, session) == ["safe"]
        now = chat.seq
        await a.run_again(chat, after=seq)
        await a.stopped(chat, after=now)


async def test_a_shutdown_in_good_order(house, ada, begin, model: ScriptedModel) -> None:
    """SIGTERM while turns run: everybody is told, the short turn ends, the long one is stopped and
    offered again; status 0, nothing is left; and after the start both go on."""
    short, long = await begin(), await begin()
    async with ada.chat(short) as quick, ada.chat(long) as slow:
        await a.written(quick, "short-one")
        await quick.prompt("!say 40 words at 20/s")
        before = await slow.prompt(a.LONG_TALK)
        await a.talking(slow, after=before)
        stopping = asyncio.create_task(asyncio.to_thread(house.stop))
        for chat in (quick, slow):
            await chat.until(lambda c: c.view and [n.tag for n in c.view.notices] == ["restarting"])
        _, rests = await slow.next(SessionHibernated, after=before)
        assert rests.reason == "shutdown"
        assert await stopping == 0
        assert [ended.outcome for ended in quick.of(TurnEnded)] == ["completed"] * 2
    assert house.containers() == house.slot_directories() == []
    with pytest.raises(NotRunning):
        assert house.broker_pid
    await asyncio.to_thread(house.start)
    async with ApiClient.signed_in(house.url, "ada", PASSWORD) as again:
        async with again.chat(short) as quick:
            assert "short-one" in await a.is_sent(quick, model)
            assert quick.view.notices == []
        async with again.chat(long) as slow:
            await a.idle(slow)
            assert slow.view.unfinished is not None
            assert sum(text.cut for text in slow.of(TextWritten)) <= 1
