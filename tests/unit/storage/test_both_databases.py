"""What both databases keep: writes over a restart, whole transactions, readers that do not wait."""

import asyncio

import msgspec
import pytest

from orchestrator.sessions.errors import StorageFailed
from orchestrator.storage.event_log import PiccoloEventLog
from orchestrator.storage.pool_sizes import PiccoloPoolSizes
from orchestrator.storage.session_store import PiccoloSessionStore
from orchestrator.testing.store_contract import RECORD, entry


async def test_what_was_written_is_there_after_a_restart(database_place):
    """Sessions, events and pool sizes survive closing and opening."""
    async with database_place.open() as database:
        await PiccoloSessionStore(database).add(RECORD)
        await PiccoloEventLog(database).append(RECORD.id, [entry(1)])
        await PiccoloPoolSizes(database).set("default", min_size=1, max_size=4)
        await PiccoloPoolSizes(database).set("default", min_size=2, max_size=8)
    async with database_place.open() as database:
        assert await PiccoloSessionStore(database).get(RECORD.id) == RECORD
        assert await PiccoloEventLog(database).last_seq(RECORD.id) == 1
        assert await PiccoloPoolSizes(database).get("default") == (2, 8)
        assert await PiccoloPoolSizes(database).get("other") is None


async def test_reading_does_not_wait_for_a_write(database_place):
    """While a transaction is open, others read what was there before it."""
    async with database_place.open() as database:
        store = PiccoloSessionStore(database)
        await store.add(RECORD)
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def long_write():
            await store.update(msgspec.structs.replace(RECORD, title="new"))
            begun.set()
            await go_on.wait()

        writing = asyncio.create_task(database.write(long_write))
        await begun.wait()
        async with asyncio.timeout(2):
            assert (await store.get(RECORD.id)).title == RECORD.title
        go_on.set()
        await writing
        assert (await store.get(RECORD.id)).title == "new"


async def test_failed_transaction_leaves_nothing(database_place):
    """When the work in a transaction fails, none of it is kept and the next one works."""
    async with database_place.open() as database:
        store = PiccoloSessionStore(database)

        async def failing():
            await store.add(RECORD)
            raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011 - the one just raised
            await database.write(failing)
        assert await store.get(RECORD.id) is None
        await store.add(RECORD)


async def test_write_in_a_write_is_one_transaction(database_place):
    """A nested transaction is part of the outer one and shares its fate."""
    async with database_place.engine() as engine:
        await engine.run_ddl("CREATE TABLE t (x BIGINT)")

        async def outer():
            async with engine.transaction():
                async with engine.transaction():
                    await engine.run_ddl("INSERT INTO t VALUES (1)")
                raise KeyError

        with pytest.raises(KeyError):
            await outer()
        assert list(await engine.run_ddl("SELECT x FROM t")) == []


async def test_the_byte_that_ends_strings_breaks_nothing(database_place):
    """A title or a key with a NUL is kept, as well as the database can."""
    async with database_place.open() as database:
        store = PiccoloSessionStore(database)
        await store.add(msgspec.structs.replace(RECORD, title="a\0b"))
        assert (await store.get(RECORD.id)).title in {"a\0b", "a\ufffdb"}


async def test_turns_are_taken(database_place):
    """Writes of one name run one after the other, of whichever process they are."""
    async with database_place.open() as one, database_place.open() as other:
        running, most = 0, 0

        async def work():
            nonlocal running, most
            running += 1
            most = max(most, running)
            for _ in range(20):
                await asyncio.sleep(0)
            running -= 1

        both = [one, other] if database_place.settings.url else [one]
        await asyncio.gather(*(db.write(work, in_turn="x") for db in both * 5))
        assert most == 1


@pytest.mark.parametrize("count", [1, 3, 1500])
async def test_an_append_may_be_repeated(database_place, count):
    """Where the answer to an append was lost, the same again is no failure and changes nothing;
    anything else under these numbers is one."""
    entries = [entry(seq, client_id="c1" if seq == 1 else None) for seq in range(1, count + 1)]
    async with database_place.open() as database:
        log = PiccoloEventLog(database)
        await PiccoloSessionStore(database).add(RECORD)
        await log.append(RECORD.id, entries)
        await log.append(RECORD.id, entries)
        assert len(await log.read(RECORD.id, limit=5000)) == count
        for wrong in (
            [*entries, entry(count + 1)],
            [*entries[:-1], entry(count, body=b'{"another":true}')],
        ):
            with pytest.raises(StorageFailed):
                await log.append(RECORD.id, wrong)
        assert await log.last_seq(RECORD.id) == count
