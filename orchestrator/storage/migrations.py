"""Brings a database's schema forward, one version at a time, each whole or not at all.

Piccolo's automatic migrations do not cover SQLite, so the schema moves by the SQL in `schema`, on
any engine. There is no way back: whoever wants one restores the backup.
"""

import logging
from collections.abc import Sequence
from typing import Any, cast

from piccolo.engine.base import Engine
from piccolo.querystring import QueryString

from orchestrator.sessions.errors import StorageFailed
from orchestrator.storage.schema import MIGRATIONS, Migration

logger = logging.getLogger(__name__)


class SchemaTooNew(StorageFailed):
    """The database was written by a newer Casemate; this one does not understand it."""

    tag = "schema_too_new"
    sentence = "The database was written by a newer version of Casemate."
    advice = "Install that version again, or restore the backup made before the upgrade."


async def migrate(
    engine: Engine[Any],
    *,
    dialect: dict[str, str],
    migrations: Sequence[Migration] = MIGRATIONS,
) -> int:
    """Run what is missing; the version reached. Raises SchemaTooNew, StorageFailed."""
    await engine.run_ddl(
        "CREATE TABLE IF NOT EXISTS schema_version "
        "(version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL)"
    )
    reached = await version_of(engine)
    if migrations and reached > migrations[-1].version:
        raise SchemaTooNew
    for migration in migrations:
        if migration.version > reached:
            await _apply(engine, migration, dialect=dialect)
            reached = migration.version
    return reached


async def version_of(engine: Engine[Any]) -> int:
    """0 before the first migration."""
    rows = await engine.run_querystring(
        QueryString("SELECT COALESCE(MAX(version), 0) AS version FROM schema_version")
    )
    return int(cast("list[dict[str, int]]", rows)[0]["version"])


async def _apply(engine: Engine[Any], migration: Migration, *, dialect: dict[str, str]) -> None:
    """Of two processes that migrate at once, one fails at the version's key and changes nothing."""
    async with engine.transaction():
        await engine.run_querystring(
            QueryString(
                "INSERT INTO schema_version (version, name) VALUES ({}, {})",
                migration.version,
                migration.name,
            )
        )
        for statement in migration.statements:
            await engine.run_ddl(statement.format(**dialect))
    extra = {"version": migration.version, "change": migration.name}
    logger.info("schema.migrated", extra=extra)
