"""Checkpoints: taken, restored, pruned, and their content given up only when nobody needs it."""

import asyncio
import random
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.ids import ProfileName, SandboxId, SessionId, TurnId, UserId
from orchestrator.protocol.transcripts import TranscriptKey
from orchestrator.sessions.clock import SystemClock
from orchestrator.sessions.errors import (
    BlobMissing,
    BlobTooLarge,
    CheckpointTooLarge,
    CheckpointTooSlow,
    StorageFailed,
    UnknownCheckpoint,
)
from orchestrator.sessions.files.errors import NoRoom, TransferBroken
from orchestrator.sessions.kept.blob_claims import BlobClaims
from orchestrator.sessions.kept.checkpoints import Checkpoints, superfluous
from orchestrator.sessions.kept.kept import archive_name
from orchestrator.sessions.ports import SessionRecord
from orchestrator.sessions.profiles import CheckpointRules, Profile
from orchestrator.testing.checkpoint_contract import checkpoint
from orchestrator.testing.fake_sandbox import FakeSandbox
from orchestrator.testing.memory_checkpoints import MemoryBlobStore, MemoryCheckpointStore
from orchestrator.testing.memory_transcripts import MemoryTranscriptStore

replace = msgspec.structs.replace
ONE = SessionId("s1")
KEY = TranscriptKey(project="p", agent_session="a1")


def profile(**rules) -> Profile:
    return Profile(
        name=ProfileName("default"),
        title="Default",
        agent=AgentSetup(model="claude-test"),
        checkpoints=CheckpointRules(**rules),
    )


def record(name: str = "s1", **more) -> SessionRecord:
    return SessionRecord(
        id=SessionId(name),
        owner=UserId("anna"),
        title="t",
        profile=ProfileName("default"),
        state="idle",
        created_at="2026-01-01T00:00:00.000Z",
        updated_at="2026-01-01T00:00:00.000Z",
        agent_session_id="agent-1",
        **more,
    )


class Shelf:
    """`Checkpoints` on stores in memory, with a sandbox whose files can be changed."""

    def __init__(self) -> None:
        self.store = MemoryCheckpointStore()
        self.blobs = MemoryBlobStore()
        self.transcripts = MemoryTranscriptStore()
        self.checkpoints = Checkpoints(
            store=self.store,
            blobs=self.blobs,
            transcripts=self.transcripts,
            clock=SystemClock(),
        )
        self.seq = 0

    def box(self, **files: bytes) -> FakeSandbox:
        sandbox = FakeSandbox(SandboxId("box"))
        sandbox.workspace.files = dict(files)
        return sandbox

    async def take(self, sandbox: FakeSandbox, name: str = "s1", **rules):
        self.seq += 1
        return await self.checkpoints.take(
            record(name),
            sandbox,
            profile=profile(**rules),
            seq=self.seq,
            turn_id=TurnId(f"t{self.seq}"),
        )


@pytest.fixture
def shelf():
    return Shelf()


async def test_files_come_back_in_another_sandbox(shelf):
    """What was kept of one sandbox is put into a fresh one, without what the profile excludes."""
    box = shelf.box(a=b"1", **{"node_modules/x": b"2", "src/b": b"3" * 100_000})
    taken = await shelf.take(box)
    assert taken == await shelf.checkpoints.latest(ONE)
    assert taken == await shelf.checkpoints.get(ONE, taken.id)
    assert (taken.turn_id, taken.seq, taken.entries, taken.agent_session_id) == (
        "t1",
        1,
        2,
        "agent-1",
    )
    fresh = shelf.box()
    await shelf.checkpoints.restore(taken, fresh, profile=profile())
    assert fresh.workspace.files == {"a": b"1", "src/b": b"3" * 100_000}


async def test_unchanged_files_are_not_kept_again(shelf):
    """Where only the conversation went on, the latest checkpoint goes on with it."""
    box = shelf.box(a=b"1")
    first = await shelf.take(box)
    await shelf.transcripts.append(ONE, KEY, b"1\n", branch=0, sandbox=SandboxId("box"), n=1)
    assert await shelf.take(box) is None
    [moved] = await shelf.checkpoints.page(ONE)
    assert moved == replace(first, seq=2, turn_id=TurnId("t2"), position=moved.position)
    assert moved.position > first.position
    box.workspace.files["a"] = b"2"
    second = await shelf.take(box)
    assert [one.id for one in await shelf.checkpoints.page(ONE)] == [second.id, first.id]
    assert len(shelf.blobs.blobs) == 2


async def test_nothing_yet(shelf):
    """A session without checkpoints has none, and knows none by any name."""
    assert await shelf.checkpoints.latest(ONE) is None
    taken = await shelf.take(shelf.box(a=b"1"), "s2")
    for name in ("", "none", taken.id):
        with pytest.raises(UnknownCheckpoint):
            await shelf.checkpoints.get(ONE, name)


async def test_too_large_or_broken_leaves_the_last_one(shelf):
    """A checkpoint that cannot be taken changes nothing of those that there are."""
    box = shelf.box(a=b"1")
    taken = await shelf.take(box)
    box.workspace.files["b"] = b"x" * 2_000_000
    with pytest.raises(CheckpointTooLarge):
        await shelf.take(box, max_bytes=1000)
    with pytest.raises(CheckpointTooLarge):
        await shelf.take(box, max_entries=1)
    box.workspace.breaks = True
    with pytest.raises(TransferBroken):
        await shelf.take(box)
    box.workspace.breaks = False
    shelf.blobs.broken = True
    with pytest.raises(StorageFailed):
        await shelf.take(box)
    assert await shelf.checkpoints.page(ONE) == [taken]
    assert set(shelf.blobs.blobs) == {taken.blob}


async def test_sandbox_that_sends_without_end(shelf):
    """A sandbox that sends more than its archive could be is cut off."""
    box = shelf.box(a=b"1")

    async def endless(_path: str, _data: bytes) -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536

    box.workspace._chunks = endless
    with pytest.raises(BlobTooLarge):
        await shelf.take(box, max_bytes=1 << 20, max_entries=10)
    assert shelf.blobs.blobs == {}


async def test_time_is_bounded(shelf):
    """Taking and restoring end after the profile's seconds, whatever the other side does."""
    box, fresh = shelf.box(a=b"1"), shelf.box()
    taken = await shelf.take(box)
    box.workspace.files["a"] = b"2"

    async def stalled(*_args) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    box.workspace._chunks = stalled
    with pytest.raises(CheckpointTooSlow):
        await shelf.take(box, max_seconds=0.01)
    shelf.blobs._chunks = stalled
    with pytest.raises(CheckpointTooSlow):
        await shelf.checkpoints.restore(taken, fresh, profile=profile(max_seconds=0.01))
    assert fresh.workspace.files == {}


async def test_restoring_says_what_is_wrong(shelf):
    """Content that is gone or does not fit is told, and a profile that allows less by now is no
    reason to lose files."""
    box = shelf.box(a=b"x" * 5000)
    taken = await shelf.take(box)
    fresh = shelf.box()
    await shelf.checkpoints.restore(taken, fresh, profile=profile(max_bytes=10, max_entries=0))
    assert fresh.workspace.files == box.workspace.files
    fresh.workspace.room = 10
    with pytest.raises(NoRoom):
        await shelf.checkpoints.restore(taken, fresh, profile=profile())
    shelf.blobs.blobs.clear()
    with pytest.raises(BlobMissing):
        await shelf.checkpoints.restore(taken, fresh, profile=profile())


async def test_only_the_latest_are_kept(shelf):
    """Beyond the profile's number the oldest go, with content that only they named."""
    box = shelf.box()
    for number in (1, 2, 3, 1, 4, 5):
        box.workspace.files["a"] = b"%d" % number
        await shelf.take(box, keep=3)
    page = await shelf.checkpoints.page(ONE)
    assert len(page) == 3
    assert set(shelf.blobs.blobs) == {one.blob for one in page}


async def test_bytes_are_bounded_too():
    """Of a session no more is kept than its bytes allow; content counts once, and the latest
    always stays."""
    page = [replace(checkpoint(n), size=100) for n in range(5)]
    assert superfluous(page, CheckpointRules(keep=10, keep_bytes=300)) == page[3:]
    assert superfluous(page, CheckpointRules(keep=10, keep_bytes=1)) == page[1:]
    assert superfluous(page, CheckpointRules(keep=0)) == page[1:]
    same = [replace(one, blob="b") for one in page]
    assert superfluous(same, CheckpointRules(keep=10, keep_bytes=100)) == []
    assert superfluous([], CheckpointRules()) == []


async def test_shared_content_stays(shelf):
    """Content that another session names too stays when one of them goes."""
    box = shelf.box(a=b"same")
    for name in ("s1", "s2"):
        await shelf.take(box, name)
    await shelf.checkpoints.remove_all(ONE)
    [other] = await shelf.checkpoints.page(SessionId("s2"))
    assert set(shelf.blobs.blobs) == {other.blob}
    await shelf.checkpoints.remove_all(SessionId("s2"))
    assert shelf.blobs.blobs == {}


async def test_pruning_that_fails_harms_no_checkpoint(shelf):
    """A checkpoint that was kept counts, also where an old one cannot be given up."""
    box = shelf.box(a=b"1")
    await shelf.take(box)
    box.workspace.files["a"] = b"2"

    async def refuse(*_args) -> None:
        raise StorageFailed

    shelf.store.remove = refuse
    assert await shelf.take(box, keep=1) is not None


async def test_collecting_takes_what_nobody_names(shelf):
    """What no checkpoint names is given up, once it is not young any more; what one names
    never."""
    taken = await shelf.take(shelf.box(a=b"1"))
    shelf.blobs.blobs["f" * 64] = b"lost"
    shelf.blobs.young = {"f" * 64}
    assert await shelf.checkpoints.collect() == 0
    shelf.blobs.young = set()
    assert await shelf.checkpoints.collect() == 1
    assert set(shelf.blobs.blobs) == {taken.blob}


async def pause(rng: random.Random) -> None:
    for _ in range(rng.randrange(4)):
        await asyncio.sleep(0)


def unhurried(shelf: Shelf, rng: random.Random) -> None:
    """Every call of a store lets others in between, before and after what it does."""
    for owner, names in (
        (shelf.store, ("add", "blobs", "page", "remove")),
        (shelf.blobs, ("put", "delete")),
    ):
        for name in names:
            original = getattr(owner, name)

            async def slowed(*args, _original=original, **named):
                await pause(rng)
                result = await _original(*args, **named)
                await pause(rng)
                return result

            setattr(owner, name, slowed)


@pytest.mark.parametrize("seed", range(60))
async def test_collecting_never_takes_what_is_about_to_be_named(shelf, seed):
    """Whatever order taking, pruning, removing and collecting fall into: what a checkpoint names is
    there."""
    rng = random.Random(seed)
    unhurried(shelf, rng)

    async def take(name: str) -> None:
        box = shelf.box()
        for _ in range(6):
            box.workspace.files["a"] = b"%d" % rng.randrange(3)
            await shelf.take(box, name, keep=2)
            shelf.blobs.young.clear()
            await pause(rng)

    async def collect() -> None:
        for _ in range(12):
            await shelf.checkpoints.collect()
            await pause(rng)

    async def remove() -> None:
        for _ in range(3):
            await pause(rng)
            await shelf.checkpoints.remove_all(SessionId("s3"))

    names = ("s1", "s2", "s3")
    await asyncio.gather(*(take(name) for name in names), collect(), collect(), remove())
    pages = [await shelf.checkpoints.page(SessionId(name)) for name in names]
    named = {one.blob for page in pages for one in page}
    assert named <= set(shelf.blobs.blobs)
    await shelf.checkpoints.collect()
    assert set(shelf.blobs.blobs) == named


async def test_claims_end_with_those_who_hold_them():
    """What was claimed stays until everybody who had begun to give up before is done."""
    claims = BlobClaims()
    with claims.giving_up() as one:
        async with claims.taking() as claim:
            assert claim.hold("a")
            assert not one.may_go("a")
        assert not one.may_go("a")
        assert one.may_go("b")
        async with claims.taking() as late:
            assert not late.hold("b")
        asyncio.get_running_loop().call_soon(one.is_gone, "b")
        async with claims.taking("b") as patient:
            assert patient.hold("b")
        async with claims.taking("d"):
            assert not one.may_go("d")
    with claims.giving_up() as two:
        async with claims.taking() as claim:
            assert two.may_go("a")
            assert not claim.hold("a")
            assert claim.hold("c")


@given(st.text(max_size=300))
def test_archive_has_a_name_for_every_title(title):
    """Whatever the title, the archive's name is one that any file system takes."""
    name = archive_name(title, "2026-01-01T10:20:30.123Z")
    assert name.endswith("-2026-01-01T10-20-30.tar.zst")
    assert not set(name) & set('/\\:*?"<>|\0\n')
    assert name[0] not in ". -"
    assert 0 < len(name) <= 120
