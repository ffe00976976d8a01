"""Where a test's database is, whichever kind it is of. It can be opened any number of times."""

import itertools
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from msgspec.structs import replace

from orchestrator.protocol.secret import Secret
from orchestrator.storage.database import Database, open_database, open_engine
from orchestrator.storage.kept_engine import KeptEngine
from orchestrator.storage.settings import StorageSettings
from tests.postgres_server import PostgresServer

QUICK = StorageSettings(busy_seconds=0.05, statement_seconds=5, connections=6)


class DatabasePlace(Protocol):
    path: Path
    settings: StorageSettings

    def open(self) -> AbstractAsyncContextManager[Database]:
        """At the latest schema."""

    def engine(self) -> AbstractAsyncContextManager[KeptEngine]:
        """As it is."""

    def fresh(self) -> "DatabasePlace":
        """Another one of the same kind."""

    async def schema(self, engine: KeptEngine) -> Any:
        """All that is defined in it, to be compared."""

    async def columns(self, engine: KeptEngine, table: str) -> set[str]: ...


class SqlitePlace:
    def __init__(self, path: Path) -> None:
        self.path, self.settings = path, QUICK

    def open(self) -> AbstractAsyncContextManager[Database]:
        return open_database(self.path, self.settings)

    def engine(self) -> AbstractAsyncContextManager[KeptEngine]:
        return open_engine(self.path, self.settings)

    def fresh(self) -> "SqlitePlace":
        return SqlitePlace(self.path.with_name("fresh.sqlite"))

    async def schema(self, engine: KeptEngine) -> Any:
        rows = await engine.run_ddl("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        return sorted(row["sql"] for row in rows)

    async def columns(self, engine: KeptEngine, table: str) -> set[str]:
        rows = await engine.run_ddl(f"SELECT name FROM pragma_table_info('{table}')")
        return {row["name"] for row in rows}


class PostgresPlace:
    _numbers = itertools.count()

    def __init__(self, server: PostgresServer) -> None:
        self.path = Path("none")
        self.server = server
        self.name = f"test_{next(self._numbers)}"
        self.settings = replace(QUICK, url=Secret(server.make_database(self.name)))

    open = SqlitePlace.open
    engine = SqlitePlace.engine

    def fresh(self) -> "PostgresPlace":
        return PostgresPlace(self.server)

    def remove(self) -> None:
        self.server.drop_database(self.name)

    async def schema(self, engine: KeptEngine) -> Any:
        columns = await engine.run_ddl(
            "SELECT table_name, column_name, data_type, is_nullable, column_default "
            "FROM information_schema.columns WHERE table_schema = 'public'"
        )
        indexes = await engine.run_ddl(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"
        )
        triggers = await engine.run_ddl(
            "SELECT tgname, pg_get_triggerdef(oid) AS definition FROM pg_trigger"
        )
        return [
            *sorted(map(str, columns)),
            *sorted(row["indexdef"] for row in indexes),
            *sorted(row["definition"] for row in triggers if not row["tgname"].startswith("RI_")),
        ]

    async def columns(self, engine: KeptEngine, table: str) -> set[str]:
        rows = await engine.run_ddl(
            f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'"
        )
        return {row["column_name"] for row in rows}
