"""Brings a database's schema forward, one version at a time, each whole or not at all.

Piccolo's automatic migrations do not cover SQLite, so the schema moves by the SQL in `schema`, on
any engine. There is no way back: whoever wants one restores the backup.
"""

import logging
from collections.abc import Sequence

from piccolo.querystring import QueryString

from orchestrator.sessions.errors import StorageFailed
from orchestrator.storage.kept_engine import KeptEngine
from orchestrator.storage.schema import MIGRATIONS, Migration

TURN = "casemate schema"

logger = logging.getLogger(__name__)


class SchemaTooNew(StorageFailed):
    """The database was written by a newer Casemate; this one does not understand it."""

    tag = "schema_too_new"
    sentence = "The database was written by a newer version of Casemate."
    advice = "Install that version again, or restore the backup made before the upgrade."


async def migrate(engine: KeptEngine, *, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Run what is missing; the version reached. Two processes that do so at once take turns. Raises
    SchemaTooNew, StorageFailed."""
    await _prepare(engine)
    reached = await version_of(engine)
    if migrations and reached > migrations[-1].version:
        raise SchemaTooNew
    for migration in migrations:
        if migration.version > reached:
            await _apply(engine, migration)
            reached = migration.version
    return reached


async def version_of(engine: KeptEngine) -> int:
    """0 before the first migration."""
    rows = await engine.run_querystring(
        QueryString("SELECT COALESCE(MAX(version), 0) AS version FROM schema_version")
    )
    return int(rows[0]["version"])


async def _prepare(engine: KeptEngine) -> None:
    async with engine.transaction():
        await engine.take_turn(TURN)
        await engine.run_ddl(
            "CREATE TABLE IF NOT EXISTS schema_version "
            "(version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL)"
        )
        if await version_of(engine) < MIGRATIONS[-1].version:
            for statement in engine.before_migrations:
                await engine.run_ddl(statement)


async def _apply(engine: KeptEngine, migration: Migration) -> None:
    async with engine.transaction():
        await engine.take_turn(TURN)
        if await version_of(engine) >= migration.version:
            return  # another process was quicker
        await engine.run_querystring(
            QueryString(
                "INSERT INTO schema_version (version, name) VALUES ({}, {})",
                migration.version,
                migration.name,
            )
        )
        for statement in migration.statements:
            if text := statement.format(**engine.dialect):
                await engine.run_ddl(text)
    extra = {"version": migration.version, "change": migration.name}
    logger.info("schema.migrated", extra=extra)
