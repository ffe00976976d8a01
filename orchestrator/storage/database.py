"""The database: opened, brought to the latest schema, and written to in whole transactions."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.storage.kept_engine import KeptEngine, as_piccolo
from orchestrator.storage.migrations import migrate
from orchestrator.storage.settings import StorageSettings
from orchestrator.storage.sqlite_engine import open_sqlite
from orchestrator.storage.tables import Tables, bind

T = TypeVar("T")

DATABASE_FILE = "casemate.sqlite"


class Database:
    """The tables of one open database. Single statements run by themselves; several in `write`."""

    def __init__(self, engine: KeptEngine) -> None:
        self._engine = engine
        self._writes: set[asyncio.Task[Any]] = set()
        self.tables: Tables = bind(as_piccolo(engine))

    @property
    def about(self) -> str:
        """Which database it is, for an operator; nothing secret."""
        return self._engine.about

    @property
    def kind(self) -> str:
        """SQLite or PostgreSQL."""
        return self.about.partition(" ")[0]

    async def write(
        self,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        in_turn: str | None = None,
        flushed: bool = False,
    ) -> T:
        """Run `work` in one transaction. Once begun it goes to its end, also where its requester is
        cancelled: the connection is never left in the middle of one. Those with the same `in_turn`
        run one after the other, whichever process they are of. `flushed`: this one, and all before
        it, survive a power cut, whatever the settings say."""
        working = self._in_transaction(work, in_turn, flushed=flushed)
        task = asyncio.create_task(working, name="database-write")
        self._writes.add(task)
        task.add_done_callback(self._written)
        return await asyncio.shield(task)

    async def ping(self) -> None:
        """Ask it for anything at all. Raises where it does not answer."""
        await self.tables.pool_sizes.count().run()

    async def settle(self) -> None:
        """Until every write that was begun is done."""
        if self._writes:
            await asyncio.wait(self._writes)

    async def _in_transaction(
        self, work: Callable[[], Coroutine[Any, Any, T]], turn: str | None, *, flushed: bool
    ) -> T:
        engine = self._engine
        async with engine.flushed_transaction() if flushed else engine.transaction():
            if turn is not None:
                await self._engine.take_turn(turn)
            return await work()

    def _written(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # its requester has it, or is gone


def sqlite_path(settings: StorageSettings, *, data_dir: Path) -> Path:
    """Where the SQLite file is, unless the settings name a server."""
    return Path(settings.path or data_dir / DATABASE_FILE)


@asynccontextmanager
async def open_database(
    path: Path, settings: StorageSettings | None = None
) -> AsyncIterator[Database]:
    """The database at the latest schema: the one on the server that the settings name, else the
    SQLite file `path`. Raises StorageFailed."""
    async with open_engine(path, settings or StorageSettings()) as engine:
        await migrate(engine)
        database = Database(engine)
        try:
            yield database
        finally:
            await database.settle()


@asynccontextmanager
async def open_engine(path: Path, settings: StorageSettings) -> AsyncIterator[KeptEngine]:
    """The database as it is. Raises StorageFailed."""
    if not settings.url:
        async with open_sqlite(path, settings) as engine:
            yield engine
        return
    from orchestrator.storage.postgres_engine import open_postgres  # its driver, where it is needed

    async with open_postgres(settings) as engine:
        yield engine
