"""SQLite as Piccolo's engine, with connections that stay open. All that is SQLite's own is here.

Piccolo opens a connection, and with it a thread, for every query (2 ms each here), and lets writers
meet in `database is locked`. This engine has one connection that writes, one transaction at a time,
and a few that read beside it (WAL). The driver's errors become StorageFailed here.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiosqlite
from piccolo.engine.sqlite import SQLiteEngine, SQLiteTransaction, TransactionType, dict_factory

from orchestrator.sessions.errors import StorageFailed
from orchestrator.storage.kept_engine import RowExists
from orchestrator.storage.settings import StorageSettings

DIALECT = {
    "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "bytes": "BLOB",
    "audit_not_emptied": "",  # SQLite empties a table by DELETE, which is refused
    "refused": "BEGIN SELECT RAISE(ABORT, 'the audit log is only appended to'); END",
    # `INSERT OR REPLACE` deletes without asking the trigger for deletions.
    "refused_unless_last": "WHEN NEW.seq <= COALESCE((SELECT MAX(seq) FROM audit), 0) "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is only appended to'); END",
}
"""What the migrations' SQL says differently on each database."""

REASONS = {
    "SQLITE_FULL": "The disk that holds Casemate's database is full.",
    "SQLITE_READONLY": "Casemate's database cannot be written to.",
    "SQLITE_CANTOPEN": "Casemate's database file cannot be opened.",
    "SQLITE_CORRUPT": "Casemate's database file is damaged.",
    "SQLITE_NOTADB": "Casemate's database file is not a database.",
    "SQLITE_BUSY": "Casemate's database is locked by another program.",
    "SQLITE_IOERR": "The disk that holds Casemate's database reports errors.",
}


class KeptTransaction(SQLiteTransaction):
    """A transaction on the writing connection, alone on it until its end."""

    engine: "KeptSQLiteEngine"
    flushes = False

    async def __aenter__(self) -> "KeptTransaction":
        if self._parent is not None:
            return self  # part of the outer transaction, whose end is the end of both
        await self.engine.writing.acquire()
        try:
            with translated():
                self.connection = self.engine.writer
                if self.flushes:  # a flush of the log holds all that was committed before
                    await self.connection.execute("PRAGMA synchronous = FULL")
                await self.connection.execute("BEGIN IMMEDIATE")
        except BaseException:
            self.engine.writing.release()
            raise
        self.context = self.engine.current_transaction.set(self)
        return self

    async def __aexit__(self, exception_type: Any, exception: Any, traceback: Any) -> bool:
        if self._parent is not None:
            return False
        try:
            with translated():
                await (self._commit_or_rollback() if exception is None else self._undo())
                if self.flushes:
                    await self.connection.execute(self.engine.synchronous)
        finally:
            self.engine.current_transaction.reset(self.context)
            self.engine.writing.release()
        return False

    async def _commit_or_rollback(self) -> None:
        try:
            await self.connection.execute("COMMIT")
        except BaseException:
            await self._undo()
            raise

    async def _undo(self) -> None:
        """SQLite has already rolled back by itself after some errors, a full disk among them."""
        if self.connection.in_transaction:
            await self.connection.execute("ROLLBACK")


class KeptSQLiteEngine(SQLiteEngine):
    """Made by `open_sqlite`, which opens and closes its connections."""

    dialect = DIALECT
    before_migrations: tuple[str, ...] = ()
    about = f"SQLite {sqlite3.sqlite_version}"

    def __init__(self, path: Path, *, writer: aiosqlite.Connection, synchronous: str) -> None:
        super().__init__(path=str(path))
        self.writer = writer
        self.synchronous = synchronous
        self.writing = asyncio.Lock()
        self.readers: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()

    def transaction(
        self,
        transaction_type: TransactionType = TransactionType.immediate,
        allow_nested: bool = True,  # noqa: FBT001, FBT002 - Piccolo's own signature
    ) -> KeptTransaction:
        return KeptTransaction(
            engine=self, transaction_type=transaction_type, allow_nested=allow_nested
        )

    def flushed_transaction(self) -> KeptTransaction:
        transaction = self.transaction()
        transaction.flushes = True
        return transaction

    async def take_turn(self, name: str) -> None:
        """There is one writing transaction at a time, whatever its name."""

    async def _run_in_new_connection(
        self,
        query: str,
        args: list[Any] | None = None,
        query_type: str = "generic",  # noqa: ARG002 - Piccolo's own signature
        table: Any = None,  # noqa: ARG002 - Piccolo's own signature
    ) -> Any:
        """Outside a transaction: each statement is one by itself."""
        if query.lstrip()[:6].upper() == "SELECT":
            async with self._reader() as reader:
                return await run(reader, query, args)
        async with self.writing:
            return await run(self.writer, query, args)

    async def _run_in_existing_connection(
        self,
        connection: aiosqlite.Connection,
        query: str,
        args: list[Any] | None = None,
        query_type: str = "generic",  # noqa: ARG002 - Piccolo's own signature
        table: Any = None,  # noqa: ARG002 - Piccolo's own signature
    ) -> Any:
        return await run(connection, query, args)

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[aiosqlite.Connection]:
        reader = await self.readers.get()
        try:
            yield reader
        finally:
            self.readers.put_nowait(reader)


@asynccontextmanager
async def open_sqlite(path: Path, settings: StorageSettings) -> AsyncIterator[KeptSQLiteEngine]:
    """The engine on the database in `path`, made where it is not there yet, for its owner's eyes
    only. Raises StorageFailed."""
    connections: list[aiosqlite.Connection] = []
    try:
        with translated():
            _make_file(path)
            connections.append(await _connect(path, settings))
            await _prepare_writer(connections[0], settings)
            engine = KeptSQLiteEngine(
                path, writer=connections[0], synchronous=_synchronous(settings)
            )
            for _ in range(settings.readers):
                connections.append(await _connect(path, settings))
                await connections[-1].execute("PRAGMA query_only = ON")
                engine.readers.put_nowait(connections[-1])
        yield engine
    finally:
        for connection in reversed(connections):
            await connection.close()


async def run(connection: aiosqlite.Connection, query: str, args: list[Any] | None) -> Any:
    """One statement, in one visit to the connection's thread."""
    with translated():
        return await connection.execute_fetchall(query, args or [])


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into StorageFailed, with a sentence where the reason is known."""
    try:
        yield
    except (sqlite3.Error, OSError, OverflowError, UnicodeEncodeError) as error:
        name = getattr(error, "sqlite_errorname", "")
        if name in {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"}:
            raise RowExists from error
        known = (sentence for prefix, sentence in REASONS.items() if name.startswith(prefix))
        raise StorageFailed(next(known, None)) from error


def _make_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)


async def _connect(path: Path, settings: StorageSettings) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(
        path, timeout=settings.busy_seconds, isolation_level=None, cached_statements=256
    )
    connection.row_factory = dict_factory  # type: ignore[assignment]
    await connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _synchronous(settings: StorageSettings) -> str:
    return f"PRAGMA synchronous = {settings.synchronous.upper()}"


async def _prepare_writer(connection: aiosqlite.Connection, settings: StorageSettings) -> None:
    await connection.execute("PRAGMA journal_mode = WAL")
    await connection.execute(_synchronous(settings))
    await connection.execute("PRAGMA journal_size_limit = 67108864")
