"""Sandboxes that outlived the control plane for which they were made, until each has found a place.

A session's own is given back to it. What nobody asks for and was never used becomes a spare one
again; the rest is destroyed. That a sandbox was never used is the broker's word, not its own.
"""

import asyncio
from collections.abc import Callable

import structlog

from orchestrator.protocol.broker import BrokeredSandbox, sandbox_of
from orchestrator.protocol.ids import SandboxId, SessionId, SlotId
from orchestrator.sandboxes.errors import SandboxFailure
from orchestrator.sandboxes.ports import Launcher, Member
from orchestrator.sessions.errors import UnknownProfile
from orchestrator.sessions.ports import ProfileCatalogue
from orchestrator.sessions.profiles import Profile

STANDING = ("running", "frozen")

_log = structlog.get_logger(__name__)


class Survivors:
    """`welcome` takes in one that was adopted, before anybody else can see it."""

    def __init__(
        self,
        *,
        launcher: Launcher,
        catalogue: ProfileCatalogue,
        welcome: Callable[[Member, bool], None],
    ) -> None:
        self._launcher = launcher
        self._catalogue = catalogue
        self._welcome = welcome
        self._waiting: dict[SandboxId, BrokeredSandbox] = {}
        self._leaving: set[SlotId] = set()

    def __len__(self) -> int:
        """Those that have no place yet; they count towards the host's ceiling."""
        return len(self._waiting) + len(self._leaving)

    @property
    def slots(self) -> frozenset[SlotId]:
        return frozenset({*(one.slot for one in self._waiting.values()), *self._leaving})

    async def find(self) -> None:
        """Raises SandboxFailure."""
        self._waiting = {sandbox_of(one.slot): one for one in await self._launcher.survivors()}
        if self._waiting:
            _log.info("survivors.found", sandboxes=len(self._waiting))

    async def adopt(
        self, sandbox: SandboxId, *, session: SessionId, held: int, used_tokens: int
    ) -> Member | None:
        survivor = self._waiting.pop(sandbox, None)
        if survivor is None:
            return None
        return await self._adopted(survivor, session=session, held=held, used_tokens=used_tokens)

    async def release(self) -> None:
        """Everybody who could ask for one has asked."""
        waiting, self._waiting = self._waiting, {}
        self._leaving.update(one.slot for one in waiting.values())
        await asyncio.gather(*(self._adopted(one, session=None) for one in waiting.values()))

    async def _adopted(
        self,
        survivor: BrokeredSandbox,
        *,
        session: SessionId | None,
        held: int = 0,
        used_tokens: int = 0,
    ) -> Member | None:
        """None, and it is destroyed, where it is of no use."""
        self._leaving.add(survivor.slot)
        try:
            if survivor.state not in STANDING or (session is None and survivor.claimed):
                await self._launcher.discard(survivor)
                return None
            member = await self._launcher.adopt(
                survivor,
                self._profile(survivor),
                session=session,
                held=held,
                used_tokens=used_tokens,
            )
            self._welcome(member, session is not None)
        except SandboxFailure as error:
            await self._give_up(survivor, why=error)
            return None
        finally:
            self._leaving.discard(survivor.slot)
        return member

    def _profile(self, survivor: BrokeredSandbox) -> Profile:
        try:
            return self._catalogue.profile(survivor.profile)
        except UnknownProfile as error:
            raise SandboxFailure("Its profile is no longer there.") from error

    async def _give_up(self, survivor: BrokeredSandbox, *, why: SandboxFailure) -> None:
        """What cannot be destroyed now is found when it is compared who keeps what."""
        _log.warning("sandbox.not_adopted", slot=survivor.slot, reason=why.sentence)
        try:
            await self._launcher.discard(survivor)
        except SandboxFailure as error:
            _log.warning("survivor.not_destroyed", slot=survivor.slot, reason=error.sentence)
