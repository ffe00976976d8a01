"""Which database and which store of files Casemate would use, and whether they answer."""

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path

from orchestrator.sessions.errors import StorageFailed
from orchestrator.settings import Settings
from orchestrator.setup.finding import Finding, bad, good
from orchestrator.storage.blobs import DIRECTORY
from orchestrator.storage.database import open_engine, sqlite_path

LIMIT = 30.0
"""Seconds for both together."""
ADVICE = "Casemate does not start with it: look at the settings, and at the server's log."


def examine_storage(settings: Settings) -> list[Finding]:
    """Makes and changes nothing. Never raises."""
    return asyncio.run(_examine(settings))


async def _examine(settings: Settings) -> list[Finding]:
    return [
        await _told("database", _database(settings)),
        await _told("files of sessions", _blobs(settings)),
    ]


async def _told(about: str, looking: Coroutine[None, None, str]) -> Finding:
    try:
        async with asyncio.timeout(LIMIT):
            return good(about, await looking)
    except StorageFailed as error:
        return bad(about, error.sentence, ADVICE)
    except TimeoutError:
        return bad(about, "It does not answer.", ADVICE)


async def _database(settings: Settings) -> str:
    path = sqlite_path(settings.storage, data_dir=settings.server.data_dir)
    if not settings.storage.url and not path.exists():
        return f"SQLite, {path}, not made yet"
    async with open_engine(path, settings.storage) as engine:
        return engine.about if settings.storage.url else f"{engine.about}, {path}"


async def _blobs(settings: Settings) -> str:
    blobs = settings.blobs
    if not blobs.s3_bucket:
        return str(blobs.directory or settings.server.data_dir / DIRECTORY)
    from orchestrator.storage.blobs_s3 import open_s3_blobs  # its client, where it is needed

    with tempfile.TemporaryDirectory() as spool:
        async with open_s3_blobs(blobs, Path(spool)):
            return f"bucket {blobs.s3_bucket} at {blobs.s3_endpoint or 'Amazon'}"
