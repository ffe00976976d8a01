"""A fresh world for each test."""

from typing import Any

import pytest

from orchestrator.testing.session_world import World


@pytest.fixture
async def world():
    made = World()
    yield made
    await made.sessions.close()
    await made.pool.close()


@pytest.fixture
async def make_world():
    worlds = []

    def make(**settings: Any) -> World:
        worlds.append(World(**settings))
        return worlds[-1]

    yield make
    for made in worlds:
        made.database.broken = False
        await made.sessions.close()
        await made.pool.close()
