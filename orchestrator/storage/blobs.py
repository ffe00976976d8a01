"""Opens the store of blobs that the settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.sessions.ports import BlobStore
from orchestrator.storage.blob_settings import BlobSettings
from orchestrator.storage.blobs_disk import INCOMING, open_disk_blobs

DIRECTORY = "blobs"


@asynccontextmanager
async def open_blobs(settings: BlobSettings, *, data_dir: Path) -> AsyncIterator[BlobStore]:
    """Raises StorageFailed where it cannot be used."""
    directory = settings.directory or data_dir / DIRECTORY
    if not settings.s3_bucket:
        async with open_disk_blobs(directory) as on_disk:
            yield on_disk
        return
    from orchestrator.storage.blobs_s3 import open_s3_blobs  # its client, where it is needed

    async with open_s3_blobs(settings, directory / INCOMING) as in_bucket:
        yield in_bucket
