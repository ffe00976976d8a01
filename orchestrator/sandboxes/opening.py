"""Sandboxes, ready to use: broker, launcher and pools put together for `app.py`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.sandboxes.launcher import DockerLauncher
from orchestrator.sandboxes.pool import Pool
from orchestrator.sandboxes.ports import Broker, GatewayDoor, NoObserver, PoolObserver
from orchestrator.sandboxes.settings import SandboxSettings
from orchestrator.sessions.ports import ProfileCatalogue


@asynccontextmanager
async def sandbox_pool(
    settings: SandboxSettings,
    *,
    broker: Broker,
    catalogue: ProfileCatalogue,
    door: GatewayDoor,
    observer: PoolObserver | None = None,
) -> AsyncIterator[Pool]:
    """A pool that fills itself, and that is empty again, with nothing left, afterwards.

    Raises SandboxFailure when the broker does not do its part.
    """
    told = observer or NoObserver()
    launcher = DockerLauncher(broker=broker, door=door, observer=told, settings=settings)
    async with Pool(
        catalogue=catalogue, launcher=launcher, settings=settings.pool, observer=told
    ) as pool:
        yield pool
