"""Writes a blob into a file of a directory, without keeping the event loop waiting.

What a killed process left there is swept by the next one: whoever writes a file holds its lock.
"""

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from orchestrator.sessions.errors import BlobTooLarge, StorageFailed
from orchestrator.sessions.ports import StoredBlob

T = TypeVar("T")

WRITE_BYTES = 1 << 20
"""Chunks are gathered up to this, so that few visits to a thread are needed."""
DISK_REASONS = {
    errno.ENOSPC: "The disk that holds the files of sessions is full.",
    errno.EDQUOT: "Casemate may not use more of the disk that holds the files of sessions.",
    errno.EROFS: "The disk that holds the files of sessions cannot be written to.",
    errno.EACCES: "Casemate may not use the directory that holds the files of sessions.",
    errno.EIO: "The disk that holds the files of sessions reports errors.",
}


class Spooled(msgspec.Struct, frozen=True, kw_only=True):
    """A whole blob in a file, on the disk for good."""

    path: Path
    blob: StoredBlob


class Spool:
    """The directory. Its files live as long as their `spooled`, unless they are moved away."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def open(self) -> None:
        """Make the directory, and sweep it. Raises StorageFailed."""
        await in_thread(self._prepare)

    @asynccontextmanager
    async def spooled(
        self, chunks: AsyncIterator[bytes], *, most_bytes: int
    ) -> AsyncIterator[Spooled]:
        """All chunks in a file. Raises BlobTooLarge, StorageFailed, and what `chunks` raises."""
        path = self._directory / uuid.uuid4().hex
        with disk_errors_translated():
            descriptor = _create(path)
        try:
            blob = await _fill(descriptor, chunks, most_bytes=most_bytes)
            yield Spooled(path=path, blob=blob)
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def _prepare(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in self._directory.iterdir():
            _sweep(path)


async def in_thread(work: Callable[[], T]) -> T:
    """Its result; not left before it is done, also where the requester is cancelled: a file is not
    closed under the thread that writes it. Raises StorageFailed for an OSError."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        with disk_errors_translated():
            return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        with contextlib.suppress(OSError):
            task.result()
        raise


@contextmanager
def disk_errors_translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        sentence = DISK_REASONS.get(error.errno or 0, "The files of sessions cannot be kept.")
        raise StorageFailed(sentence) from error


async def _fill(descriptor: int, chunks: AsyncIterator[bytes], *, most_bytes: int) -> StoredBlob:
    digest, size, gathered = hashlib.sha256(), 0, bytearray()

    def write() -> None:
        digest.update(gathered)
        write_whole(descriptor, gathered)
        gathered.clear()

    async for chunk in chunks:
        size += len(chunk)
        if size > most_bytes:
            raise BlobTooLarge
        gathered += chunk
        if len(gathered) >= WRITE_BYTES:
            await in_thread(write)
    await in_thread(write)
    await in_thread(lambda: os.fsync(descriptor))
    return StoredBlob(digest=digest.hexdigest(), size=size)


def write_whole(descriptor: int, content: bytearray) -> None:
    with memoryview(content) as view:
        at = 0
        while at < len(view):
            at += os.write(descriptor, view[at:])


def _create(path: Path) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _sweep(path: Path) -> None:
    """Remove it unless a living process still writes it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
