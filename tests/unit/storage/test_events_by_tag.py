"""What is read of a log after a restart: events by tag, and how far the sandbox's were taken."""

import pytest
from msgspec.structs import replace

from orchestrator.storage.event_log import PIECE_ROWS, PiccoloEventLog
from orchestrator.storage.session_store import PiccoloSessionStore
from orchestrator.testing.store_contract import RECORD, entry


@pytest.fixture
async def log(database_place):
    async with database_place.open() as database:
        await PiccoloSessionStore(database).add(RECORD)
        yield PiccoloEventLog(database)


def told(seq, tag, *, n=None):
    return replace(entry(seq), tag=tag, sandbox_n=n)


async def seqs(log, *tags):
    pieces = [piece async for piece in log.of_tags(RECORD.id, tags)]
    assert all(0 < len(piece) <= PIECE_ROWS for piece in pieces)
    return [int(body.decode()[len('{"seq":') : -1]) for piece in pieces for body in piece]


async def test_events_of_some_tags_come_in_order(log):
    """All of them, in bounded pieces, and no others."""
    tags = ("prompted", "text", "answered")
    await log.append(RECORD.id, [told(seq, tags[seq % 3]) for seq in range(1, 400)])
    assert await seqs(log, "prompted") == list(range(3, 400, 3))
    expected = [seq for seq in range(1, 400) if seq % 3 != 1]
    assert await seqs(log, "prompted", "answered") == expected
    assert await seqs(log, "none") == await seqs(log) == []


async def test_last_number_is_of_the_present_sandbox(log):
    """The highest since the last sandbox was assigned; what was told by none does not count."""
    assert await log.last_sandbox_n(RECORD.id) == 0
    await log.append(RECORD.id, [told(1, "sandbox_assigned"), told(2, "x", n=5), told(3, "x", n=9)])
    await log.append(RECORD.id, [told(4, "prompted")])
    assert await log.last_sandbox_n(RECORD.id) == 9
    await log.append(RECORD.id, [told(5, "sandbox_assigned")])
    assert await log.last_sandbox_n(RECORD.id) == 0
    await log.append(RECORD.id, [told(6, "x", n=2)])
    assert await log.last_sandbox_n(RECORD.id) == 2


async def test_hibernated_sessions_are_found_by_their_age(database_place):
    """Oldest first, so many as asked for, and none that is awake."""
    async with database_place.open() as database:
        store = PiccoloSessionStore(database)
        for day, state in enumerate(("hibernated", "idle", "hibernated", "ended", "hibernated"), 1):
            at = f"2026-01-0{day}T00:00:00.000Z"
            record = replace(RECORD, id=f"s{day}", state=state, updated_at=at, idempotency_key=None)
            await store.add(record)
        found = await store.hibernated_before("2026-01-05T00:00:00.000Z")
        assert [record.id for record in found] == ["s1", "s3"]
        assert len(await store.hibernated_before("2027", limit=2)) == 2
