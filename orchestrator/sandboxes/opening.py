"""Docker sandboxes, ready to use: the engine, the slots and the pool put together for `app.py`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from orchestrator.sandboxes.docker_engine import DockerEngine
from orchestrator.sandboxes.launcher import DockerLauncher
from orchestrator.sandboxes.pool import Pool
from orchestrator.sandboxes.ports import GatewayDoor, NoObserver, PoolObserver
from orchestrator.sandboxes.settings import SandboxSettings
from orchestrator.sandboxes.slots import Slots
from orchestrator.sessions.ports import ProfileCatalogue

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def docker_pool(
    settings: SandboxSettings,
    *,
    catalogue: ProfileCatalogue,
    door: GatewayDoor,
    observer: PoolObserver | None = None,
) -> AsyncIterator[Pool]:
    """A pool that fills itself, and that is empty again, with nothing left, afterwards.

    Raises SandboxFailure when there is no Docker engine or no place for slots.
    """
    told = observer or NoObserver()
    with Slots(settings.slots) as slots:
        async with DockerEngine(settings.engine) as engine:
            for weakness in filter(None, (slots.weaker, engine.weaker)):
                _log.warning("isolation.weakened", reason=weakness)
            launcher = DockerLauncher(
                engine=engine, slots=slots, door=door, observer=told, settings=settings
            )
            async with Pool(
                catalogue=catalogue, launcher=launcher, settings=settings.pool, observer=told
            ) as pool:
                yield pool
