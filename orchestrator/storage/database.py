"""The database: opened, brought to the latest schema, and written to in whole transactions."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from piccolo.engine.base import Engine

from orchestrator.storage.migrations import migrate
from orchestrator.storage.settings import StorageSettings
from orchestrator.storage.sqlite_engine import DIALECT, open_sqlite
from orchestrator.storage.tables import Tables, bind

T = TypeVar("T")


class Database:
    """The tables of one open database. Single statements run by themselves; several in `write`."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine
        self._writes: set[asyncio.Task[Any]] = set()
        self.tables: Tables = bind(engine)

    async def write(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `work` in one transaction. Once begun it goes to its end, also where its requester is
        cancelled: the connection is never left in the middle of one."""
        task = asyncio.create_task(self._in_transaction(work), name="database-write")
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

    async def _in_transaction(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with self._engine.transaction():
            return await work()

    def _written(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # its requester has it, or is gone


@asynccontextmanager
async def open_database(
    path: Path, settings: StorageSettings | None = None
) -> AsyncIterator[Database]:
    """The database in the SQLite file `path`, at the latest schema. Raises StorageFailed."""
    async with open_sqlite(path, settings or StorageSettings()) as engine:
        await migrate(engine, dialect=DIALECT)
        database = Database(engine)
        try:
            yield database
        finally:
            await database.settle()
