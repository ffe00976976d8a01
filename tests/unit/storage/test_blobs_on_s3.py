"""Blobs in a bucket: a wrong key, no bucket, a connection that is cut, a server that is slow."""

import asyncio
import contextlib
import hashlib
import time
import traceback

import httpx
import pytest
from msgspec.structs import replace

from orchestrator.protocol.secret import Secret
from orchestrator.sessions.errors import BlobMissing, StorageFailed
from orchestrator.settings import BadSetting, load_settings
from orchestrator.storage.blob_digest import BlobDamaged
from orchestrator.storage.blob_settings import BlobSettings
from orchestrator.storage.blobs import open_blobs
from orchestrator.storage.blobs_s3 import S3BlobStore
from tests.s3_server import SECRET

MIB = 1 << 20
CONTENT = bytes(range(256)) * 4096 * 20
"""20 MiB: three parts."""


async def chunks(content):
    for start in range(0, len(content), 100_000):
        yield content[start : start + 100_000]


async def put(blobs, content):
    return (await blobs.put(chunks(content), most_bytes=100 * MIB)).digest


async def read(blobs, digest):
    async with blobs.open(digest) as found:
        return b"".join([chunk async for chunk in found])


@pytest.fixture
def bucket(s3_server):
    return s3_server.new_bucket()


async def refused(settings, tmp_path):
    """The sentence with which such settings are refused."""
    with pytest.raises(StorageFailed) as caught:
        async with open_blobs(settings, data_dir=tmp_path):
            pass
    assert SECRET not in "".join(traceback.format_exception(caught.value)) + repr(settings)
    return caught.value.sentence


class Wire:
    """A loopback port in front of the server, on which a test cuts or stalls what comes back."""

    def __init__(self, port):
        self._port = port
        self.up_to = self.down_to = None
        self.stalls = False
        self._connections = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._connections.add(asyncio.current_task())
        out_reader, out_writer = await asyncio.open_connection("127.0.0.1", self._port)
        passing = [
            asyncio.create_task(self._pass(reader, out_writer, self.up_to)),
            asyncio.create_task(self._pass(out_reader, writer, self.down_to)),
        ]
        with contextlib.suppress(ConnectionError):
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        for task in passing:
            task.cancel()
        for one in (writer, out_writer):
            one.transport.abort()

    async def _pass(self, reader, writer, most):
        passed = 0
        while data := await reader.read(65536):
            if most is not None and passed + len(data) > most:
                if self.stalls:
                    await asyncio.Event().wait()
                return
            passed += len(data)
            writer.write(data)
            await writer.drain()


@pytest.fixture
async def wire(bucket):
    async with Wire(int(bucket.s3_endpoint.rpartition(":")[2])) as wire:
        yield wire


@pytest.fixture
async def opened(bucket, wire, tmp_path):
    quick = replace(
        bucket, s3_endpoint=wire.url, read_seconds=1, request_seconds=10, put_seconds=10, retries=1
    )
    async with open_blobs(quick, data_dir=tmp_path) as blobs:
        yield blobs


def spooled(tmp_path):
    return [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_large_blobs_go_in_parts_and_leave_no_file(bucket, tmp_path, s3_server):
    """What passed through the disk is gone from there; in the bucket is one object, whole."""
    async with open_blobs(bucket, data_dir=tmp_path) as blobs:
        digest = await put(blobs, CONTENT)
        assert spooled(tmp_path) == []
        assert await read(blobs, digest) == CONTENT
    listed = s3_server.client().list_objects_v2(Bucket=bucket.s3_bucket)
    assert [one["Key"] for one in listed["Contents"]] == [f"casemate/{digest}"]


async def test_no_bucket_is_told_at_the_start(bucket, tmp_path):
    """With the sentence that it is that."""
    assert "no such bucket" in await refused(replace(bucket, s3_bucket="nobodys"), tmp_path)


async def test_wrong_key_is_told_at_the_start(bucket, tmp_path):
    """With the sentence that it is that, and without the key."""
    reset = f"{bucket.s3_endpoint}/moto-api/reset-auth"
    async with httpx.AsyncClient() as client:
        await client.post(reset, content=b"0")
        try:
            assert "refuses Casemate's key" in await refused(bucket, tmp_path)
        finally:
            await client.post(reset, content=b"inf")


async def test_nobody_there_is_told_at_the_start(bucket, tmp_path):
    """Within the limits that the settings give."""
    nowhere = replace(bucket, s3_endpoint="http://127.0.0.1:1", request_seconds=3)
    begun = time.monotonic()
    assert "cannot be reached" in await refused(nowhere, tmp_path)
    assert time.monotonic() - begun < 20


async def test_bucket_that_goes_away_is_told(bucket, opened, s3_server):
    """Storing says that it is gone; reading, that the files cannot be read."""
    s3_server.client().delete_bucket(Bucket=bucket.s3_bucket)
    with pytest.raises(StorageFailed, match="no such bucket"):
        await put(opened, b"x")
    with pytest.raises(BlobMissing):
        await read(opened, hashlib.sha256(b"x").hexdigest())


@pytest.mark.parametrize("stalls", [False, True])
async def test_upload_that_breaks_off_is_nothing(wire, opened, tmp_path, s3_server, stalls):
    """Cut or stalled in the middle, for good: that is told in time, nothing is left, and later it
    works."""
    wire.up_to, wire.stalls = 2 * MIB, stalls
    async with asyncio.timeout(30):
        with pytest.raises(StorageFailed):
            await put(opened, CONTENT)
    assert spooled(tmp_path) == []
    with pytest.raises(BlobMissing):
        await read(opened, hashlib.sha256(CONTENT).hexdigest())
    wire.up_to = None
    assert await read(opened, await put(opened, CONTENT)) == CONTENT


@pytest.mark.parametrize("stalls", [False, True])
async def test_download_that_breaks_off_is_told(wire, opened, stalls):
    """Nobody takes a part for the whole, or waits for the rest without end."""
    digest = await put(opened, CONTENT)
    wire.down_to, wire.stalls = 2 * MIB, stalls
    async with asyncio.timeout(30):
        with pytest.raises(StorageFailed):
            await read(opened, digest)
    wire.down_to = None
    assert await read(opened, digest) == CONTENT


async def test_cancelled_upload_leaves_nothing(wire, opened, tmp_path):
    """Whoever goes away in the middle of it leaves no file and no object."""
    wire.up_to, wire.stalls = 2 * MIB, True
    task = asyncio.create_task(put(opened, CONTENT))
    async with asyncio.timeout(10):
        while not spooled(tmp_path):
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert spooled(tmp_path) == []
    wire.up_to = None
    with pytest.raises(BlobMissing):
        await read(opened, hashlib.sha256(CONTENT).hexdigest())


async def test_object_that_was_changed_is_not_passed_off(bucket, opened, s3_server):
    """Whoever reads it to the end is told."""
    digest = await put(opened, b"x" * MIB)
    changed = {"Bucket": bucket.s3_bucket, "Key": f"casemate/{digest}", "Body": b"y" * MIB}
    s3_server.client().put_object(**changed)
    with pytest.raises(BlobDamaged):
        await read(opened, digest)


async def test_old_objects_are_listed_and_others_are_not(bucket, opened, s3_server):
    """Those under the prefix alone, named as blobs, older than an hour."""
    digests = {await put(opened, b"%d" % number) for number in range(5)}
    for key in ("casemate/README", "others/" + "a" * 64, "b" * 64):
        s3_server.client().put_object(Bucket=bucket.s3_bucket, Key=key, Body=b"x")
    later = S3BlobStore(
        opened._store, opened._spool, opened._settings, now=lambda: time.time() + 3700
    )
    assert [some async for some in opened.digests()] == []
    found = {blob.digest async for some in later.digests() for blob in some}
    assert found == digests


def test_settings_are_checked_and_show_no_key():
    """What belongs together is there together, and the secret in no message."""
    given = {
        "CASEMATE_BLOBS_S3_BUCKET": "files",
        "CASEMATE_BLOBS_S3_ENDPOINT": "https://minio.example.org:9000",
        "CASEMATE_BLOBS_S3_KEY_ID": "id",
        "CASEMATE_BLOBS_S3_SECRET": SECRET,
    }
    settings = load_settings(given).blobs
    assert settings.s3_secret.reveal() == SECRET
    assert SECRET not in repr(settings)
    for without in ("CASEMATE_BLOBS_S3_KEY_ID", "CASEMATE_BLOBS_S3_BUCKET"):
        with pytest.raises(BadSetting) as caught:
            load_settings({name: text for name, text in given.items() if name != without})
        assert SECRET not in str(caught.value)
    with pytest.raises(BadSetting):
        load_settings({**given, "CASEMATE_BLOBS_S3_ENDPOINT": "minio:9000"})
    with pytest.raises(ValueError, match="together"):
        BlobSettings(s3_bucket="x", s3_key_id=Secret("id"))
