"""What every store of checkpoints and every store of blobs promises, whatever it stands on.

Subclass `CheckpointStoreContract` with a fixture `checkpoints` (fresh; the sessions `s1` and `s2`
exist), and `BlobStoreContract` with a fixture `blobs`.
"""

# ruff: noqa: PLR2004 - these are tests: a number says more where it stands

import asyncio
import hashlib
from collections.abc import AsyncIterator

import msgspec
import pytest

from orchestrator.protocol.ids import SessionId, TurnId
from orchestrator.sessions.errors import BlobMissing, BlobTooLarge, StorageFailed
from orchestrator.sessions.ports import BlobStore, Checkpoint, CheckpointStore

replace = msgspec.structs.replace

ONE, TWO = SessionId("s1"), SessionId("s2")
CHECKPOINT = Checkpoint(
    id="c0",
    session=ONE,
    created_at="2026-01-01T00:00:00.000Z",
    seq=1 << 40,
    turn_id=TurnId("t1"),
    blob=hashlib.sha256(b"0").hexdigest(),
    size=1 << 33,
    unpacked=1 << 34,
    entries=3,
    omitted=1,
    fingerprint="f",
    agent_session_id="agent-é",
    branch=2,
    position=1 << 41,
)
MIB = 1 << 20


def checkpoint(number: int, *, session: SessionId = ONE) -> Checkpoint:
    return replace(
        CHECKPOINT,
        id=f"{session}-c{number}",
        session=session,
        created_at=f"2026-01-01T00:00:{number:02}.000Z",
        blob=hashlib.sha256(b"%d" % number).hexdigest(),
    )


class CheckpointStoreContract:
    async def test_checkpoint_comes_back_as_it_was(self, checkpoints: CheckpointStore) -> None:
        """Every field survives, also without a turn; another session does not know it."""
        without = replace(CHECKPOINT, id="c1", turn_id=None)
        for one in (CHECKPOINT, without):
            await checkpoints.add(one)
            assert await checkpoints.get(ONE, one.id) == one
        assert await checkpoints.get(TWO, CHECKPOINT.id) is None
        assert await checkpoints.get(ONE, "none") is None

    async def test_pages_are_newest_first(self, checkpoints: CheckpointStore) -> None:
        """A page holds the latest ones of its session, newest first."""
        for number in (2, 0, 3, 1):
            await checkpoints.add(checkpoint(number))
        await checkpoints.add(checkpoint(9, session=TWO))
        page = await checkpoints.page(ONE, limit=3)
        assert [one.id for one in page] == ["s1-c3", "s1-c2", "s1-c1"]
        assert len(await checkpoints.page(ONE, limit=100)) == 4

    async def test_id_is_taken_once(self, checkpoints: CheckpointStore) -> None:
        """A checkpoint is never overwritten by another of its name."""
        await checkpoints.add(CHECKPOINT)
        with pytest.raises(StorageFailed):
            await checkpoints.add(replace(CHECKPOINT, entries=99))
        assert await checkpoints.get(ONE, CHECKPOINT.id) == CHECKPOINT

    async def test_place_in_the_conversation_moves_on(self, checkpoints: CheckpointStore) -> None:
        """A checkpoint can be given another place; one that is gone does not come back by it."""
        other = replace(CHECKPOINT, id="c1")
        for one in (CHECKPOINT, other):
            await checkpoints.add(one)
        moved = replace(
            CHECKPOINT, seq=7, turn_id=TurnId("t2"), agent_session_id="a2", branch=3, position=9
        )
        await checkpoints.update(moved)
        assert await checkpoints.get(ONE, CHECKPOINT.id) == moved
        assert await checkpoints.get(ONE, "c1") == other
        await checkpoints.update(replace(moved, id="gone"))
        await checkpoints.update(replace(moved, session=TWO))
        assert await checkpoints.get(ONE, "gone") is None
        assert await checkpoints.get(TWO, CHECKPOINT.id) is None

    async def test_removed_are_gone(self, checkpoints: CheckpointStore) -> None:
        """Those named go, of that session alone; naming one that is gone is no error."""
        for number in range(3):
            await checkpoints.add(checkpoint(number))
        await checkpoints.add(checkpoint(0, session=TWO))
        await checkpoints.remove(ONE, ["s1-c0", "s1-c2", "s2-c0", "none"])
        await checkpoints.remove(ONE, [])
        assert [one.id for one in await checkpoints.page(ONE, limit=10)] == ["s1-c1"]
        assert [one.id for one in await checkpoints.page(TWO, limit=10)] == ["s2-c0"]

    async def test_named_blobs_are_told(self, checkpoints: CheckpointStore) -> None:
        """Of the blobs asked for, those that any session's checkpoint names, and no others."""
        await checkpoints.add(checkpoint(1))
        await checkpoints.add(checkpoint(2, session=TWO))
        named = {checkpoint(1).blob, checkpoint(2).blob}
        unnamed = {checkpoint(number).blob for number in range(3, 1500)}
        assert await checkpoints.blobs(named | unnamed) == named
        assert await checkpoints.blobs([]) == set()
        await checkpoints.remove(ONE, ["s1-c1"])
        assert await checkpoints.blobs(named) == {checkpoint(2).blob}

    async def test_session_may_not_be_there(self, checkpoints: CheckpointStore) -> None:
        """Of a session without checkpoints the page is empty."""
        assert await checkpoints.page(SessionId("nobody"), limit=5) == []


class Cut(Exception):
    """The source of a blob broke off."""


async def in_chunks(content: bytes, *, cut: bool = False) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 100_000):
        yield content[start : start + 100_000]
    if cut:
        raise Cut


async def content_of(blobs: BlobStore, digest: str) -> bytes:
    async with blobs.open(digest) as chunks:
        return b"".join([chunk async for chunk in chunks])


class BlobStoreContract:
    async def test_content_comes_back(self, blobs: BlobStore) -> None:
        """A blob is known by the digest of its content, empty ones and large ones too."""
        for content in (b"", b"a", bytes(range(256)) * 4096 * 9):
            stored = await blobs.put(in_chunks(content), most_bytes=10 * MIB)
            assert stored.digest == hashlib.sha256(content).hexdigest()
            assert stored.size == len(content)
            assert await content_of(blobs, stored.digest) == content

    async def test_same_content_is_one_blob(self, blobs: BlobStore) -> None:
        """Storing the same again, also at once, harms nothing and gives the same name."""
        content = b"same" * 100_000
        stored = await asyncio.gather(
            *(blobs.put(in_chunks(content), most_bytes=MIB) for _ in range(5))
        )
        assert len({one.digest for one in stored}) == 1
        assert await content_of(blobs, stored[0].digest) == content

    async def test_cut_off_is_nothing(self, blobs: BlobStore) -> None:
        """What breaks off while it is stored leaves nothing, and what the source raised is
        raised."""
        content = b"half" * 100_000
        with pytest.raises(Cut):
            await blobs.put(in_chunks(content, cut=True), most_bytes=MIB)
        with pytest.raises(BlobMissing):
            await content_of(blobs, hashlib.sha256(content).hexdigest())

    async def test_too_large_is_nothing(self, blobs: BlobStore) -> None:
        """What is one byte more than was allowed is not stored; what is as much is."""
        content = b"x" * 300_001
        with pytest.raises(BlobTooLarge):
            await blobs.put(in_chunks(content), most_bytes=300_000)
        with pytest.raises(BlobMissing):
            await content_of(blobs, hashlib.sha256(content).hexdigest())
        assert (await blobs.put(in_chunks(content), most_bytes=300_001)).size == 300_001

    async def test_cancelled_is_nothing(self, blobs: BlobStore) -> None:
        """Whoever stops storing in the middle leaves nothing that could be read."""
        reached = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            yield b"x" * 100_000
            reached.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(blobs.put(endless(), most_bytes=MIB))
        await reached.wait()
        task.cancel()
        await asyncio.wait([task])
        with pytest.raises(BlobMissing):
            await content_of(blobs, hashlib.sha256(b"x" * 100_000).hexdigest())

    async def test_deleted_is_gone(self, blobs: BlobStore) -> None:
        """Deleting is idempotent, and takes nothing else along."""
        one = await blobs.put(in_chunks(b"one"), most_bytes=MIB)
        two = await blobs.put(in_chunks(b"two"), most_bytes=MIB)
        await blobs.delete(one.digest)
        await blobs.delete(one.digest)
        with pytest.raises(BlobMissing):
            await content_of(blobs, one.digest)
        assert await content_of(blobs, two.digest) == b"two"

    async def test_young_blobs_are_not_told(self, blobs: BlobStore) -> None:
        """What was just stored, or stored again, is not among those that may be collected."""
        await blobs.put(in_chunks(b"young"), most_bytes=MIB)
        assert [batch async for batch in blobs.digests() if batch] == []

    @pytest.mark.parametrize("digest", ["", "..", "../x", "a" * 63, "A" * 64, "g" * 64])
    async def test_odd_names_lead_nowhere(self, blobs: BlobStore, digest: str) -> None:
        """What is no digest is not there, whatever it spells."""
        with pytest.raises(StorageFailed):
            await content_of(blobs, digest)
