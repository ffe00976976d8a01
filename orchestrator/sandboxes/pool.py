"""The pools of all profiles: where the rules claim sandboxes, and an admin sets their sizes."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog

from orchestrator.protocol.ids import ProfileName, SessionId
from orchestrator.sandboxes.background import BackgroundTasks
from orchestrator.sandboxes.errors import BadPoolSize, SandboxFailure
from orchestrator.sandboxes.pool_view import PoolView
from orchestrator.sandboxes.ports import Launcher, Member, NoObserver, PoolObserver
from orchestrator.sandboxes.profile_pool import ProfilePool
from orchestrator.sandboxes.settings import PoolSettings
from orchestrator.sessions.errors import ShuttingDown
from orchestrator.sessions.ports import ProfileCatalogue

_log = structlog.get_logger(__name__)


class Pool:
    """The rules' `SandboxPool`. An async context manager: entering sweeps what an earlier run left
    and begins to fill; leaving destroys every sandbox."""

    def __init__(
        self,
        *,
        catalogue: ProfileCatalogue,
        launcher: Launcher,
        settings: PoolSettings,
        observer: PoolObserver | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._launcher = launcher
        self._settings = settings
        self._observer = observer or NoObserver()
        self._pools: dict[ProfileName, ProfilePool] = {}
        self._tasks = BackgroundTasks()
        self._open = False

    async def __aenter__(self) -> Self:
        """Raises SandboxFailure when the engine does not answer."""
        await self._launcher.sweep()
        self._open = True
        for profile in self._catalogue.profiles():
            self._pool(profile.name)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open = False
        try:
            async with asyncio.timeout(self._settings.close_limit):
                await self._tasks.close()  # first: nothing shall be started any more
                await asyncio.gather(*(pool.close() for pool in self._pools.values()))
                await self._launcher.sweep(everything=True)
        except (TimeoutError, SandboxFailure):
            _log.exception("pool.close_failed")

    async def claim(
        self,
        profile: ProfileName,
        *,
        session: SessionId,
        on_place: Callable[[int], None],
    ) -> Member:
        """See `sessions.ports.SandboxPool`."""
        return await self._pool(profile).claim(session, on_place=on_place)

    async def resize(self, profile: ProfileName, *, minimum: int, maximum: int) -> PoolView:
        """Takes effect at once, without disturbing what is claimed.

        Raises BadPoolSize, UnknownProfile, ShuttingDown.
        """
        ceiling = self._settings.host_maximum
        if not 0 <= minimum <= maximum <= ceiling:
            raise BadPoolSize(
                advice=f"Choose numbers so that 0 ≤ min ≤ max ≤ {ceiling}, the host's ceiling."
            )
        pool = self._pool(profile)
        pool.resize(minimum=minimum, maximum=maximum)
        return pool.view()

    def pools(self) -> list[PoolView]:
        """As it is now, in the profiles' order."""
        return [pool.view() for pool in self._pools.values()]

    def refresh(self) -> None:
        """Profiles or images may have changed: look at once instead of at the next tick."""
        for profile in self._catalogue.profiles():
            self._pool(profile.name).kick()

    def _pool(self, name: ProfileName) -> ProfilePool:
        """Raises UnknownProfile. A profile that is new gets its pool when it is first asked for."""
        if not self._open:
            raise ShuttingDown
        profile = self._catalogue.profile(name)
        if name not in self._pools:
            pool = ProfilePool(
                profile,
                settings=self._settings,
                launcher=self._launcher,
                observer=self._observer,
                host_room=self._host_room,
            )
            self._pools[name] = pool
            self._tasks.start(pool.run(), name=f"pool-{name}")
        self._pools[name].update(profile)
        return self._pools[name]

    def _host_room(self) -> int:
        total = sum(pool.counts().total for pool in self._pools.values())
        return self._settings.host_maximum - total
