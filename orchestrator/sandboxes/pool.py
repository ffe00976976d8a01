"""The pools of all profiles: where the rules claim sandboxes, and an admin sets their sizes."""

import asyncio
import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog

from orchestrator.protocol.ids import ProfileName, SandboxId, SessionId
from orchestrator.sandboxes.background import BackgroundTasks
from orchestrator.sandboxes.errors import BadPoolSize, SandboxFailure
from orchestrator.sandboxes.pool_view import PoolView
from orchestrator.sandboxes.ports import Launcher, Member, NoObserver, PoolObserver
from orchestrator.sandboxes.profile_pool import ProfilePool
from orchestrator.sandboxes.settings import PoolSettings
from orchestrator.sandboxes.survivors import Survivors
from orchestrator.sessions.errors import ShuttingDown
from orchestrator.sessions.ports import ProfileCatalogue

_log = structlog.get_logger(__name__)


class Pool:
    """The rules' `SandboxPool`. An async context manager: entering finds what outlived an earlier
    run, sweeps what is left of it, and begins to fill; leaving destroys every sandbox."""

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
        self._survivors = Survivors(
            launcher=launcher, catalogue=catalogue, welcome=self._take_in_survivor
        )
        self._released = True

    async def __aenter__(self) -> Self:
        """Raises SandboxFailure when the engine does not answer."""
        await self._launcher.sweep()
        await self._survivors.find()
        self._open = True
        self._released = len(self._survivors) == 0
        for profile in self._catalogue.profiles():
            self._pool(profile.name)
        if not self._released:
            self._tasks.start(self._release_at_last(), name="pool-release-at-last")
        self._tasks.start(self._reconcile_always(), name="pool-reconcile")
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
        used_tokens: int = 0,
    ) -> Member:
        """See `sessions.ports.SandboxPool`. `used_tokens`: what the session has had of its budget
        in earlier sandboxes."""
        pool = self._pool(profile)
        return await pool.claim(session, on_place=on_place, used_tokens=used_tokens)

    async def adopt(
        self, sandbox: SandboxId, *, session: SessionId, held: int, used_tokens: int = 0
    ) -> Member | None:
        """See `sessions.ports.SandboxPool`."""
        if not self._open:
            return None
        return await self._survivors.adopt(
            sandbox, session=session, held=held, used_tokens=used_tokens
        )

    async def release_unadopted(self) -> None:
        """See `sessions.ports.SandboxPool`. What is left is seen to in the background."""
        if not self._released:
            self._released = True
            self._tasks.start(self._release(), name="pool-release")

    async def _release_at_last(self) -> None:
        await asyncio.sleep(self._settings.adopt_wait)
        await self.release_unadopted()

    async def _release(self) -> None:
        """Only then spare ones are made: there may be enough."""
        try:
            await self._survivors.release()
        finally:
            for pool in self._pools.values():
                pool.hold_spares(until=0.0)

    def _take_in_survivor(self, member: Member, claimed: bool) -> None:  # noqa: FBT001 - a callback
        self._pool(member.profile.name).take_in(member, claimed=claimed)

    def shed(self, count: int) -> int:
        """See `sessions.ports.SandboxPool`."""
        until = time.monotonic() + self._settings.shed_pause
        given_up = 0
        for pool in self._pools.values():
            pool.hold_spares(until=until)
            while given_up < count and pool.shed():
                given_up += 1
        if given_up:
            _log.warning("pool.shed", sandboxes=given_up, pause=self._settings.shed_pause)
        return given_up

    async def _reconcile_always(self) -> None:
        """What slipped away somewhere does not stay."""
        while True:
            await asyncio.sleep(self._settings.reconcile_interval)
            try:
                await self._launcher.reconcile(spared=self._survivors.slots)
            except SandboxFailure as error:
                _log.warning("reconciliation.failed", reason=error.sentence)

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
            if not self._released:
                pool.hold_spares(until=math.inf)
            self._tasks.start(pool.run(), name=f"pool-{name}")
        self._pools[name].update(profile)
        return self._pools[name]

    def _host_room(self) -> int:
        total = sum(pool.counts().total for pool in self._pools.values())
        return self._settings.host_maximum - total - len(self._survivors)
