"""Checkpoints and blobs in memory, and a host. `checkpoint_contract` keeps them honest."""

import contextlib
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Collection

from orchestrator.protocol.ids import SessionId
from orchestrator.sessions.errors import BlobMissing, BlobTooLarge, StorageFailed
from orchestrator.sessions.ports import Checkpoint, StoredBlob

CHUNK_BYTES = 64 << 10


class MemoryCheckpointStore:
    """While `broken`, every call fails."""

    def __init__(self) -> None:
        self._checkpoints: dict[SessionId, list[Checkpoint]] = defaultdict(list)
        self.broken = False

    async def add(self, checkpoint: Checkpoint) -> None:
        self._check()
        known = self._checkpoints[checkpoint.session]
        if any(one.id == checkpoint.id for one in known):
            raise StorageFailed
        known.append(checkpoint)

    async def get(self, session: SessionId, checkpoint_id: str) -> Checkpoint | None:
        self._check()
        known = self._checkpoints.get(session, [])
        return next((one for one in known if one.id == checkpoint_id), None)

    async def page(self, session: SessionId, *, limit: int) -> list[Checkpoint]:
        self._check()
        known = self._checkpoints.get(session, [])
        return sorted(known, key=lambda one: (one.created_at, one.id), reverse=True)[:limit]

    async def update(self, checkpoint: Checkpoint) -> None:
        self._check()
        known = self._checkpoints.get(checkpoint.session, [])
        self._checkpoints[checkpoint.session] = [
            checkpoint if one.id == checkpoint.id else one for one in known
        ]

    async def remove(self, session: SessionId, ids: Collection[str]) -> None:
        self._check()
        known = self._checkpoints.get(session, [])
        self._checkpoints[session] = [one for one in known if one.id not in ids]

    async def blobs(self, digests: Collection[str]) -> set[str]:
        self._check()
        named = {one.blob for known in self._checkpoints.values() for one in known}
        return named & set(digests)

    def _check(self) -> None:
        if self.broken:
            raise StorageFailed


class MemoryBlobStore:
    """`young` are those that `digests` does not tell yet; a test empties it to let time pass."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.young: set[str] = set()
        self.broken = False

    async def put(self, chunks: AsyncIterator[bytes], *, most_bytes: int) -> StoredBlob:
        self._check()
        content = bytearray()
        async for chunk in chunks:
            content += chunk
            if len(content) > most_bytes:
                raise BlobTooLarge
        self._check()
        digest = hashlib.sha256(content).hexdigest()
        self.blobs[digest] = bytes(content)
        self.young.add(digest)
        return StoredBlob(digest=digest, size=len(content))

    @contextlib.asynccontextmanager
    async def open(self, digest: str) -> AsyncIterator[AsyncIterator[bytes]]:
        self._check()
        if digest not in self.blobs:
            raise BlobMissing
        yield self._chunks(digest, self.blobs[digest])

    async def delete(self, digest: str) -> None:
        self._check()
        self.blobs.pop(digest, None)

    async def digests(self) -> AsyncIterator[list[StoredBlob]]:
        self._check()
        for digest, content in list(self.blobs.items()):
            if digest not in self.young:
                yield [StoredBlob(digest=digest, size=len(content))]

    async def _chunks(self, digest: str, content: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(content), CHUNK_BYTES):
            yield content[start : start + CHUNK_BYTES]
        if hashlib.sha256(content).hexdigest() != digest:
            raise StorageFailed

    def _check(self) -> None:
        if self.broken:
            raise StorageFailed


class MemoryHost:
    """A machine with as much memory as a test says."""

    def __init__(self, available: int | None = None) -> None:
        self.memory = available

    def available(self) -> int | None:
        return self.memory
