"""The store contract, on the stores in memory and on those in the database."""

import pytest

from orchestrator.storage.database import open_database
from orchestrator.storage.event_log import PiccoloEventLog
from orchestrator.storage.session_store import PiccoloSessionStore
from orchestrator.storage.sign_in_stores import PiccoloRefreshTokenStore, PiccoloSignInLinkStore
from orchestrator.storage.user_store import PiccoloUserStore
from orchestrator.testing.memory_stores import (
    MemoryDatabase,
    MemoryEventLog,
    MemoryRefreshTokenStore,
    MemorySessionStore,
    MemorySignInLinkStore,
    MemoryUserStore,
)
from orchestrator.testing.store_contract import StoreContract, Stores


class TestMemoryStores(StoreContract):
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


class TestPiccoloStores(StoreContract):
    @pytest.fixture
    async def stores(self, tmp_path):
        async with open_database(tmp_path / "casemate.sqlite") as database:
            yield Stores(
                sessions=PiccoloSessionStore(database),
                log=PiccoloEventLog(database),
                users=PiccoloUserStore(database),
                tokens=PiccoloRefreshTokenStore(database),
                links=PiccoloSignInLinkStore(database),
            )
