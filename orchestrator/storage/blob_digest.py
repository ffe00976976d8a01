"""The names of blobs, and proof on the way out that a content is the one that it is named for."""

import hashlib
import re
from collections.abc import AsyncIterator

from orchestrator.sessions.errors import BlobMissing, StorageFailed

YOUNG_SECONDS = 3600.0
"""A blob is stored before the checkpoint that names it; whatever is younger is left alone."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobDamaged(StorageFailed):
    sentence = "The stored files of this session are damaged. Go back to an earlier checkpoint."
    advice = "Go back to an earlier checkpoint, or tell your administrator."


def is_digest(name: str) -> bool:
    return _DIGEST.fullmatch(name) is not None


def checked(digest: str) -> str:
    """The digest. Raises BlobMissing for what is none: it leads nowhere."""
    if not is_digest(digest):
        raise BlobMissing
    return digest


async def verified(chunks: AsyncIterator[bytes], *, digest: str) -> AsyncIterator[bytes]:
    """The same chunks. Raises BlobDamaged after the last one where they are not of that digest."""
    seen = hashlib.sha256()
    async for chunk in chunks:
        seen.update(chunk)
        yield chunk
    if seen.hexdigest() != digest:
        raise BlobDamaged
