"""`BlobStore` in a bucket of an S3-compatible store: an object for each blob, named by its digest.

The digest is known when all of a blob has come, so it passes through a file of the spool; from
there it is uploaded in parts. An object is there whole or not at all. What a broken upload left of
its parts the bucket's own rules for incomplete uploads remove.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from orchestrator.sessions.errors import BlobMissing, StorageFailed
from orchestrator.sessions.ports import StoredBlob
from orchestrator.storage.blob_digest import YOUNG_SECONDS, checked, is_digest, verified
from orchestrator.storage.blob_settings import BlobSettings
from orchestrator.storage.spool import Spool

PART_BYTES = 8 << 20
PARTS_AT_ONCE = 4
READ_BYTES = 256 << 10
LISTED_AT_ONCE = 1_000

REFUSED = "The object store refuses Casemate's key."
NO_BUCKET = "The object store has no such bucket."
UNREACHABLE = "The object store cannot be reached, or answers with errors."
TOO_SLOW = "The object store took too long."
CODES = {
    "NoSuchBucket": NO_BUCKET,
    "AccessDenied": REFUSED,
    "InvalidAccessKeyId": REFUSED,
    "SignatureDoesNotMatch": REFUSED,
}
"""Of S3's own errors: for a list the client has no kinds for them."""
BROKEN_OFF = "<Code>NoSuchUpload<"
"""An upload that failed was given up, and the store heard of it twice."""


class S3BlobStore:
    """Made by `open_s3_blobs`. `now` tells the seconds since 1970."""

    def __init__(
        self,
        store: S3Store,
        spool: Spool,
        settings: BlobSettings,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._spool = spool
        self._settings = settings
        self._now = now

    async def put(self, chunks: AsyncIterator[bytes], *, most_bytes: int) -> StoredBlob:
        """Also what is there already is uploaded anew: it is young again then."""
        async with self._spool.spooled(chunks, most_bytes=most_bytes) as spooled:
            with translated(NO_BUCKET):
                async with asyncio.timeout(self._settings.put_seconds):
                    await obstore.put_async(
                        self._store,
                        self._name(spooled.blob.digest),
                        spooled.path,
                        chunk_size=PART_BYTES,
                        max_concurrency=PARTS_AT_ONCE,
                    )
            return spooled.blob

    @asynccontextmanager
    async def open(self, digest: str) -> AsyncIterator[AsyncIterator[bytes]]:
        name = self._name(checked(digest))
        with translated(None):
            found = await obstore.get_async(self._store, name)
        yield verified(_chunks(found), digest=digest)

    async def delete(self, digest: str) -> None:
        try:
            with translated(None):
                await obstore.delete_async(self._store, self._name(checked(digest)))
        except BlobMissing:
            return

    async def digests(self) -> AsyncIterator[list[StoredBlob]]:
        oldest = self._now() - YOUNG_SECONDS
        prefix = self._settings.s3_prefix or None
        with translated(NO_BUCKET):
            async for objects in obstore.list(self._store, prefix, chunk_size=LISTED_AT_ONCE):
                found = (
                    StoredBlob(digest=meta["path"].rpartition("/")[2], size=meta["size"])
                    for meta in objects
                    if meta["last_modified"].timestamp() < oldest
                )
                if some := [blob for blob in found if is_digest(blob.digest)]:
                    yield some

    async def check(self) -> None:
        """Whether the bucket is there and the key is good. Raises StorageFailed."""
        with translated(NO_BUCKET):
            async for _ in obstore.list(self._store, self._name("0"), chunk_size=1):
                break

    def _name(self, digest: str) -> str:
        return f"{self._settings.s3_prefix}{digest}"


@asynccontextmanager
async def open_s3_blobs(settings: BlobSettings, spool: Path) -> AsyncIterator[S3BlobStore]:
    """The store in the bucket of the settings; `spool` is the directory through which uploads pass.
    Raises StorageFailed where the bucket cannot be used."""
    own = Spool(spool)
    await own.open()
    blobs = S3BlobStore(_client(settings), own, settings)
    await blobs.check()
    yield blobs


@contextmanager
def translated(missing: str | None) -> Iterator[None]:
    """Turn the client's errors into StorageFailed. `missing`: what it means that something is not
    there, where that is not the blob."""
    try:
        yield
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise StorageFailed(REFUSED) from error
    except FileNotFoundError as error:
        if BROKEN_OFF in str(error):
            raise StorageFailed(UNREACHABLE) from error
        raise (StorageFailed(missing) if missing else BlobMissing()) from error
    except TimeoutError as error:
        raise StorageFailed(TOO_SLOW) from error
    except (BaseError, OSError, ValueError) as error:
        told = str(error)
        known = (sentence for code, sentence in CODES.items() if f"<Code>{code}<" in told)
        raise StorageFailed(next(known, UNREACHABLE)) from error


async def _chunks(found: Any) -> AsyncIterator[bytes]:
    with translated(None):
        async for chunk in found.stream(min_chunk_size=READ_BYTES):
            yield bytes(chunk)


def _client(settings: BlobSettings) -> S3Store:
    """Raises StorageFailed where the settings are none that it can use."""
    options: Any = {"region": settings.s3_region}
    if settings.s3_endpoint:
        options["endpoint"] = settings.s3_endpoint
    if settings.s3_key_id:
        options["access_key_id"] = settings.s3_key_id.reveal()
        options["secret_access_key"] = settings.s3_secret.reveal()
    client: Any = {
        "allow_http": settings.s3_endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=settings.connect_seconds),
        "read_timeout": timedelta(seconds=settings.read_seconds),
        "timeout": timedelta(seconds=settings.request_seconds),
    }
    retry: Any = {
        "max_retries": settings.retries,
        "retry_timeout": timedelta(seconds=settings.request_seconds),
    }
    with translated(NO_BUCKET):
        if settings.s3_ca_path is not None:
            client["root_certificate"] = settings.s3_ca_path.read_bytes()
        return S3Store(
            settings.s3_bucket, config=options, client_options=client, retry_config=retry
        )
