"""The schema on both databases: brought forward from each released version, or left alone."""

import asyncio

import msgspec
import pytest
from msgspec.structs import replace

from orchestrator.protocol.transcripts import TranscriptKey
from orchestrator.sessions.errors import StorageFailed
from orchestrator.storage.audit_store import PiccoloAuditStore
from orchestrator.storage.checkpoint_store import PiccoloCheckpointStore
from orchestrator.storage.database import open_database
from orchestrator.storage.event_log import PiccoloEventLog
from orchestrator.storage.migrations import SchemaTooNew, migrate, version_of
from orchestrator.storage.pool_sizes import PiccoloPoolSizes
from orchestrator.storage.refused_host_store import PiccoloRefusedHostStore
from orchestrator.storage.schema import MIGRATIONS, Migration
from orchestrator.storage.session_store import PiccoloSessionStore
from orchestrator.storage.transcript_store import PiccoloTranscriptStore
from orchestrator.storage.user_store import PiccoloUserStore
from orchestrator.testing.store_contract import RECORD, USER

LATEST = MIGRATIONS[-1].version

SAMPLES = {
    1: [
        (
            "INSERT INTO sessions VALUES ('s', 'u', 't', 'p', 'ended', '2026', '2026', 'm', "
            "'default', '{}', 1.5, 0, 0, NULL, NULL, NULL)"
        ),
        "INSERT INTO events (session, seq, at, tag, body) VALUES ('s', 1, '2026', 't', '{}')",
    ],
    2: ["INSERT INTO users VALUES ('u', 'anna', 'admin', 1.0, NULL, FALSE, 1, NULL)"],
    3: ["INSERT INTO pool_sizes VALUES ('default', 1, 2)"],
    4: ["INSERT INTO audit VALUES (1, '2026', 'a', 'b', '', 'ok', '', '', '0', '1')"],
    5: [
        (
            "INSERT INTO refused_hosts (profile, host, port, tag, times, first_at, last_at) "
            "VALUES ('default', 'h', 443, 't', 1, '2026', '2026')"
        ),
        "INSERT INTO refused_host_drops VALUES ('default', 3)",
    ],
    6: ["UPDATE sessions SET agent_session_id = 'a', deaths = 2 WHERE id = 's'"],
    7: [
        (
            "INSERT INTO transcript_texts (session, sandbox, n, part, size, text) "
            "VALUES ('s', 'box', 7, 0, 1, CAST('x' AS {bytes}))"
        ),
        (
            "INSERT INTO transcript_batches (session, branch, project, agent_session, subpath, "
            "text_id, size, mtime, summarised) VALUES ('s', 0, 'p', 'a', '', 1, 1, 1, FALSE)"
        ),
    ],
    8: ["INSERT INTO checkpoints VALUES ('c','s','2026',1,NULL,'d',1,1,1,0,'f','a',0,1)"],
    9: [],
}


async def fill(engine, *, up_to):
    """As those who upgraded to each version when it came, and used it."""
    for number in range(1, up_to + 1):
        assert await migrate(engine, migrations=MIGRATIONS[:number]) == number
        for statement in SAMPLES[number]:
            await engine.run_ddl(statement.replace("{bytes}", engine.dialect["bytes"]))


OLD_ONES = range(1, LATEST + 1)


@pytest.mark.parametrize("old", OLD_ONES)
async def test_older_schema_is_upgraded_with_its_data(database_place, old):
    """A database of any released version is brought to the latest one, and its data is kept."""
    async with database_place.engine() as engine:
        await fill(engine, up_to=old)
    async with database_place.open() as database:
        [session] = await PiccoloSessionStore(database).page("u", limit=5, before=None)
        assert (session.id, session.cost_usd) == ("s", 1.5)
        assert len(await PiccoloEventLog(database).read("s")) == 1
        assert (await PiccoloUserStore(database).by_name("anna") is not None) == (old >= 2)
        await PiccoloUserStore(database).add(replace(USER, name="new"))
        engine = database.tables.users._meta.db
        assert await version_of(engine) == MIGRATIONS[-1].version
        upgraded = await database_place.schema(engine)
    async with database_place.fresh().open() as fresh:
        assert upgraded == await database_place.schema(fresh.tables.users._meta.db)


async def test_released_data_is_read_as_it_was(database_place):
    """What each version could hold is there for the stores of the latest one."""
    async with database_place.engine() as engine:
        await fill(engine, up_to=LATEST)
    async with database_place.open() as database:
        [session] = await PiccoloSessionStore(database).page("u", limit=5, before=None)
        assert (session.agent_session_id, session.deaths, session.branch) == ("a", 2, 0)
        transcripts = PiccoloTranscriptStore(database)
        key = TranscriptKey(project="p", agent_session="a")
        assert b"".join([p async for p in transcripts.load("s", key, branch=0)]) == b"x"
        assert await transcripts.last_n("s", "box") == 7
        [checkpoint] = await PiccoloCheckpointStore(database).page("s", limit=5)
        assert (checkpoint.id, checkpoint.position) == ("c", 1)
        hosts, dropped = await PiccoloRefusedHostStore(database).load()
        assert ([host.host for host in hosts], dropped) == (["h"], {"default": 3})
        assert (await PiccoloAuditStore(database).last()).entry.actor == "a"
        assert await PiccoloPoolSizes(database).get("default") == (1, 2)


async def test_changed_table_keeps_its_rows(database_place):
    """A migration may change a table that has rows."""
    widened = Migration(LATEST + 1, "colour", ("ALTER TABLE sessions ADD COLUMN colour TEXT",))
    filled = Migration(LATEST + 2, "fill it", ("UPDATE sessions SET colour = 'red'",))
    async with database_place.open() as database:
        await PiccoloSessionStore(database).add(RECORD)
    async with database_place.engine() as engine:
        steps = [*MIGRATIONS, widened, filled]
        assert await migrate(engine, migrations=steps) == LATEST + 2
        [row] = await engine.run_ddl("SELECT colour FROM sessions")
        assert row["colour"] == "red"


async def test_failing_migration_changes_nothing(database_place):
    """A migration that fails half-way leaves the schema as it was, and can be tried again."""
    broken = Migration(LATEST + 1, "broken", ("CREATE TABLE half (x BIGINT)", "CREATE NONSENSE"))
    async with database_place.engine() as engine:
        await migrate(engine)
        with pytest.raises(StorageFailed):
            await migrate(engine, migrations=[*MIGRATIONS, broken])
        assert await version_of(engine) == LATEST
        mended = Migration(LATEST + 1, "mended", ("CREATE TABLE half (x BIGINT)",))
        reached = await migrate(engine, migrations=[*MIGRATIONS, mended])
        assert reached == LATEST + 1


async def test_newer_schema_is_refused(database_place):
    """A database of a newer version is refused untouched, and told as that."""
    async with database_place.open() as database:
        engine = database.tables.users._meta.db
        await engine.run_ddl("INSERT INTO schema_version VALUES (999, 'from the future')")
    with pytest.raises(SchemaTooNew):
        async with database_place.open():
            pass


async def test_several_processes_may_start_at_once(database_place):
    """Those that open a new database at once all end up with the latest schema, run once."""
    patient = replace(database_place.settings, busy_seconds=20, connections=2)

    async def open_and_close():
        async with open_database(database_place.path, patient) as database:
            return await version_of(database.tables.users._meta.db)

    assert await asyncio.gather(*(open_and_close() for _ in range(5))) == [LATEST] * 5


async def test_tables_and_schema_agree(database_place):
    """Every column that Piccolo knows is in the database, and the other way round."""
    async with database_place.open() as database:
        for table in msgspec.structs.asdict(database.tables).values():
            names = await database_place.columns(table._meta.db, table._meta.tablename)
            assert names == {c._meta.name for c in table._meta.columns}
