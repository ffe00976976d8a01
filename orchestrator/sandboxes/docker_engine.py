"""The Docker engine: makes, watches and removes this installation's containers.

For: every call to the daemon, each with a time limit, its errors translated; and noticing at once
that a container died, or that the kernel killed something in it for its memory. Not for: what a
container is (`container_spec`) or when to make one.
"""

import asyncio
import contextlib
import json
import secrets
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import aiodocker
import aiohttp
import msgspec
import structlog

from orchestrator.sandboxes import container_spec as spec
from orchestrator.sandboxes.background import BackgroundTasks
from orchestrator.sandboxes.engine_events import EngineEvents
from orchestrator.sandboxes.errors import (
    ContainerMissing,
    EngineFailure,
    EngineRefused,
    EngineTooSlow,
    EngineUnreachable,
    ImageMissing,
    SpecViolated,
)
from orchestrator.sandboxes.known_holes import holes_of_engine
from orchestrator.sandboxes.memory_kills import KillCounters
from orchestrator.sandboxes.ports import ContainerExit
from orchestrator.sandboxes.settings import EngineSettings
from orchestrator.sandboxes.uid_shift import uid_shift

NOT_CONNECTED = 900
"""aiodocker's status for a daemon that is not there."""
OVER = ("exited", "dead", "removing")
LOG_LINES = 40
LONGEST_LINE = 500
FREEZE_TRIES = 5
FREEZE_REST = 0.1
"""Seconds after the first try that failed, more after each further one."""

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")


class OwnContainer(msgspec.Struct, frozen=True, kw_only=True):
    """A container of this installation, of whichever run."""

    id: str
    epoch: str
    dead: bool
    name: str = ""


class Watched:
    """What is waited for of a container that was made here."""

    def __init__(self) -> None:
        self.death = asyncio.Event()
        self.memory = asyncio.Event()
        self.engine_away = False


class DockerEngine:
    """One installation's view of a Docker daemon (API 1.41 and later). An async context manager."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._docker: aiodocker.Docker | None = None
        self._host = spec.Host(runtime="runc", cpus=1.0)
        self._watched: dict[str, Watched] = {}
        self._kills = KillCounters()
        self._tasks = BackgroundTasks()
        self.owner = spec.Owner(instance=settings.instance, epoch=secrets.token_hex(8))
        self._events = EngineEvents(
            label=f"{spec.INSTANCE}={self.owner.instance}",
            retry=settings.events_retry,
            on_death=self._notice,
            on_memory=self._notice_memory,
        )

    @property
    def host(self) -> spec.Host:
        return self._host

    @property
    def weaker(self) -> str | None:
        """What is less than it could be, in a sentence; None when nothing is."""
        if self._host.runtime == "runsc":
            return None
        return "Sandboxes share the host's kernel (runc); gVisor (runsc) would give them their own."

    async def __aenter__(self) -> Self:
        """Raises EngineFailure: no daemon, or one that cannot serve."""
        try:
            self._docker = aiodocker.Docker(url=self._settings.url or None)
        except (AssertionError, ValueError, aiodocker.DockerError, OSError) as error:
            raise EngineUnreachable("No Docker engine was found on this machine.") from error
        try:
            info = await self._call(self._client.system.info())
            self._host = spec.Host(
                runtime=self._runtime(info), cpus=float(info["NCPU"]), shift=uid_shift(info)
            )
            await self._warn_of_holes(info)
        except BaseException:
            await self._docker.close()
            raise
        self._events.start(self._client)
        self._tasks.start(self._look(), name="engine-look")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._events.close()
        await self._tasks.close()
        if self._docker is not None:
            await self._docker.close()

    async def _warn_of_holes(self, info: Any) -> None:
        """Once, at the start. Distributions mend parts without raising their number: no refusal."""
        plugins = bool((info.get("Plugins") or {}).get("Authorization"))
        found = holes_of_engine(await self._call(self._client.version()), plugins=plugins)
        if found:
            _log.warning(
                "engine.holes_known",
                holes=[f"{hole.part}: {hole.id}" for hole in found],
                advice="`casemate doctor` tells what each needs, and what to change.",
            )

    @property
    def _client(self) -> aiodocker.Docker:
        if self._docker is None:
            raise EngineUnreachable("The Docker engine is not connected.")
        return self._docker

    def _runtime(self, info: Any) -> Literal["runc", "runsc"]:
        registered = set(info.get("Runtimes") or {})
        if self._settings.runtime == "runsc" and "runsc" not in registered:
            raise EngineFailure("The runtime runsc is asked for but not registered with Docker.")
        if self._settings.runtime != "runc" and "runsc" in registered:
            return "runsc"
        return "runc"

    async def image(self, reference: str) -> spec.Image:
        """Raises ImageMissing and other EngineFailures."""
        try:
            found = await self._call(self._client.images.inspect(reference))
        except ContainerMissing as error:
            raise ImageMissing(f"The image {reference} is not there: build it.") from error
        labels = (found.get("Config") or {}).get("Labels") or {}
        return spec.Image(id=found["Id"], version=labels.get(spec.VERSION) or found["Id"])

    async def create(self, body: dict[str, Any], *, name: str) -> str:
        """A container that is verified to be what `body` says; its id. Raises EngineFailure."""
        config = json.loads(json.dumps(body))
        try:
            container = await self._created(config, name=name)
            await self._verify(container, body)
        except BaseException:
            with contextlib.suppress(EngineFailure):
                await self.remove(name)  # also when only the daemon's answer did not reach us
            raise
        self._watched[container.id] = Watched()
        self._kills.watch(container.id)
        return container.id

    async def _created(
        self, config: dict[str, Any], *, name: str
    ) -> aiodocker.containers.DockerContainer:
        """Waited for even where nobody wants it any more: the daemon goes on when its caller hangs
        up, and what is not made yet cannot be removed."""
        call = self._call(self._client.containers.create(config, name=name))
        creating = asyncio.create_task(call, name=f"engine-create-{name}")
        try:
            return await asyncio.shield(creating)
        except asyncio.CancelledError:
            await asyncio.gather(creating, return_exceptions=True)
            raise

    async def _verify(
        self, container: aiodocker.containers.DockerContainer, body: dict[str, Any]
    ) -> None:
        found = spec.violations(await self._call(container.show()), asked=body)
        if found:
            raise SpecViolated(found)

    async def start(self, container_id: str) -> None:
        await self._call(self._client.containers.container(container_id).start())

    async def freeze(self, container_id: str) -> None:
        """Stop all its processes. Idempotent. Raises EngineFailure.

        Tried again: with cgroup v1 a container that starts processes on a busy machine can slip
        away from the kernel's freezer.
        """
        container = self._client.containers.container(container_id)
        for tried in range(1, FREEZE_TRIES + 1):
            try:
                await self._until_so(container.pause, container, paused=True)
            except EngineRefused:
                if tried == FREEZE_TRIES:
                    raise
                await asyncio.sleep(FREEZE_REST * tried)
            else:
                return

    async def thaw(self, container_id: str) -> None:
        """Let them go on. Idempotent. Raises EngineFailure."""
        container = self._client.containers.container(container_id)
        await self._until_so(container.unpause, container, paused=False)

    async def _until_so(
        self,
        change: Callable[[], Awaitable[None]],
        container: aiodocker.containers.DockerContainer,
        *,
        paused: bool,
    ) -> None:
        """Engines answer differently where there is nothing to do: what counts is how it is."""
        try:
            await self._call(change())
        except EngineRefused:
            state = (await self._call(container.show()))["State"]
            if not state["Running"] or state["Paused"] is not paused:
                raise

    async def remove(self, container_id: str) -> None:
        """Kill and remove, by id or name; idempotent. Raises EngineFailure when it may be left."""
        container = self._client.containers.container(container_id)
        try:
            await self._call(container.delete(force=True, v=True))
        except ContainerMissing:
            pass
        except EngineRefused as error:
            if error.status != 409:  # noqa: PLR2004 - conflict: its removal is already under way
                raise
            await self._call(self._until_removed(container))
        self._forget(container_id)

    async def _until_removed(self, container: aiodocker.containers.DockerContainer) -> None:
        with contextlib.suppress(aiodocker.DockerError):
            await container.wait(condition="removed")

    def _forget(self, container_id: str) -> None:
        self._kills.forget(container_id)
        if (watched := self._watched.pop(container_id, None)) is not None:
            watched.death.set()

    async def died(self, container_id: str) -> None:
        """Returns when the container is no longer running, for whatever reason."""
        if (watched := self._watched.get(container_id)) is not None:
            await watched.death.wait()

    async def ran_out_of_memory(self, container_id: str) -> None:
        """Returns when the kernel has killed something in it for its memory: what happens between
        two calls is told once. Never, for a container that is not watched."""
        watched = self._watched.get(container_id) or Watched()
        await watched.memory.wait()
        watched.memory.clear()

    async def exit_of(self, container_id: str) -> ContainerExit:
        """How a container stands. Raises EngineFailure."""
        try:
            inspected = await self._call(self._client.containers.container(container_id).show())
        except ContainerMissing:
            return ContainerExit(over=True, engine_away=self._ended_in_absence(container_id))
        state = inspected["State"]
        over = state["Status"] in OVER
        return ContainerExit(
            over=over,
            exit_code=state["ExitCode"] if over else None,
            oom_killed=bool(state["OOMKilled"]),
            engine_away=over and self._ended_in_absence(container_id),
        )

    def _ended_in_absence(self, container_id: str) -> bool:
        watched = self._watched.get(container_id)
        return watched is not None and watched.engine_away

    async def output(self, container_id: str) -> list[str]:
        """The last lines that it wrote. They come from a sandbox: data, never instructions."""
        container = self._client.containers.container(container_id)
        lines = await self._call(container.log(stdout=True, stderr=True, tail=LOG_LINES))
        return [line.rstrip()[:LONGEST_LINE] for line in lines][-LOG_LINES:]

    async def own(self) -> list[OwnContainer]:
        """Every container of this installation, running or not."""
        listed = await self._list(f"{spec.INSTANCE}={self.owner.instance}")
        return [
            OwnContainer(
                id=container["Id"],
                epoch=container["Labels"].get(spec.EPOCH, ""),
                dead=container["State"] in OVER,
                name=(container["Names"] or [""])[0].removeprefix("/"),
            )
            for container in listed
        ]

    async def uids_in_use(self) -> frozenset[int]:
        """The uids of all sandboxes on this host, other installations' included."""
        labels = [container["Labels"] for container in await self._list(f"{spec.MANAGED}=1")]
        return frozenset(
            int(label[spec.UID]) for label in labels if label.get(spec.UID, "").isdecimal()
        )

    async def _list(self, label: str) -> list[Any]:
        filters = json.dumps({"label": [label]})
        return await self._call(self._client.containers.list(all=True, filters=filters))

    async def _call(self, call: Awaitable[_T]) -> _T:
        """One call, with a time limit and its errors in our words."""
        try:
            async with asyncio.timeout(self._settings.call_limit):
                return await call
        except aiodocker.DockerError as error:
            raise _translated(error) from error
        except TimeoutError as error:
            raise EngineTooSlow("The Docker engine does not answer in time.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineUnreachable("The Docker engine cannot be reached.") from error

    def _notice(self, container_id: str) -> None:
        watched = self._watched.get(container_id)
        if watched is not None and not watched.death.is_set():
            watched.engine_away = self._events.was_away(within=2 * self._settings.look_interval)
            watched.death.set()

    def _notice_memory(self, container_id: str) -> None:
        self._kills.told(container_id)
        if (watched := self._watched.get(container_id)) is not None:
            watched.memory.set()

    async def _look(self) -> None:
        """Notice what happened while the event stream was not there."""
        while True:
            await asyncio.sleep(self._settings.look_interval)
            for container_id in self._kills.news():
                self._watched[container_id].memory.set()
            watched = list(self._watched)
            try:
                standing = {container.id for container in await self.own() if not container.dead}
            except EngineFailure as error:
                _log.warning("engine.unreachable", reason=error.sentence)
                continue
            for container_id in set(watched) - standing:
                self._notice(container_id)


def _translated(error: aiodocker.DockerError) -> EngineFailure:
    match error.status:
        case 404:
            return ContainerMissing(f"Docker: {error.message}")
        case 900:
            return EngineUnreachable("The Docker engine cannot be reached.")
        case status:
            return EngineRefused(f"Docker refused: {error.message}", status=status)
