"""What fakes do when a session outlives its sandbox: rest, die, resume, and are taken over."""

import asyncio

import pytest

from orchestrator.protocol.chat import Ending
from orchestrator.protocol.commands import (
    AnswerPermission,
    PendingTool,
    PermissionDecision,
    ResumeAgent,
    StartTurn,
    SyncTranscript,
)
from orchestrator.protocol.ids import ProfileName, SandboxId, SessionId, TurnId
from orchestrator.protocol.sandbox_events import (
    AgentResumed,
    CommandFailed,
    PermissionRequested,
    TextWritten,
    ToolFinished,
    TurnEnded,
)
from orchestrator.protocol.transcripts import TranscriptAsked, TranscriptPiece, TranscriptSynced
from orchestrator.sessions.errors import CheckpointTooLarge, SandboxStuck
from orchestrator.sessions.files.errors import NoRoom, TransferBroken
from orchestrator.sessions.profiles import CheckpointRules
from orchestrator.testing.fake_pool import FakePool
from orchestrator.testing.fake_sandbox import FakeSandbox

PROMPT = StartTurn(turn_id=TurnId("t1"), text="hello")
RULES = CheckpointRules()


def box(name: str = "box") -> FakeSandbox:
    return FakeSandbox(SandboxId(name))


async def until(sandbox, kind, heard=None):
    """Read on until this event comes; all that came."""
    heard = [] if heard is None else heard
    async with asyncio.timeout(5):
        async for batch in sandbox.events():
            heard += [one.event for one in batch]
            if any(isinstance(event, kind) for event in heard):
                return heard
    raise AssertionError(kind)


def of(kind, heard):
    return [event for event in heard if isinstance(event, kind)]


def written(heard) -> bytes:
    return "".join(piece.text for piece in of(TranscriptPiece, heard)).encode()


async def give(sandbox, ask: TranscriptAsked, lines: bytes | None) -> None:
    async def pieces():
        yield lines

    await sandbox.give_transcript(ask.ask_id, None if lines is None else pieces())


async def test_transcript_comes_before_the_end_of_the_turn():
    """A turn has ended only after its transcript was said, whole."""
    sandbox = box()
    await sandbox.send(PROMPT)
    heard = await until(sandbox, TurnEnded)
    pieces = [place for place, event in enumerate(heard) if isinstance(event, TranscriptPiece)]
    assert pieces
    assert isinstance(heard[-1], TurnEnded)
    assert not heard[pieces[-1]].more
    assert written(heard).count(b"\n") == 2


async def test_turn_is_begun_once():
    """A turn that is sent again, as after an adoption, is not begun again."""
    sandbox = box()
    for _ in range(2):
        await sandbox.send(PROMPT)
    await sandbox.send(StartTurn(turn_id=TurnId("t2"), text="!bash x"))
    heard = await until(sandbox, PermissionRequested)
    assert len(of(TurnEnded, heard)) <= 1
    await sandbox.destroy()


async def test_frozen_sandbox_does_nothing():
    """What is sent to a frozen sandbox happens after it is thawed; transfers break meanwhile."""
    sandbox = box()
    for _ in range(2):
        await sandbox.freeze()
    await sandbox.send(PROMPT)
    with pytest.raises(TransferBroken):
        await sandbox.workspace.list_files("", most=1)
    assert sandbox.sent == [PROMPT]
    await sandbox.thaw()
    await until(sandbox, TurnEnded)
    sandbox.stuck = True
    for engine in (sandbox.freeze, sandbox.thaw):
        with pytest.raises(SandboxStuck):
            await engine()


async def test_conversation_is_resumed():
    """An agent resumes with what the store gives, begins anew where there is nothing, and says so
    where it cannot."""
    first, second, third, fourth = box("one"), box("two"), box("three"), box("four")
    await first.send(PROMPT)
    lines = written(await until(first, TurnEnded))
    cases = (
        (second, lines, AgentResumed),
        (third, None, AgentResumed),
        (fourth, b"", CommandFailed),
    )
    fourth.agent.resumes = False
    for sandbox, given, kind in cases:
        await sandbox.send(ResumeAgent(agent_session_id="agent-one"))
        [asked] = of(TranscriptAsked, await until(sandbox, TranscriptAsked))
        assert (asked.what, asked.key.agent_session) == ("load", "agent-one")
        await give(sandbox, asked, given)
        [answer] = of(kind, await until(sandbox, kind))
    assert second.agent.loaded == lines
    assert answer.command == "resume_agent"


@pytest.mark.parametrize("comes_back", [True, False])
async def test_awaited_call_is_asked_again(comes_back):
    """A call that was awaited when the sandbox went is asked again under its id, and its turn goes
    on with the answer; or it does not come back, and nothing of it runs."""
    first, second = box("one"), box("two")
    await first.send(StartTurn(turn_id=TurnId("t1"), text="!bash make\nand then"))
    heard = await until(first, PermissionRequested)
    [request] = of(PermissionRequested, heard)
    first.lose(Ending(tag="x", sentence="x"))
    pending = PendingTool(
        turn_id=TurnId("t1"),
        tool_use_id=request.tool_use_id,
        permission_id=request.permission_id,
        input_hash=request.input_hash if comes_back else "other",
    )
    await second.send(ResumeAgent(agent_session_id="agent-one", pending=pending))
    [asked] = of(TranscriptAsked, await until(second, TranscriptAsked))
    await give(second, asked, written(heard))
    again = await until(second, AgentResumed)
    assert of(AgentResumed, again)[0].pending == comes_back
    assert of(PermissionRequested, again) == [request] * comes_back
    if comes_back:
        decision = PermissionDecision(choice="allow", input_hash=request.input_hash)
        await second.send(AnswerPermission(permission_id=request.permission_id, decision=decision))
        rest = await until(second, TurnEnded)
        assert len(of(ToolFinished, rest)) == 1
        assert of(TextWritten, rest)[-1].text.endswith("and then")
    await second.destroy()


async def test_sync_is_answered():
    """A sync is answered, with whether anything was repaired, unless it is told not to."""
    sandbox = box()
    sandbox.repairs = True
    await sandbox.send(SyncTranscript(sync_id="a"))
    [synced] = of(TranscriptSynced, await until(sandbox, TranscriptSynced))
    assert (synced.sync_id, synced.repaired) == ("a", True)


async def test_each_report_of_memory_comes_once():
    """A report that the kernel killed something is given once, and there is none without."""
    sandbox = box()
    waiting = asyncio.create_task(sandbox.ran_out_of_memory())
    await asyncio.sleep(0)
    assert not waiting.done()
    sandbox.run_out_of_memory()
    async with asyncio.timeout(5):
        await waiting
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await sandbox.ran_out_of_memory()


async def test_files_are_packed_and_put_back():
    """What was packed is what another workspace has afterwards, in place of what it had."""
    first, second = box().workspace, box().workspace
    first.files = {"a": b"1" * 700_000, "node_modules/b": b"2"}
    first.links = {"c": "a"}
    second.files = {"old": b"3"}
    async with first.take_checkpoint(RULES, unless="") as packing:
        with pytest.raises(TransferBroken):
            _ = packing.packed
        archive = b"".join([chunk async for chunk in packing.chunks])
        packed = packing.packed
    assert (packed.entries, packed.size) == (2, 700_000)

    async def chunks():
        yield archive

    await second.restore_checkpoint(chunks(), size=len(archive), rules=RULES)
    assert second.files == {"a": b"1" * 700_000}
    assert second.links == {"c": "a"}
    async with second.take_checkpoint(RULES, unless=packed.fingerprint) as unchanged:
        assert unchanged is None
    second.room = 10
    with pytest.raises(NoRoom):
        await second.restore_checkpoint(chunks(), size=len(archive), rules=RULES)
    with pytest.raises(TransferBroken):
        await first.restore_checkpoint(chunks(), size=1, rules=RULES)
    small = CheckpointRules(max_bytes=1)
    with pytest.raises(CheckpointTooLarge):
        async with first.take_checkpoint(small, unless=""):
            pass


async def test_sandbox_is_taken_over():
    """After a restart a session gets its own living sandbox back, which says again what is not
    held and what is open; what nobody asks for goes."""
    pool = FakePool(size=3)
    one, two, dead = [
        await pool.claim(ProfileName("default"), session=SessionId(name), on_place=lambda _: None)
        for name in ("s1", "s2", "s3")
    ]
    dead.lose(Ending(tag="x", sentence="x"))
    await one.send(StartTurn(turn_id=TurnId("t1"), text="!bash x"))
    heard = await until(one, PermissionRequested)
    pool.restart()
    for name, sandbox in (("s2", one.id), ("s1", two.id), ("s3", dead.id), ("s1", "none")):
        assert await pool.adopt(SandboxId(sandbox), session=SessionId(name), held=0) is None
    adopted = await pool.adopt(one.id, session=SessionId("s1"), held=1)
    assert adopted is one
    again = await until(one, PermissionRequested)
    assert again[: len(heard) - 1] == heard[1:]
    assert of(PermissionRequested, again)[-1] == of(PermissionRequested, heard)[0]
    await pool.release_unadopted()
    assert pool.live == {one}
    await pool.close()


async def test_spare_sandboxes_are_shed():
    """A pool gives up as many spare ones as it has, and says how many."""
    pool = FakePool()
    pool.spares = 3
    assert [pool.shed(2), pool.shed(2), pool.shed(2)] == [2, 1, 0]
