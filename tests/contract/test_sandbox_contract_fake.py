"""The contract of sandboxes on the fake."""

import pytest

from orchestrator.testing.fake_pool import FakePool
from orchestrator.testing.sandbox_contract import CEILING, PROFILE, SandboxContract


class TestFake(SandboxContract):
    @pytest.fixture
    async def pool(self):
        pool = FakePool(size=CEILING, profiles=(PROFILE,))
        yield pool
        await pool.close()
