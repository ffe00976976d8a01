"""The store contracts, on the stores in memory and on those in each database."""

import pytest

from orchestrator.protocol.ids import SessionId
from orchestrator.storage.checkpoint_store import PiccoloCheckpointStore
from orchestrator.storage.event_log import PiccoloEventLog
from orchestrator.storage.session_store import PiccoloSessionStore
from orchestrator.storage.sign_in_stores import PiccoloRefreshTokenStore, PiccoloSignInLinkStore
from orchestrator.storage.transcript_store import PiccoloTranscriptStore
from orchestrator.storage.user_store import PiccoloUserStore
from orchestrator.testing.checkpoint_contract import CheckpointStoreContract
from orchestrator.testing.memory_stores import (
    MemoryDatabase,
    MemoryEventLog,
    MemoryRefreshTokenStore,
    MemorySessionStore,
    MemorySignInLinkStore,
    MemoryUserStore,
)
from orchestrator.testing.recovery_contract import RecoveryContract
from orchestrator.testing.store_contract import RECORD, StoreContract, Stores, replace
from orchestrator.testing.transcript_contract import TranscriptStoreContract


class TestMemoryStores(StoreContract, RecoveryContract):
    @pytest.fixture
    def stores(self):
        database = MemoryDatabase()
        return Stores(
            sessions=MemorySessionStore(database),
            log=MemoryEventLog(database),
            users=MemoryUserStore(),
            tokens=MemoryRefreshTokenStore(),
            links=MemorySignInLinkStore(),
        )


@pytest.fixture
async def database(database_place):
    async with database_place.open() as database:
        yield database


@pytest.fixture
async def with_sessions(database):
    """In which the sessions `s1` and `s2` exist."""
    for name in ("s1", "s2"):
        record = replace(RECORD, id=SessionId(name), idempotency_key=None)
        await PiccoloSessionStore(database).add(record)
    return database


class TestPiccoloStores(StoreContract, RecoveryContract):
    @pytest.fixture
    def stores(self, database):
        return Stores(
            sessions=PiccoloSessionStore(database),
            log=PiccoloEventLog(database),
            users=PiccoloUserStore(database),
            tokens=PiccoloRefreshTokenStore(database),
            links=PiccoloSignInLinkStore(database),
        )


class TestPiccoloTranscripts(TranscriptStoreContract):
    @pytest.fixture
    def transcripts(self, with_sessions):
        return PiccoloTranscriptStore(with_sessions)


class TestPiccoloCheckpoints(CheckpointStoreContract):
    @pytest.fixture
    def checkpoints(self, with_sessions):
        return PiccoloCheckpointStore(with_sessions)
