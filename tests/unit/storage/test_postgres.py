"""PostgreSQL: a server that goes away, refuses, hangs or is none."""

import asyncio
import contextlib
import logging
import signal
import traceback

import pytest
from msgspec.structs import replace
from piccolo.querystring import QueryString

from orchestrator.protocol.secret import Secret
from orchestrator.sessions.errors import StorageFailed
from orchestrator.settings import BadSetting, load_settings
from orchestrator.storage.database import open_database
from orchestrator.storage.event_log import PiccoloEventLog
from orchestrator.storage.session_store import PiccoloSessionStore
from orchestrator.testing.store_contract import RECORD, entry
from tests.database_place import QUICK, PostgresPlace
from tests.postgres_server import NoPostgres, running_postgres

PASSWORD = "open-sesame"


@pytest.fixture
def own_server():
    """One that a test may stop."""
    try:
        with running_postgres() as server:
            yield server
    except NoPostgres as error:
        pytest.skip(f"no PostgreSQL ({error}); run `./just test` as root, or install it")


async def until_it_works(work):
    async with asyncio.timeout(20):
        while True:
            try:
                return await work()
            except StorageFailed:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_server_may_be_restarted(own_server, how):
    """While it is away that is told at once; when it is back all goes on, with what was written."""
    place = PostgresPlace(own_server)
    async with place.open() as database:
        store, log = PiccoloSessionStore(database), PiccoloEventLog(database)
        await store.add(RECORD)
        await asyncio.gather(*(store.get(RECORD.id) for _ in range(20)))
        own_server.stop(how)
        with pytest.raises(StorageFailed, match="cannot be reached"):
            await log.append(RECORD.id, [entry(1)])
        with pytest.raises(StorageFailed, match="cannot be reached"):
            await database.write(lambda: log.append(RECORD.id, [entry(1)]))
        with pytest.raises(StorageFailed):
            await database.ping()
        own_server.start()
        await until_it_works(lambda: log.append(RECORD.id, [entry(1)]))
        assert await until_it_works(lambda: store.get(RECORD.id)) == RECORD


async def test_what_was_under_way_is_whole_or_not_there(own_server):
    """A transaction in the middle of which the server dies leaves nothing, and its requester is
    told."""
    place = PostgresPlace(own_server)
    async with place.open() as database:
        store, log = PiccoloSessionStore(database), PiccoloEventLog(database)
        await store.add(RECORD)
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def half():
            await log.append(RECORD.id, [entry(1)])
            begun.set()
            await go_on.wait()
            await log.append(RECORD.id, [entry(2)])

        writing = asyncio.create_task(database.write(half))
        await begun.wait()
        own_server.stop(signal.SIGQUIT)
        go_on.set()
        with pytest.raises(StorageFailed):
            await writing
        own_server.start()
        assert await until_it_works(lambda: log.last_seq(RECORD.id)) == 0


async def test_connections_that_the_server_ended_are_made_anew(postgres_place):
    """After each of them was cut, the next statements find new ones."""
    async with postgres_place.open() as database:
        store = PiccoloSessionStore(database)
        await store.add(RECORD)
        await asyncio.gather(*(store.get(RECORD.id) for _ in range(30)))
        ended = postgres_place.server.sql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            f"WHERE datname = '{postgres_place.name}'"
        )
        assert int(ended) >= 1
        assert await until_it_works(lambda: store.get(RECORD.id)) == RECORD


async def test_more_writers_than_connections(postgres_place):
    """They wait for one another, and all of them are done."""
    settings = replace(postgres_place.settings, connections=2)
    async with open_database(postgres_place.path, settings) as database:
        log = PiccoloEventLog(database)
        await PiccoloSessionStore(database).add(RECORD)

        async def write(seq):
            await database.write(lambda: log.append(RECORD.id, [entry(seq)]))

        await asyncio.gather(*(write(seq) for seq in range(1, 41)))
        assert await log.last_seq(RECORD.id) == 40


async def test_cancelled_requesters_leave_a_working_pool(postgres_place):
    """However many of them go away in the middle, no connection is lost."""
    settings = replace(postgres_place.settings, connections=2)
    async with open_database(postgres_place.path, settings) as database:
        store = PiccoloSessionStore(database)
        await store.add(RECORD)
        for number in range(40):
            task = asyncio.create_task(
                store.get(RECORD.id) if number % 2 else database.write(lambda: store.update(RECORD))
            )
            for _ in range(number % 7):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        async with asyncio.timeout(5):
            await asyncio.gather(*(store.get(RECORD.id) for _ in range(10)))


async def test_statement_that_hangs_is_given_up(postgres_place):
    """A lock that somebody else holds is not waited for without end."""
    settings = replace(postgres_place.settings, statement_seconds=0.3)
    async with (
        open_database(postgres_place.path, settings) as database,
        postgres_place.engine() as other,
    ):
        store = PiccoloSessionStore(database)
        await store.add(RECORD)
        async with other.transaction():
            await other.run_ddl("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StorageFailed, match="too long"):
                await store.get(RECORD.id)
        assert await store.get(RECORD.id) == RECORD


async def refused(url, tmp_path):
    settings = replace(QUICK, url=Secret(url), connect_seconds=2)
    with pytest.raises(StorageFailed) as caught:
        async with open_database(tmp_path / "none", settings):
            pass
    shown = "".join(traceback.format_exception(caught.value)) + repr(settings)
    assert PASSWORD not in shown
    assert not (tmp_path / "none").exists()
    return caught.value.sentence


async def test_what_cannot_be_opened_is_told(postgres_server, tmp_path):
    """A database that is not there, a server that is none and an address that is nonsense have
    sentences of their own, and none of them shows the password."""
    url = postgres_server.url("nobody_made_it").replace("@", f":{PASSWORD}@")
    assert "no such database" in await refused(url, tmp_path)
    nowhere = f"postgresql://u:{PASSWORD}@127.0.0.1:1/casemate"
    assert "cannot be reached" in await refused(nowhere, tmp_path)
    for nonsense in (f"postgresql://u:{PASSWORD}@[::/x", f"postgresql://u:{PASSWORD}@h:port/x"):
        assert "URL cannot be read" in await refused(nonsense, tmp_path)


async def test_server_that_never_answers_is_given_up(tmp_path):
    """One that accepts and says nothing is not waited for without end."""
    silent = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        assert await refused(f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/x", tmp_path)


async def test_wrong_password_is_told(own_server, tmp_path):
    """As that, without either password."""
    own_server.sql(f"CREATE ROLE casemate LOGIN PASSWORD '{PASSWORD}x'")
    own_server.require_passwords("casemate")
    url = own_server.url("postgres").replace("postgresql://", "").partition("@")[2]
    sentence = await refused(f"postgresql://casemate:{PASSWORD}@{url}", tmp_path)
    assert "name or password" in sentence


async def test_other_encodings_are_refused(postgres_place):
    """A database that cannot hold every character is not begun with."""
    server, name = postgres_place.server, "latin"
    server.sql(f"CREATE DATABASE {name} ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
    settings = replace(postgres_place.settings, url=Secret(server.url(name)))
    with pytest.raises(StorageFailed, match="UTF8"):
        async with open_database(postgres_place.path, settings):
            pass
    server.drop_database(name)


async def test_operator_is_told_which_database_it_is(postgres_place, caplog):
    """By its version and name; the address is nowhere in the logs."""
    with caplog.at_level(logging.DEBUG):
        async with postgres_place.open() as database:
            assert database.about.startswith("PostgreSQL ")
            assert database.about.endswith(f"database {postgres_place.name}")
    assert str(postgres_place.server.home) not in caplog.text


def test_settings_take_the_address_and_show_it_to_nobody(tmp_path):
    """From the environment or a mounted file; one that is none of PostgreSQL's is refused without
    being repeated."""
    url = f"postgresql://u:{PASSWORD}@db.example.org/casemate"
    file = tmp_path / "url"
    file.write_text(url + "\n")
    for given in ({"CASEMATE_STORAGE_URL": url}, {"CASEMATE_STORAGE_URL_FILE": str(file)}):
        settings = load_settings(given)
        assert settings.storage.url.reveal() == url
        assert PASSWORD not in repr(settings)
    for bad in (
        {"CASEMATE_STORAGE_URL": f"mysql://u:{PASSWORD}@h/d"},
        {"CASEMATE_STORAGE_URL": url, "CASEMATE_STORAGE_PATH": "/x"},
    ):
        with pytest.raises(BadSetting) as caught:
            load_settings(bad)
        assert PASSWORD not in str(caught.value)


async def test_a_migration_may_take_its_time(postgres_place):
    """What is limited is a statement of every day; an index over years of events is built."""
    postgres_place.settings = replace(postgres_place.settings, statement_seconds=0.3)
    async with postgres_place.engine() as engine:
        async with engine.transaction():
            await engine.run_ddl("SELECT pg_sleep(0.6)")
        with pytest.raises(StorageFailed):
            await engine.run_querystring(QueryString("SELECT pg_sleep(0.6)"))
