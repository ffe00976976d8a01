"""The audit log on the real database: appended to, proved, and never in anybody's way."""

import asyncio
import itertools

import pytest

from orchestrator.accounts import keys
from orchestrator.accounts.audit import AuditFact, AuditFilter
from orchestrator.accounts.audit_anchor import FileAnchor
from orchestrator.accounts.audit_chain import AuditHead
from orchestrator.accounts.audit_log import AuditLog
from orchestrator.accounts.audit_settings import AuditSettings
from orchestrator.sessions.errors import StorageFailed
from orchestrator.storage.audit_store import PiccoloAuditStore
from orchestrator.storage.user_store import PiccoloUserStore
from orchestrator.testing.store_contract import USER

KEY = b"k" * 32
ANY = AuditFilter()


@pytest.fixture
async def database(database_place):
    async with database_place.open() as database:
        yield database


@pytest.fixture
def open_log(database, tmp_path):
    clock = itertools.count()

    def opened(store=None, **settings):
        return AuditLog(
            store or PiccoloAuditStore(database),
            key=KEY,
            anchor=FileAnchor(tmp_path / "audit.head"),
            users=PiccoloUserStore(database),
            settings=AuditSettings(**settings),
            now=lambda: f"2026-01-01T00:00:00.{next(clock):03}Z",
        )

    return opened


def fact(n):
    return AuditFact(action="user.changed", detail=str(n))


async def details(log):
    page = await log.page(before=None, limit=1000, matching=ANY)
    return [entry.detail for entry in page.entries][::-1]


async def sql(database, statement):
    return await database.tables.audit._meta.db.run_ddl(statement)


async def without_triggers(database, *statements):
    """As somebody who owns the file."""
    engine = database.tables.audit._meta.db
    of_table = " ON audit" if engine.engine_type == "postgres" else ""
    for name in ("audit_not_updated", "audit_not_deleted", "audit_only_appended"):
        await sql(database, f"DROP TRIGGER {name}{of_table}")
    for statement in statements:
        await sql(database, statement)


async def test_what_was_recorded_is_there_in_its_order_and_proved(open_log):
    """Over several openings, with one chain and no number left out."""
    for start in (0, 300, 600):
        async with open_log() as log:
            for n in range(start, start + 300):
                log.record(fact(n))
    async with open_log() as log:
        assert await details(log) == [str(n) for n in range(900)]
        finding = await log.verify()
        assert (finding.is_whole, finding.checked) == (True, 900)


async def test_two_writers_share_one_chain(open_log):
    """The server and the command line beside it."""
    async with open_log() as one, open_log() as other:
        for n in range(100):
            (one if n % 2 else other).record(fact(n))
            await asyncio.sleep(0)
    async with open_log() as log:
        assert sorted(map(int, await details(log))) == list(range(100))
        assert (await log.verify()).checked == 100


async def test_recording_never_waits_and_a_gap_is_recorded(open_log, database):
    """While the store is slow the queue fills up; what it cannot hold is counted, and told."""
    gate = asyncio.Event()

    class Slow(PiccoloAuditStore):
        async def extend(self, make):
            await gate.wait()
            return await super().extend(make)

    async with open_log(Slow(database), queue=10) as log:
        for n in range(25):
            log.record(fact(n))
        gate.set()
    async with open_log() as log:
        assert await details(log) == [*map(str, range(10)), "15 entries were dropped"]
        newest = (await log.page(before=None, limit=1, matching=ANY)).entries[0]
        assert (newest.action, newest.result) == ("audit.gap", "failed")
        assert (await log.verify()).is_whole


async def test_a_store_that_fails_for_a_while_loses_nothing(open_log, database, monkeypatch):
    """What could not be written is written later, once."""
    monkeypatch.setattr("orchestrator.accounts.audit_log._RETRY", 0.01)

    class Failing(PiccoloAuditStore):
        left = 3

        async def extend(self, make):
            if self.left:
                self.left -= 1
                raise StorageFailed
            return await super().extend(make)

    async with open_log(Failing(database)) as log:
        for n in range(5):
            log.record(fact(n))
        async with asyncio.timeout(5):
            while await details(log) != [str(n) for n in range(5)]:
                await asyncio.sleep(0.01)


async def test_the_end_is_anchored_after_a_number_and_after_a_time(open_log, tmp_path):
    """While Casemate runs, not only at its end; and never back."""
    anchor = FileAnchor(tmp_path / "audit.head")

    async def reached(seq):
        async with asyncio.timeout(5):
            while (head := await anchor.read()) is None or head.seq < seq:
                await asyncio.sleep(0.01)
        return head

    async with open_log(anchor_records=10, anchor_seconds=3600) as log:
        for n in range(10):
            log.record(fact(n))
        older = await reached(10)
    async with open_log(anchor_records=10_000, anchor_seconds=0.05) as log:
        log.record(fact(10))
        await reached(11)
        await anchor.write(older)
        assert (await anchor.read()).seq == 11
    assert (tmp_path / "audit.head").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET detail = 'x'",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE seq = 3",
        "INSERT OR REPLACE INTO audit VALUES (2,'','','','','ok','','','','')",
        "REPLACE INTO audit VALUES (3,'','','','','ok','','','','')",
        "TRUNCATE audit",
        "INSERT INTO audit VALUES (0,'','','','','ok','','','','')",
        (
            "INSERT INTO audit VALUES (1,'','','','','ok','','','','') "
            "ON CONFLICT (seq) DO UPDATE SET detail = 'x'"
        ),
    ],
)
async def test_the_table_is_only_appended_to(open_log, database, statement):
    """The database refuses to change, remove or replace what is there."""
    async with open_log() as log:
        for n in range(3):
            log.record(fact(n))
    with pytest.raises(StorageFailed):
        await sql(database, statement)
    async with open_log() as log:
        assert await details(log) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE audit SET detail = 'x' WHERE seq = 2", 2),
        ("UPDATE audit SET result = 'refused' WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("UPDATE audit SET seq = 100 WHERE seq = 3", 3),
        ("DELETE FROM audit WHERE seq > 2", None),
        ("DELETE FROM audit", None),
    ],
)
async def test_who_owns_the_file_is_found_out(open_log, database, statement, broken):
    """Without the triggers rows can be changed; the check names the first that was."""
    async with open_log() as log:
        for n in range(4):
            log.record(fact(n))
    await without_triggers(database, statement)
    async with open_log() as log:
        finding = await log.verify()
    assert not finding.is_whole
    assert finding.broken == broken


async def test_what_comes_later_covers_up_nothing(open_log, database, tmp_path):
    """An end that was cut off stays found out, however many records come after it."""
    async with open_log() as log:
        for n in range(5):
            log.record(fact(n))
    await without_triggers(database, "DELETE FROM audit WHERE seq > 2")
    async with open_log(anchor_records=1) as log:
        for n in range(20):
            log.record(fact(n))
            await asyncio.sleep(0)
    async with open_log() as log:
        finding = await log.verify()
        assert finding.broken == 5
        assert "anchored" in finding.sentence


async def test_a_missing_anchor_is_itself_recorded(open_log, tmp_path):
    """Who removes it leaves a trace in the log; the first one of all is not missed."""
    async with open_log() as log:
        log.record(fact(0))
    (tmp_path / "audit.head").unlink()
    async with open_log() as log:
        assert not (await log.verify()).is_whole
        log.record(fact(1))
    async with open_log() as log:
        page = await log.page(before=None, limit=9, matching=ANY)
        told = [entry.action for entry in page.entries]
        assert told == ["audit.anchor_missing", "user.changed", "user.changed"]
        assert (await log.verify()).is_whole


async def actions(log):
    page = await log.page(before=None, limit=1000, matching=ANY)
    return [entry.action for entry in page.entries][::-1]


async def until(log, *expected):
    async with asyncio.timeout(5):
        while await actions(log) != list(expected):
            await asyncio.sleep(0.01)


async def test_who_cuts_the_end_off_while_it_runs_is_found_out(open_log, database, tmp_path):
    """The anchor goes with it, and the log goes on behind what is left: it says what was there."""
    async with open_log(anchor_seconds=0.05) as log:
        for n in range(5):
            log.record(fact(n))
        async with asyncio.timeout(5):
            while not (tmp_path / "audit.head").exists():
                await asyncio.sleep(0.01)
        await until(log, *["user.changed"] * 5)
        await without_triggers(database, "DELETE FROM audit WHERE seq > 2")
        (tmp_path / "audit.head").unlink()
        log.record(fact(5))
        await until(
            log,
            *["user.changed"] * 2,
            *("audit.cut", "user.changed", "audit.anchor_missing"),
        )
        assert "records 3 to 5 are gone" in await details(log)


async def test_an_anchor_that_cannot_be_written_is_missed_once(open_log, tmp_path, monkeypatch):
    """However often it is tried again: nothing is ever removed from the log."""
    monkeypatch.setattr("orchestrator.accounts.audit_log._RETRY", 0.01)
    monkeypatch.setattr("orchestrator.accounts.audit_log._LOOK_AGAIN", 0.001)
    async with open_log() as log:
        log.record(fact(0))
    (tmp_path / "audit.head").unlink()
    tries = 0

    def refuse(*_):
        nonlocal tries
        tries += 1
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(FileAnchor, "_write", refuse)
        async with open_log(anchor_seconds=0.01) as log:
            log.record(fact(1))
            async with asyncio.timeout(5):
                while tries < 10:
                    await asyncio.sleep(0.01)
            patched.undo()
    async with open_log() as log:
        assert (await actions(log)).count("audit.anchor_missing") == 1
        assert (await log.verify()).is_whole


async def test_pages_lead_back_to_the_first_entry(open_log, database):
    """Newest first, filtered or not, with names for ids."""
    await PiccoloUserStore(database).add(USER)
    async with open_log() as log:
        for n in range(10):
            actor = f"user/{USER.id}" if n % 2 else "command line"
            log.record(AuditFact(action="a" if n < 5 else "b", actor=actor, detail=str(n)))
    async with open_log() as log:
        seen, before = [], None
        while True:
            page = await log.page(before=before, limit=3, matching=ANY)
            seen += [entry.detail for entry in page.entries]
            if (before := page.next_cursor) is None:
                break
        assert seen == [str(n) for n in range(9, -1, -1)]
        of_user = AuditFilter(action="b", actor=USER.name)
        page = await log.page(before=None, limit=50, matching=of_user)
        assert [(entry.detail, entry.actor) for entry in page.entries] == [
            (str(n), USER.name) for n in (9, 7, 5)
        ]


def test_the_key_is_kept_beside_and_apart(tmp_path):
    """A key of its own, the same at every start, for its owner's eyes only."""
    one = keys.load_or_create_audit_key(tmp_path / "audit.key")
    assert keys.load_or_create_audit_key(tmp_path / "audit.key") == one
    assert one != keys.load_or_create_audit_key(tmp_path / "other.key")
    assert (tmp_path / "audit.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "audit.key").chmod(0o644)
    with pytest.raises(keys.KeyFileUnsafe):
        keys.load_or_create_audit_key(tmp_path / "audit.key")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff" * 100, b"x" * 100_000])
async def test_an_anchor_that_cannot_be_read_is_none(tmp_path, content):
    """It is replaced as a whole, and no draft is left beside it."""
    path = tmp_path / "audit.head"
    path.write_bytes(content)
    assert await FileAnchor(path).read() is None
    await FileAnchor(path).write(AuditHead(seq=1, hash="x", count=1))
    assert (await FileAnchor(path).read()).seq == 1
    assert [file.name for file in tmp_path.iterdir()] == ["audit.head"]
