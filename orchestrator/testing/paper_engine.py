"""An engine without Docker: its containers are coroutines that dial the slot's link like a shim."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from orchestrator.sandboxes.container_spec import Host, Image, Owner
from orchestrator.sandboxes.docker_engine import OwnContainer
from orchestrator.sandboxes.errors import ContainerMissing, EngineRefused, ImageMissing
from orchestrator.sandboxes.ports import ContainerExit

Shim = Callable[[str], Awaitable[int]]
"""Given the path of `link.sock`; returns the container's exit code."""


class PaperEngine:
    """What the broker's keeper needs of an engine. `shim` is what each container runs; a test sets
    what shall fail, and looks at `containers`: the bodies by name. `crash_in_create` is raised when
    the container is there already: an engine that makes one and cannot say so."""

    def __init__(self, shim: Shim, *, epoch: str = "now") -> None:
        self.owner = Owner(instance="test", epoch=epoch)
        self.host = Host(runtime="runc", cpus=2)
        self.weaker: str | None = None
        self.shim = shim
        self.containers: dict[str, dict[str, Any]] = {}
        self.frozen: set[str] = set()
        self.left: list[OwnContainer] = []
        self.missing_image: str | None = None
        self.fail_create: Exception | None = None
        self.fail_start: Exception | None = None
        self.refuse_removal = 0
        self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._exits: dict[str, ContainerExit] = {}
        self._deaths: dict[str, asyncio.Event] = {}
        self._memory: dict[str, asyncio.Event] = {}
        self.crash_in_create: Exception | None = None
        self._running: list[asyncio.Task[None]] = []

    @property
    def started(self) -> int:
        """How many containers were ever started."""
        return len(self._running)

    async def image(self, reference: str) -> Image:
        if reference == self.missing_image:
            raise ImageMissing(f"The image {reference} is not there: build it.")
        return Image(id="sha256:" + "a" * 64, version="v1")

    async def create(self, body: dict[str, Any], *, name: str) -> str:
        await self.gate.wait()
        if self.fail_create is not None:
            raise self.fail_create
        self.containers[name] = body
        self.most = max(self.most, len(self.containers))
        self._deaths[name] = asyncio.Event()
        self._memory[name] = asyncio.Event()
        if self.crash_in_create is not None:
            raise self.crash_in_create
        return name

    async def start(self, container_id: str) -> None:
        if self.fail_start is not None:
            raise self.fail_start
        slot = self.containers[container_id]["HostConfig"]["Binds"][0].split(":")[0]
        work = self._run(container_id, f"{slot}/link.sock")
        self._running.append(asyncio.create_task(work, name=f"paper-{container_id}"))

    async def _run(self, container_id: str, socket: str) -> None:
        with contextlib.suppress(ConnectionError, OSError):
            self.die(container_id, await self.shim(socket))

    def run_out_of_memory(self, container_id: str) -> None:
        """The kernel kills something in it, and it lives on."""
        self._memory[container_id].set()

    async def ran_out_of_memory(self, container_id: str) -> None:
        await self._memory[container_id].wait()
        self._memory[container_id].clear()

    def vanish(self, container_id: str) -> None:
        """Somebody else removes it."""
        del self.containers[container_id]
        self._deaths[container_id].set()

    def die(self, container_id: str, code: int = 137, *, oom: bool = False) -> None:
        self._exits[container_id] = ContainerExit(over=True, exit_code=code, oom_killed=oom)
        self._deaths[container_id].set()

    async def freeze(self, container_id: str) -> None:
        self._require(container_id)
        self.frozen.add(container_id)

    async def thaw(self, container_id: str) -> None:
        self._require(container_id)
        self.frozen.discard(container_id)

    def _require(self, container_id: str) -> None:
        if container_id not in self.containers:
            raise ContainerMissing("Docker: no such container")

    async def died(self, container_id: str) -> None:
        await self._deaths[container_id].wait()

    async def exit_of(self, container_id: str) -> ContainerExit:
        return self._exits.get(container_id, ContainerExit(over=False))

    async def output(self, _container_id: str) -> list[str]:
        return ["its last words"]

    async def remove(self, container_id: str) -> None:
        if self.refuse_removal:
            self.refuse_removal -= 1
            raise EngineRefused("Docker refused: busy", status=500)
        self.containers.pop(container_id, None)
        self.left = [own for own in self.left if own.id != container_id]
        if container_id in self._deaths:
            self._deaths[container_id].set()

    async def own(self) -> list[OwnContainer]:
        now = [
            OwnContainer(id=name, name=name, epoch=self.owner.epoch, dead=name in self._exits)
            for name in self.containers
        ]
        return [*self.left, *now]

    async def uids_in_use(self) -> frozenset[int]:
        return frozenset()

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
