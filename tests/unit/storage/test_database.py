"""The database file: opened, upgraded, full, read-only, locked."""

import asyncio
import sqlite3

import msgspec
import pytest

from orchestrator.sessions.errors import StorageFailed
from orchestrator.storage.database import open_database
from orchestrator.storage.event_log import PiccoloEventLog
from orchestrator.storage.migrations import SchemaTooNew, migrate, version_of
from orchestrator.storage.pool_sizes import PiccoloPoolSizes
from orchestrator.storage.schema import MIGRATIONS, Migration
from orchestrator.storage.session_store import PiccoloSessionStore
from orchestrator.storage.settings import StorageSettings
from orchestrator.storage.sqlite_engine import DIALECT, open_sqlite
from orchestrator.storage.user_store import PiccoloUserStore
from orchestrator.testing.store_contract import RECORD, USER, entry

QUICK = StorageSettings(busy_seconds=0.05)
LATEST = MIGRATIONS[-1].version


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "casemate.sqlite"


async def test_file_is_for_its_owner_alone(path):
    """The database is made with its directory, readable by its owner alone."""
    async with open_database(path):
        assert path.stat().st_mode & 0o777 == 0o600


async def test_what_was_written_is_there_after_a_restart(path):
    """Sessions, events and pool sizes survive closing and opening."""
    async with open_database(path) as database:
        await PiccoloSessionStore(database).add(RECORD)
        await PiccoloEventLog(database).append(RECORD.id, [entry(1)])
        await PiccoloPoolSizes(database).set("default", min_size=1, max_size=4)
        await PiccoloPoolSizes(database).set("default", min_size=2, max_size=8)
    async with open_database(path) as database:
        assert await PiccoloSessionStore(database).get(RECORD.id) == RECORD
        assert await PiccoloEventLog(database).last_seq(RECORD.id) == 1
        assert await PiccoloPoolSizes(database).get("default") == (2, 8)
        assert await PiccoloPoolSizes(database).get("other") is None


async def test_writes_are_durable_and_reads_do_not_wait(path):
    """The journal is a write-ahead log, foreign keys hold, and the readers cannot write."""
    async with open_sqlite(path, QUICK) as engine:
        assert await engine.run_ddl("SELECT journal_mode FROM pragma_journal_mode") == [
            {"journal_mode": "wal"}
        ]
        assert await engine.run_ddl("SELECT foreign_keys FROM pragma_foreign_keys") == [
            {"foreign_keys": 1}
        ]
        reader = engine.readers.get_nowait()
        with pytest.raises(sqlite3.OperationalError):
            await reader.execute("CREATE TABLE x (y)")


async def test_reading_does_not_wait_for_a_write(path):
    """While a transaction is open, others read what was there before it."""
    async with open_database(path) as database:
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


async def test_failed_transaction_leaves_nothing(path):
    """When the work in a transaction fails, none of it is kept and the next one works."""
    async with open_database(path) as database:
        store = PiccoloSessionStore(database)

        async def failing():
            await store.add(RECORD)
            raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011 - the one just raised
            await database.write(failing)
        assert await store.get(RECORD.id) is None
        await store.add(RECORD)


async def test_full_disk_is_told_and_survived(path):
    """A full disk refuses the write with a plain sentence, keeps what was, and recovers."""
    async with open_sqlite(path, QUICK) as engine:
        await migrate(engine, dialect=DIALECT)
    async with open_database(path) as database:
        store, log = PiccoloSessionStore(database), PiccoloEventLog(database)
        await store.add(RECORD)
        engine = database.tables.sessions._meta.db
        [pages] = await engine.run_ddl("SELECT page_count FROM pragma_page_count")
        await engine.writer.execute(f"PRAGMA max_page_count = {pages['page_count'] + 2}")
        big = [entry(seq, body=b'"' + b"x" * 100_000 + b'"') for seq in (1, 2)]
        with pytest.raises(StorageFailed, match="full"):
            await log.append(RECORD.id, big)
        with pytest.raises(StorageFailed, match="full"):
            await database.write(lambda: log.append(RECORD.id, big))
        assert await log.last_seq(RECORD.id) == 0
        await engine.writer.execute("PRAGMA max_page_count = 1000000")
        await log.append(RECORD.id, big)


async def test_file_that_is_no_database_is_told(path):
    """A file that is something else is refused with a plain sentence."""
    path.parent.mkdir()
    path.write_text("This is a letter to my aunt. " * 100)
    with pytest.raises(StorageFailed, match="not a database"):
        async with open_database(path):
            pass


async def test_place_that_cannot_be_written_is_told(path):
    """A directory that cannot be made is refused with an error of ours."""
    path.parent.write_text("a file where the directory should be")
    with pytest.raises(StorageFailed):
        async with open_database(path):
            pass


async def test_read_only_database_is_told(path):
    """A database that cannot be written to is told as that, and still read."""
    async with open_database(path) as database:
        store = PiccoloSessionStore(database)
        await store.add(RECORD)
        await database.tables.sessions._meta.db.writer.execute("PRAGMA query_only = ON")
        with pytest.raises(StorageFailed, match="cannot be written"):
            await store.remove(RECORD.id)
        assert await store.get(RECORD.id) == RECORD


async def test_lock_of_another_program_is_told(path):
    """When another program holds the database for too long, that is the sentence; later all is
    well."""
    async with open_database(path, QUICK) as database:
        store = PiccoloSessionStore(database)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageFailed, match="locked by another program"):
            await store.add(RECORD)
        with pytest.raises(StorageFailed, match="locked by another program"):
            await database.write(lambda: store.add(RECORD))
        other.execute("ROLLBACK")
        other.close()
        await store.add(RECORD)


async def test_connections_stay_open(path, monkeypatch):
    """No query opens a connection of its own."""
    async with open_database(path) as database:
        monkeypatch.setattr("aiosqlite.connect", None)
        store = PiccoloSessionStore(database)
        await store.add(RECORD)
        assert await store.unfinished() == [RECORD]


async def test_write_in_a_write_is_one_transaction(path):
    """A nested transaction is part of the outer one and shares its fate."""
    async with open_sqlite(path, QUICK) as engine:
        await engine.run_ddl("CREATE TABLE t (x BIGINT)")

        async def outer():
            async with engine.transaction():
                async with engine.transaction():
                    await engine.run_ddl("INSERT INTO t VALUES (1)")
                raise KeyError

        with pytest.raises(KeyError):
            await outer()
        assert await engine.run_ddl("SELECT x FROM t") == []


# --- the schema ----------------------------------------------------------------------------


SAMPLES = {
    1: [
        (
            "INSERT INTO sessions VALUES ('s', 'u', 't', 'p', 'ended', '2026', '2026', 'm', "
            "'default', '{}', 1.5, 0, 0, NULL, NULL, NULL)"
        ),
        "INSERT INTO events (session, seq, at, tag, body) VALUES ('s', 1, '2026', 't', '{}')",
    ],
    2: ["INSERT INTO users VALUES ('u', 'anna', 'admin', 1.0, NULL, 0, 1, NULL)"],
    3: ["INSERT INTO pool_sizes VALUES ('default', 1, 2)"],
    4: ["INSERT INTO audit VALUES (1, '2026', 'a', 'b', '', 'ok', '', '', '0', '1')"],
    5: [
        (
            "INSERT INTO refused_hosts (profile, host, port, tag, times, first_at, last_at) "
            "VALUES ('default', 'h', 443, 't', 1, '2026', '2026')"
        ),
        "INSERT INTO refused_host_drops VALUES ('default', 3)",
    ],
}


@pytest.mark.parametrize("old", [migration.version for migration in MIGRATIONS])
async def test_older_schema_is_upgraded_with_its_data(path, old):
    """A database of any released version is brought to the latest one, and its data is kept."""
    async with open_sqlite(path, QUICK) as engine:
        released = [migration for migration in MIGRATIONS if migration.version <= old]
        assert await migrate(engine, dialect=DIALECT, migrations=released) == old
        for version in range(1, old + 1):
            for statement in SAMPLES[version]:
                await engine.run_ddl(statement)
    async with open_database(path) as database:
        [session] = await PiccoloSessionStore(database).page("u", limit=5, before=None)
        assert (session.id, session.cost_usd) == ("s", 1.5)
        assert len(await PiccoloEventLog(database).read("s")) == 1
        assert (await PiccoloUserStore(database).by_name("anna") is not None) == (old >= 2)
        await PiccoloUserStore(database).add(msgspec.structs.replace(USER, name="new"))
        engine = database.tables.users._meta.db
        assert await version_of(engine) == MIGRATIONS[-1].version
        upgraded = await schema_of(engine)
    async with open_database(path.with_name("fresh.sqlite")) as fresh:
        assert upgraded == await schema_of(fresh.tables.users._meta.db)


async def schema_of(engine):
    rows = await engine.run_ddl("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
    return sorted(row["sql"] for row in rows)


async def test_changed_table_keeps_its_rows(path):
    """A migration may change a table that has rows."""
    widened = Migration(LATEST + 1, "colour", ("ALTER TABLE sessions ADD COLUMN colour TEXT",))
    filled = Migration(LATEST + 2, "fill it", ("UPDATE sessions SET colour = 'red'",))
    async with open_database(path) as database:
        await PiccoloSessionStore(database).add(RECORD)
    async with open_sqlite(path, QUICK) as engine:
        steps = [*MIGRATIONS, widened, filled]
        assert await migrate(engine, dialect=DIALECT, migrations=steps) == LATEST + 2
        assert await engine.run_ddl("SELECT colour FROM sessions") == [{"colour": "red"}]


async def test_failing_migration_changes_nothing(path):
    """A migration that fails half-way leaves the schema as it was, and can be tried again."""
    broken = Migration(LATEST + 1, "broken", ("CREATE TABLE half (x BIGINT)", "CREATE NONSENSE"))
    async with open_sqlite(path, QUICK) as engine:
        await migrate(engine, dialect=DIALECT)
        with pytest.raises(StorageFailed):
            await migrate(engine, dialect=DIALECT, migrations=[*MIGRATIONS, broken])
        assert await version_of(engine) == LATEST
        mended = Migration(LATEST + 1, "mended", ("CREATE TABLE half (x BIGINT)",))
        reached = await migrate(engine, dialect=DIALECT, migrations=[*MIGRATIONS, mended])
        assert reached == LATEST + 1


async def test_newer_schema_is_refused(path):
    """A database of a newer version is refused untouched, and told as that."""
    async with open_database(path) as database:
        engine = database.tables.users._meta.db
        await engine.run_ddl("INSERT INTO schema_version VALUES (999, 'from the future')")
    with pytest.raises(SchemaTooNew):
        async with open_database(path):
            pass


async def test_two_processes_may_start_at_once(path):
    """Two processes that open a new database at once both end up with the latest schema or an
    error of ours; the next start is well."""
    results = await asyncio.gather(
        *(_open_and_close(path) for _ in range(3)), return_exceptions=True
    )
    assert all(result is None or isinstance(result, StorageFailed) for result in results)
    await _open_and_close(path)


async def _open_and_close(path):
    async with open_database(path):
        pass


async def test_tables_and_schema_agree(path):
    """Every column that Piccolo knows is in the database, and the other way round."""
    async with open_database(path) as database:
        for table in msgspec.structs.asdict(database.tables).values():
            name = table._meta.tablename
            rows = await table._meta.db.run_ddl(f"SELECT name FROM pragma_table_info('{name}')")
            assert {row["name"] for row in rows} == {c._meta.name for c in table._meta.columns}
