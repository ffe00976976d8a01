"""What the stores need of a database beyond Piccolo's queries, on SQLite as on PostgreSQL."""

from typing import Any, Protocol

from piccolo.engine.base import Engine
from piccolo.querystring import QueryString

from orchestrator.sessions.errors import StorageFailed


class RowExists(StorageFailed):
    """Another row has what may be there only once."""


class KeptEngine(Protocol):
    """An open database. Every call raises StorageFailed where the driver raises anything."""

    @property
    def dialect(self) -> dict[str, str]:
        """What the migrations' SQL says differently on each database."""

    @property
    def before_migrations(self) -> tuple[str, ...]:
        """Statements, harmless when repeated, on which the migrations rely."""

    @property
    def about(self) -> str:
        """The database's name and version, for an operator; nothing secret."""

    async def take_turn(self, name: str) -> None:
        """Inside a transaction: from now to its end no other one under this name runs."""

    async def run_querystring(self, querystring: QueryString, in_pool: bool = True) -> Any: ...  # noqa: FBT001, FBT002 - Piccolo's own signature

    async def run_ddl(self, ddl: str, in_pool: bool = True) -> Any: ...  # noqa: FBT001, FBT002 - Piccolo's own signature

    def transaction(self) -> Any: ...

    def flushed_transaction(self) -> Any:
        """One that survives a power cut, and with it all that were before."""


def as_piccolo(engine: KeptEngine) -> Engine[Any]:
    """For Piccolo's tables, which belong to an engine."""
    assert isinstance(engine, Engine)
    return engine
