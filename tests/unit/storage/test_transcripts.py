"""Transcripts on both databases: large ones, copies that cost little, and what sandboxes send."""

import asyncio
import itertools

import pytest

from orchestrator.protocol.ids import SandboxId, SessionId
from orchestrator.protocol.transcripts import TranscriptKey
from orchestrator.sessions.errors import StorageFailed
from orchestrator.storage.session_store import PiccoloSessionStore
from orchestrator.storage.transcript_store import PIECE_BYTES, PiccoloTranscriptStore, in_parts
from orchestrator.testing.store_contract import RECORD, replace

KEY = TranscriptKey(project="-workspace", agent_session="a1")
SUB = TranscriptKey(project="-workspace", agent_session="a1", subpath="subagents/x")
BOX = SandboxId("box")
ONE = SessionId("s1")
MIB = 1 << 20


@pytest.fixture
async def database(database_place):
    async with database_place.open() as database:
        await PiccoloSessionStore(database).add(replace(RECORD, id=ONE))
        yield database


@pytest.fixture
def transcripts(database):
    clock = itertools.count(2_000_000_000)
    return PiccoloTranscriptStore(database, now=lambda: next(clock))


async def append(transcripts, lines, n, *, key=KEY, branch=0, **more):
    await transcripts.append(ONE, key, lines, branch=branch, sandbox=BOX, n=n, **more)


async def pieces_of(transcripts, key=KEY, *, branch=0):
    return [piece async for piece in transcripts.load(ONE, key, branch=branch)]


async def rows(database, table):
    [row] = await database.tables.sessions._meta.db.run_ddl(f"SELECT COUNT(*) AS n FROM {table}")
    return row["n"]


def test_a_batch_is_cut_at_its_lines():
    """Each part holds whole lines, as many as fit; a line that is longer has one of its own."""
    line, long = b"x" * 999 + b"\n", b"y" * (2 * PIECE_BYTES) + b"\n"
    for lines in (b"", line, line * 3000, long, line + long + line, long * 2 + line * 600, b"open"):
        parts = in_parts(lines)
        assert b"".join(parts) == lines
        assert all(part.endswith(b"\n") for part in parts[:-1])
        assert all(len(part) <= PIECE_BYTES or part.count(b"\n") == 1 for part in parts)


async def test_large_batch_is_read_in_bounded_pieces(transcripts):
    """Of a batch of 24 MiB no more than a piece is in memory at once, its lines whole."""
    lines = b"".join(b'{"n":%d,"x":"%s"}\n' % (n, b"x" * 4000) for n in range(6000))
    await append(transcripts, lines, 1, summary=b"{}")
    pieces = await pieces_of(transcripts)
    assert max(map(len, pieces)) <= PIECE_BYTES
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert b"".join(pieces) == lines
    assert await transcripts.size(ONE) == len(lines) + 2


async def test_many_small_batches_are_read_together(transcripts):
    """Thousands of batches come back in order, in few pieces."""
    for n in range(1, 2102):
        await append(transcripts, b"%d\n" % n, n)
    pieces = await pieces_of(transcripts)
    assert b"".join(pieces).split() == [b"%d" % n for n in range(1, 2102)]
    assert len(pieces) <= 3


async def test_branch_copies_no_text(database, transcripts):
    """Going back costs a row for each batch, whatever is in it, and no bytes of the limit."""
    for n in range(1, 6):
        await append(transcripts, b"x" * 100_000 + b"\n", n)
    size = await transcripts.size(ONE)
    for into in range(1, 6):
        position = await transcripts.position(ONE, branch=0)
        await transcripts.fork(ONE, branch=0, position=position, into=into)
    assert await rows(database, "transcript_texts") == 5
    assert await transcripts.size(ONE) == size


async def test_what_was_deleted_stays_deleted_behind_it_alone(transcripts):
    """A branch from before a deletion holds what was deleted; one from after it does not."""
    await append(transcripts, b"1\n", 1)
    await append(transcripts, b"s\n", 2, key=SUB)
    before = await transcripts.position(ONE, branch=0)
    await transcripts.delete(ONE, KEY, branch=0)
    after = await transcripts.position(ONE, branch=0)
    assert after > before
    await transcripts.fork(ONE, branch=0, position=before, into=1)
    await transcripts.fork(ONE, branch=0, position=after, into=2)
    assert b"".join(await pieces_of(transcripts, branch=1)) == b"1\n"
    assert b"".join(await pieces_of(transcripts, SUB, branch=1)) == b"s\n"
    assert await pieces_of(transcripts, branch=2) == []
    assert await transcripts.position(ONE, branch=2) == after


async def test_sent_again_after_it_was_replaced(transcripts):
    """A batch that was replaced or deleted since is not added by being sent again."""
    await append(transcripts, b"old\n", 1)
    await append(transcripts, b"new\n", 2, replaces=True)
    await append(transcripts, b"old\n", 1)
    await append(transcripts, b"new\n", 2, replaces=True)
    assert b"".join(await pieces_of(transcripts)) == b"new\n"
    await transcripts.delete(ONE, KEY, branch=0)
    await append(transcripts, b"new\n", 2, replaces=True)
    assert await pieces_of(transcripts) == []
    assert await transcripts.last_n(ONE, BOX) == 2


async def test_replacing_by_nothing_leaves_nothing(transcripts):
    """Also a replacement without a line takes the place of all that was there."""
    await append(transcripts, b"old\n", 1)
    await append(transcripts, b"", 2, replaces=True)
    assert b"".join(await pieces_of(transcripts)) == b""


async def test_same_batch_at_once_is_taken_once(transcripts):
    """Of one batch that comes several times at once, one is kept, and nobody fails."""
    lines = b"x" * 1000 + b"\n"
    await asyncio.gather(*(append(transcripts, lines * 2000, 1) for _ in range(6)))
    assert b"".join(await pieces_of(transcripts)) == lines * 2000


async def test_cancelled_append_is_whole_or_not_there(transcripts):
    """Whoever goes away in the middle of a batch of many parts leaves all of it, or nothing."""
    lines = (b"x" * 1000 + b"\n") * 3000
    for n in range(1, 9):
        task = asyncio.create_task(append(transcripts, lines, n))
        for _ in range(n * 3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    await append(transcripts, b"", 100)
    assert len(b"".join(await pieces_of(transcripts))) % len(lines) == 0


async def test_whose_requester_is_gone_comes_before(transcripts):
    """What a reader that was cancelled had begun to write is whole before what the next one writes:
    a place in the transcript has all before it, and no batch is in the middle of another."""
    first, second = (b"a" * 1000 + b"\n") * 3000, (b"b" * 1000 + b"\n") * 3000
    for n in range(1, 9, 2):
        gone = asyncio.create_task(append(transcripts, first, n))
        for _ in range(3 * n):
            await asyncio.sleep(0)
        gone.cancel()
        await append(transcripts, second, n + 1)
        place = await transcripts.position(ONE, branch=0)
        await asyncio.wait([gone])
        await append(transcripts, b"c\n", 100 + n)
        await transcripts.fork(ONE, branch=0, position=place, into=n)
        forked = b"".join(await pieces_of(transcripts, branch=n))
        assert forked.replace(b"c\n", b"").replace(first, b"").replace(second, b"") == b""


async def test_session_takes_its_transcripts_along(database, transcripts):
    """Removing a session removes all that its agents said, of every branch."""
    await append(transcripts, b"1\n", 1, summary=b"{}")
    await transcripts.fork(ONE, branch=0, position=1 << 40, into=1)
    await PiccoloSessionStore(database).remove(ONE)
    assert await rows(database, "transcript_texts") == 0
    assert await rows(database, "transcript_batches") == 0
    with pytest.raises(StorageFailed):
        await append(transcripts, b"2\n", 2)


async def test_odd_keys_are_keys(transcripts):
    """Whatever a sandbox calls its files, each name is a name and nothing else."""
    names = ["'; DROP TABLE sessions; --", "%", "_", "{}", "a\0b", "é \U0001f600", "x" * 4000]
    for n, name in enumerate(names, start=1):
        await append(transcripts, b"%d\n" % n, n, key=replace(SUB, subpath=name))
    for n, name in enumerate(names, start=1):
        assert await pieces_of(transcripts, replace(SUB, subpath=name)) == [b"%d\n" % n]
    assert len(await transcripts.subpaths(ONE, KEY, branch=0)) == len(names)


async def test_summary_and_time_are_of_one_clock(transcripts):
    """A summary is as old as the agent session that it is of: milliseconds since 1970."""
    await append(transcripts, b"1\n", 1, summary=b"one")
    [line] = await transcripts.agent_sessions(ONE, "-workspace", branch=0)
    assert (line.mtime, line.summary) == (2_000_000_000_000, b"one")
    await append(transcripts, b"s\n", 2, key=SUB, summary=b"not of the main one")
    [line] = await transcripts.agent_sessions(ONE, "-workspace", branch=0)
    assert (line.mtime, line.summary) == (2_000_000_000_000, b"one")
