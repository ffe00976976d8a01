"""The contracts of transcripts, checkpoints and blobs on those in memory."""

import pytest

from orchestrator.testing.checkpoint_contract import BlobStoreContract, CheckpointStoreContract
from orchestrator.testing.memory_checkpoints import MemoryBlobStore, MemoryCheckpointStore
from orchestrator.testing.memory_transcripts import MemoryTranscriptStore
from orchestrator.testing.transcript_contract import TranscriptStoreContract


class TestMemoryTranscripts(TranscriptStoreContract):
    @pytest.fixture
    def transcripts(self):
        return MemoryTranscriptStore()


class TestMemoryCheckpoints(CheckpointStoreContract):
    @pytest.fixture
    def checkpoints(self):
        return MemoryCheckpointStore()


class TestMemoryBlobs(BlobStoreContract):
    @pytest.fixture
    def blobs(self):
        return MemoryBlobStore()
