"""The SQLite file: made, full, read-only, locked."""

import sqlite3

import pytest

from orchestrator.sessions.errors import StorageFailed
from orchestrator.storage.checkpoint_store import PiccoloCheckpointStore
from orchestrator.storage.database import open_database
from orchestrator.storage.event_log import PiccoloEventLog
from orchestrator.storage.migrations import migrate
from orchestrator.storage.session_store import PiccoloSessionStore
from orchestrator.storage.settings import StorageSettings
from orchestrator.storage.sqlite_engine import open_sqlite
from orchestrator.testing.store_contract import RECORD, entry

QUICK = StorageSettings(busy_seconds=0.05)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "casemate.sqlite"


async def test_file_is_for_its_owner_alone(path):
    """The database is made with its directory, readable by its owner alone."""
    async with open_database(path):
        assert path.stat().st_mode & 0o777 == 0o600


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


async def test_full_disk_is_told_and_survived(path):
    """A full disk refuses the write with a plain sentence, keeps what was, and recovers."""
    async with open_sqlite(path, QUICK) as engine:
        await migrate(engine)
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


async def test_checkpoints_are_given_up_for_good(tmp_path):
    """Before a blob is deleted, that nobody names it any more survives a power cut, and so does all
    that was written before; other writes stay as quick as the settings say."""
    async with open_database(tmp_path / "casemate.sqlite") as database:
        engine, said = database._engine, []
        await engine.writer._execute(engine.writer._conn.set_trace_callback, said.append)
        await PiccoloCheckpointStore(database).remove("s", ["1", "2"])
        about = [one for one in said if "synchronous" in one or "DELETE" in one or "COMMIT" in one]
        assert about[0] == "PRAGMA synchronous = FULL"
        assert about[1].startswith("DELETE")
        assert about[2:] == ["COMMIT", "PRAGMA synchronous = NORMAL"]
