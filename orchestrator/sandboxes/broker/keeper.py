"""Keeps sandboxes: makes each from a profile's name and a slot's, and takes every one away again.

For: the verbs that a control plane has, each of which names things and describes none. Nothing that
a caller says becomes part of a container but these two names, and both are checked against what is
known here. Not for: who may ask, or how (`conversation`, `tenancy`).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal, Protocol

import msgspec
import structlog

from orchestrator.protocol.broker import BrokeredSandbox, sandbox_of
from orchestrator.protocol.ids import ProfileName, SlotId
from orchestrator.sandboxes.background import BackgroundTasks
from orchestrator.sandboxes.broker.kept import Kept
from orchestrator.sandboxes.container_spec import (
    Host,
    Image,
    Owner,
    container_body,
    seccomp_profile,
)
from orchestrator.sandboxes.docker_engine import OwnContainer
from orchestrator.sandboxes.errors import (
    BrokerRefused,
    ContainerMissing,
    SandboxFailure,
    SlotFailure,
)
from orchestrator.sandboxes.ports import BrokeredBuild, BrokeredStart, ContainerExit
from orchestrator.sandboxes.profile_digest import digest_of
from orchestrator.sandboxes.sizing import backoff
from orchestrator.sandboxes.slot_sockets import SlotSockets
from orchestrator.sandboxes.slots import Slot, Slots
from orchestrator.sessions.errors import UnknownProfile
from orchestrator.sessions.ports import ProfileCatalogue
from orchestrator.sessions.profiles import Profile

REMEMBERED = 10_000
"""Slots of the past that are not taken again. A slot's name is random: this is against mistakes."""
MEMORY_NOTICE_REST = 1.0
"""Seconds between two notices that a sandbox ran out of memory: one can do so without end."""
REMOVALS = 4
"""Tries to remove what is left, before it is left to the next sweep."""

_log = structlog.get_logger(__name__)


class Engine(Protocol):
    """What of the engine the keeper needs; `DockerEngine` is the real one."""

    @property
    def owner(self) -> Owner: ...
    @property
    def host(self) -> Host: ...
    @property
    def weaker(self) -> str | None: ...
    async def image(self, reference: str) -> Image: ...
    async def create(self, body: dict[str, Any], *, name: str) -> str: ...
    async def start(self, container_id: str) -> None: ...
    async def freeze(self, container_id: str) -> None: ...
    async def thaw(self, container_id: str) -> None: ...
    async def remove(self, container_id: str) -> None: ...
    async def died(self, container_id: str) -> None: ...
    async def ran_out_of_memory(self, container_id: str) -> None: ...
    async def exit_of(self, container_id: str) -> ContainerExit: ...
    async def output(self, container_id: str, /) -> list[str]: ...
    async def own(self) -> list[OwnContainer]: ...
    async def uids_in_use(self) -> frozenset[int]: ...


class SandboxKeeper:
    """`most` is how many sandboxes there may be at once."""

    def __init__(
        self, *, engine: Engine, slots: Slots, catalogue: ProfileCatalogue, most: int
    ) -> None:
        self._engine = engine
        self._slots = slots
        self._catalogue = catalogue
        self._most = most
        self._kept: dict[SlotId, Kept] = {}
        self._used: OrderedDict[SlotId, None] = OrderedDict()
        self._seccomp = seccomp_profile()
        self._tasks = BackgroundTasks()
        self._on_death: Callable[[SlotId], None] | None = None
        self._on_memory: Callable[[SlotId], None] | None = None

    @property
    def epoch(self) -> str:
        return self._engine.owner.epoch

    @property
    def runtime(self) -> Literal["runc", "runsc"]:
        return self._engine.host.runtime

    @property
    def weaknesses(self) -> list[str]:
        return [*filter(None, (self._slots.weaker, self._engine.weaker))]

    def sandboxes(self) -> list[BrokeredSandbox]:
        return [kept.view() for kept in self._kept.values()]

    async def build(self, name: str) -> BrokeredBuild:
        """Raises SandboxFailure."""
        profile = self._profile(name)
        image = await self._engine.image(profile.image)
        return BrokeredBuild(image=image.id, version=image.version, profile=digest_of(profile))

    # --- making ----------------------------------------------------------------------------------

    async def create(self, name: str, slot: SlotId) -> BrokeredStart:
        """Raises SandboxFailure; then nothing of it is left."""
        profile = self._profile(name)
        if slot in self._used:
            raise BrokerRefused("This slot was used before.", tag="slot_used")
        if len(self._kept) >= self._most:
            sentence = f"There are {self._most} sandboxes on this machine, which is its ceiling."
            raise BrokerRefused(sentence, tag="host_full")
        self._remember(slot)
        kept = self._kept[slot] = Kept(slot, profile.name)
        kept.making = asyncio.create_task(self._make(kept, profile), name=f"make-{slot}")
        try:
            return await asyncio.shield(kept.making)
        except asyncio.CancelledError:
            if kept.making.cancelled():
                sentence = "It was destroyed while it was made."
                raise BrokerRefused(sentence, tag="destroyed") from None
            kept.making.add_done_callback(_close_sockets)  # nobody is left to take them
            raise

    def _profile(self, name: str) -> Profile:
        try:
            return self._catalogue.profile(ProfileName(name))
        except UnknownProfile as error:
            raise BrokerRefused("There is no such profile.", tag="unknown_profile") from error

    def _remember(self, slot: SlotId) -> None:
        self._used[slot] = None
        if len(self._used) > REMEMBERED + self._most:
            self._used.popitem(last=False)

    async def _make(self, kept: Kept, profile: Profile) -> BrokeredStart:
        try:
            kept.image = await self._engine.image(profile.image)
            slot = await self._make_slot(kept, profile)
            kept.sockets = _listen(slot, profile)
            await self._start(kept, profile, slot=slot, image=kept.image)
            started = kept.started()
        except BaseException:
            kept.state = "leaving"
            await asyncio.shield(
                self._tasks.start(self._remove_at_last(kept), name=f"remove-{kept.slot}")
            )
            raise
        kept.state = "running"
        self._tasks.start(self._watch(kept), name=f"watch-{kept.slot}")
        return started

    async def _make_slot(self, kept: Kept, profile: Profile) -> Slot:
        avoid = await self._engine.uids_in_use()
        agent = msgspec.structs.replace(profile.agent, egress=bool(profile.egress.allow))
        return self._slots.create(kept.slot, agent, avoid=avoid, shift=self._engine.host.shift)

    async def _start(self, kept: Kept, profile: Profile, *, slot: Slot, image: Image) -> None:
        body = container_body(
            profile,
            slot=slot,
            image=image,
            host=self._engine.host,
            owner=self._engine.owner,
            seccomp=self._seccomp,
        )
        name = kept.container = f"casemate-{sandbox_of(kept.slot)}"
        kept.container = await self._engine.create(body, name=name)
        await self._engine.start(kept.container)

    async def _watch(self, kept: Kept) -> None:
        assert kept.container is not None
        memory = self._tasks.start(
            self._watch_memory(kept, kept.container), name=f"watch-memory-{kept.slot}"
        )
        try:
            await self._engine.died(kept.container)
        finally:
            memory.cancel()
        if kept.state != "leaving":
            kept.state = "dead"
        if self._on_death is not None:
            self._on_death(kept.slot)

    async def _watch_memory(self, kept: Kept, container: str) -> None:
        """Told at a bounded pace, however often it happens."""
        while True:
            await self._engine.ran_out_of_memory(container)
            if self._on_memory is not None:
                self._on_memory(kept.slot)
            else:
                kept.memory_untold = True
            await asyncio.sleep(MEMORY_NOTICE_REST)

    # --- telling ---------------------------------------------------------------------------------

    def tell(
        self, *, on_death: Callable[[SlotId], None], on_memory: Callable[[SlotId], None]
    ) -> None:
        """From now on, until `hush`. Neither may raise."""
        self._on_death, self._on_memory = on_death, on_memory

    def hush(self) -> None:
        self._on_death = self._on_memory = None

    # --- while it lives --------------------------------------------------------------------------

    def adopt(self, slot: SlotId) -> BrokeredStart:
        """One that was made before, as if it had just been; what nobody was told of it is told.
        Raises SandboxFailure."""
        kept = self._running(slot)
        started = kept.started()
        if kept.memory_untold and self._on_memory is not None:
            kept.memory_untold = False
            self._on_memory(slot)
        return started

    def claim(self, slot: SlotId) -> None:
        """It is no spare one any more. Raises SandboxFailure."""
        self._running(slot).claimed = True

    async def freeze(self, slot: SlotId) -> None:
        """Raises SandboxFailure."""
        kept = self._running(slot)
        async with kept.changing:
            self._running(slot).state = "frozen"  # from here on it may be: the caller may be killed
            await self._engine.freeze(kept.container or "")

    async def thaw(self, slot: SlotId) -> None:
        """Raises SandboxFailure."""
        kept = self._running(slot)
        async with kept.changing:
            await self._engine.thaw(kept.container or "")
            kept.state = "running" if kept.state == "frozen" else kept.state

    def _running(self, slot: SlotId) -> Kept:
        kept = self._kept.get(slot)
        if kept is None or kept.state not in ("running", "frozen"):
            raise ContainerMissing("There is no such sandbox, or it does not run.")
        return kept

    async def output(self, slot: SlotId) -> list[str]:
        """Raises SandboxFailure."""
        container = self._container(slot)
        return [] if container is None else await self._engine.output(container)

    async def exit_of(self, slot: SlotId) -> ContainerExit:
        """Raises SandboxFailure."""
        container = self._container(slot)
        return (
            ContainerExit(over=True) if container is None else await self._engine.exit_of(container)
        )

    def _container(self, slot: SlotId) -> str | None:
        kept = self._kept.get(slot)
        return None if kept is None else kept.container

    # --- taking away -----------------------------------------------------------------------------

    async def destroy(self, slot: SlotId) -> None:
        """Idempotent; also stops the making of it. Raises SandboxFailure where some may be left."""
        kept = self._kept.get(slot)
        if kept is None:
            return
        if kept.making is not None and not kept.making.done():
            kept.making.cancel()
            await asyncio.wait((kept.making,))
        await self._remove(kept)

    async def _remove(self, kept: Kept) -> None:
        async with kept.removing:
            if self._kept.get(kept.slot) is not kept:
                return
            kept.state = "leaving"
            if kept.container is not None:
                await self._engine.remove(kept.container)
            self._slots.remove(kept.slot)
            if kept.sockets is not None:
                kept.sockets.close()
            del self._kept[kept.slot]

    async def _remove_at_last(self, kept: Kept) -> None:
        """Some tries; what is left then is found by the next destroy or sweep."""
        await _tried(partial(self._remove, kept), slot=kept.slot)

    async def sweep(self, *, everything: bool = False) -> int:
        """Compare what is kept with what the engine has and what is on disk, and remove what nobody
        keeps; with `everything` also what is kept. Returns how many containers. Safe at any time.

        Raises SandboxFailure.
        """
        count = await self._clear() if everything else 0
        strangers = [one for one in await self._engine.own() if not self._knows(one)]
        removed = await asyncio.gather(*map(self._remove_stranger, strangers))
        unfinished = [kept for kept in self._kept.values() if kept.is_left_behind]
        for kept in unfinished:
            self._tasks.start(self._remove_at_last(kept), name=f"remove-{kept.slot}")
        slots = self._slots.sweep()
        if strangers or slots or unfinished:
            _log.warning(
                "leftovers.swept",
                containers=sum(removed),
                failed=len(removed) - sum(removed),
                slots=slots,
                unfinished=len(unfinished),
            )
        return count + sum(removed)

    def _knows(self, container: OwnContainer) -> bool:
        """Whether it is kept. A container is kept before it is made, and no name comes twice: one
        that was listed and is not kept now will not be."""
        names = (container.id, container.name)
        return container.epoch == self.epoch and any(
            kept.container in names for kept in self._kept.values()
        )

    async def _remove_stranger(self, container: OwnContainer) -> bool:
        if self._knows(container):
            return False
        try:
            await self._engine.remove(container.id)
        except SandboxFailure as error:
            _log.warning("leftover.not_removed", name=container.name, reason=error.sentence)
            return False
        return True

    async def keep_sweeping(self, *, interval: float) -> None:
        """Until cancelled: what slipped away somewhere does not stay."""
        while True:
            await asyncio.sleep(interval)
            try:
                await self.sweep()
            except SandboxFailure as error:
                _log.warning("sweep.failed", reason=error.sentence)

    async def _clear(self) -> int:
        """Destroy every sandbox there is now; returns how many it could."""
        results = await asyncio.gather(
            *(_tried(partial(self.destroy, slot), slot=slot) for slot in list(self._kept))
        )
        return sum(results)

    async def close(self) -> None:
        """Take everything away, then stop watching. Raises SandboxFailure where some is left."""
        try:
            await self.sweep(everything=True)
        finally:
            await self._tasks.close()


async def _tried(removal: Callable[[], Awaitable[None]], *, slot: SlotId) -> bool:
    """Whether it was removed, after some tries."""
    for tried in range(1, REMOVALS + 1):
        try:
            await removal()
        except SandboxFailure as error:
            _log.warning("sandbox.removal_failed", slot=slot, reason=error.sentence)
            await asyncio.sleep(backoff(tried, first=0.2, most=2.0))
        else:
            return True
    return False


def _close_sockets(making: "asyncio.Task[BrokeredStart]") -> None:
    if not making.cancelled() and making.exception() is None:
        making.result().sockets.close()


def _listen(slot: Slot, profile: Profile) -> SlotSockets:
    try:
        return slot.listen(egress=bool(profile.egress.allow))
    except OSError as error:
        sentence = f"The slot's sockets could not be opened: {error.strerror}."
        raise SlotFailure(sentence) from error
