"""The blob contract, in a directory and in a bucket of an S3-compatible server."""

import pytest

from orchestrator.storage.blobs_disk import open_disk_blobs
from orchestrator.storage.blobs_s3 import open_s3_blobs
from orchestrator.testing.checkpoint_contract import BlobStoreContract


class TestDiskBlobs(BlobStoreContract):
    @pytest.fixture
    async def blobs(self, tmp_path):
        async with open_disk_blobs(tmp_path / "blobs") as blobs:
            yield blobs


class TestS3Blobs(BlobStoreContract):
    @pytest.fixture
    async def blobs(self, s3_server, tmp_path):
        async with open_s3_blobs(s3_server.new_bucket(), tmp_path / "spool") as blobs:
            yield blobs
