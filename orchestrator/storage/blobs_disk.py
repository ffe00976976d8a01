"""`BlobStore` in a directory: a file for each blob, named by its digest, for its owner's eyes only.

A blob is there whole or not at all: it is written beside, flushed to the disk, and renamed.
"""

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

from orchestrator.sessions.errors import BlobMissing, StorageFailed
from orchestrator.sessions.ports import StoredBlob
from orchestrator.storage.blob_digest import YOUNG_SECONDS, checked, is_digest, verified
from orchestrator.storage.spool import Spool, disk_errors_translated, in_thread

READ_BYTES = 256 << 10
LISTED_AT_ONCE = 1_000
INCOMING = "incoming"


class DiskBlobStore:
    """Made by `open_disk_blobs`. `now` tells the seconds since 1970."""

    def __init__(
        self, directory: Path, spool: Spool, *, now: Callable[[], float] = time.time
    ) -> None:
        self._directory = directory
        self._spool = spool
        self._now = now

    async def put(self, chunks: AsyncIterator[bytes], *, most_bytes: int) -> StoredBlob:
        """Also what is there already is written anew: it is young again then, and whole."""
        async with self._spool.spooled(chunks, most_bytes=most_bytes) as spooled:
            target = self._path(spooled.blob.digest)
            await in_thread(lambda: _move(spooled.path, target))
            return spooled.blob

    @asynccontextmanager
    async def open(self, digest: str) -> AsyncIterator[AsyncIterator[bytes]]:
        path = self._path(checked(digest))
        descriptor = _open(path)
        try:
            yield verified(_read(descriptor), digest=digest)
        finally:
            os.close(descriptor)

    async def delete(self, digest: str) -> None:
        path = self._path(checked(digest))
        await in_thread(lambda: path.unlink(missing_ok=True))

    async def digests(self) -> AsyncIterator[list[StoredBlob]]:
        found = _walk(self._directory, older_than=self._now() - YOUNG_SECONDS)
        while some := await in_thread(lambda: list(islice(found, LISTED_AT_ONCE))):
            yield some

    def _path(self, digest: str) -> Path:
        return self._directory / digest[:2] / digest


@asynccontextmanager
async def open_disk_blobs(directory: Path) -> AsyncIterator[DiskBlobStore]:
    """The store in this directory, made where it is not there yet, without what a killed process
    left half written. Raises StorageFailed."""
    await in_thread(lambda: directory.mkdir(parents=True, exist_ok=True, mode=0o700))
    spool = Spool(directory / INCOMING)
    await spool.open()
    yield DiskBlobStore(directory, spool)


async def _read(descriptor: int) -> AsyncIterator[bytes]:
    while chunk := await in_thread(lambda: os.read(descriptor, READ_BYTES)):
        yield chunk


def _open(path: Path) -> int:
    try:
        with disk_errors_translated():
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except StorageFailed as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise BlobMissing from error
        raise


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, exist_ok=True)
    path.replace(target)
    _flush(target.parent)
    _flush(target.parent.parent)


def _flush(directory: Path) -> None:
    """A rename is on the disk when its directory is."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(directory: Path, *, older_than: float) -> Iterator[StoredBlob]:
    for entry in os.scandir(directory):
        if entry.name == INCOMING or not entry.is_dir(follow_symlinks=False):
            continue
        for file in os.scandir(entry.path):
            if not is_digest(file.name):
                continue
            try:
                status = file.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # deleted in the meantime
            if status.st_mtime < older_than:
                yield StoredBlob(digest=file.name, size=status.st_size)
