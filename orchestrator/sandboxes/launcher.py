"""Makes sandboxes: slot, link, gateway door, container, in that order; ready when the shim says so.

What fails on the way is taken apart again, and why is told with the container's last lines.
"""

import asyncio
import secrets
import time
from typing import Any, Protocol

import structlog

from orchestrator.protocol.ids import SandboxId
from orchestrator.protocol.link import Hello
from orchestrator.sandboxes.container_spec import (
    Host,
    Image,
    Owner,
    container_body,
    seccomp_profile,
)
from orchestrator.sandboxes.docker_engine import OwnContainer
from orchestrator.sandboxes.docker_sandbox import Containers, DockerSandbox
from orchestrator.sandboxes.errors import EngineFailure, StartFailed
from orchestrator.sandboxes.ports import GatewayDoor, PoolObserver
from orchestrator.sandboxes.settings import SandboxSettings
from orchestrator.sandboxes.shim_link import ShimLink
from orchestrator.sandboxes.slots import Slots
from orchestrator.sessions.profiles import Profile

LONGEST_VERSION = 80
LONGEST_FAILURE = 500

_log = structlog.get_logger(__name__)


class Engine(Containers, Protocol):
    """What of the engine the launcher needs; `DockerEngine` is the real one."""

    @property
    def owner(self) -> Owner: ...
    @property
    def host(self) -> Host: ...
    async def image(self, reference: str) -> Image: ...
    async def create(self, body: dict[str, Any], *, name: str) -> str: ...
    async def start(self, container_id: str) -> None: ...
    async def output(self, container_id: str) -> list[str]: ...
    async def own(self) -> list[OwnContainer]: ...
    async def uids_in_use(self) -> frozenset[int]: ...


class DockerLauncher:
    """The `Launcher` of a pool on Docker."""

    def __init__(
        self,
        *,
        engine: Engine,
        slots: Slots,
        door: GatewayDoor,
        observer: PoolObserver,
        settings: SandboxSettings,
    ) -> None:
        self._engine = engine
        self._slots = slots
        self._door = door
        self._observer = observer
        self._settings = settings
        self._seccomp = seccomp_profile()

    async def version(self, profile: Profile) -> str:
        return (await self._engine.image(profile.image)).id

    async def launch(self, profile: Profile) -> DockerSandbox:
        """Raises SandboxFailure; then nothing of it is left."""
        began = time.monotonic()
        image = await self._engine.image(profile.image)
        sandbox = self._make(profile, image, avoid=await self._engine.uids_in_use())
        try:
            hello = await self._start(sandbox, image)
        except BaseException:
            await sandbox.destroy()
            raise
        sandbox.run()
        _log.info(
            "sandbox.started",
            sandbox=sandbox.id,
            profile=profile.name,
            seconds=round(time.monotonic() - began, 3),
            cli=hello.cli_version[:LONGEST_VERSION],
            import_ms=hello.startup_ms.get("import"),
            connect_ms=hello.startup_ms.get("connect"),
        )
        return sandbox

    def _make(self, profile: Profile, image: Image, *, avoid: frozenset[int]) -> DockerSandbox:
        slot = self._slots.create(profile.agent, avoid=avoid)
        return DockerSandbox(
            SandboxId(f"sb-{secrets.token_hex(8)}"),
            profile=profile,
            version=image.id,
            slot=slot,
            link=ShimLink(slot.link_socket, settings=self._settings.link),
            slots=self._slots,
            containers=self._engine,
            door=self._door,
            observer=self._observer,
            settings=self._settings.pool,
        )

    async def _start(self, sandbox: DockerSandbox, image: Image) -> Hello:
        container: str | None = None
        try:
            async with asyncio.timeout(self._settings.pool.start_limit):
                container = await self._create(sandbox, image)
                await self._engine.start(container)
                return await self._until_ready(sandbox, container, image)
        except TimeoutError as error:
            sentence = "The sandbox did not become ready in time."
            output = await self._output(container)
            raise StartFailed(sentence, tag="never_ready", output=output) from error

    async def _create(self, sandbox: DockerSandbox, image: Image) -> str:
        try:
            await sandbox.link.open()
            await self._door.open(sandbox.slot.id, sandbox.slot.gateway_socket)
        except OSError as error:
            sentence = f"The slot's sockets could not be opened: {error.strerror}."
            raise StartFailed(sentence, tag="slot_failed") from error
        body = container_body(
            sandbox.profile,
            slot=sandbox.slot,
            image=image,
            host=self._engine.host,
            owner=self._engine.owner,
            seccomp=self._seccomp,
        )
        container = await self._engine.create(body, name=f"casemate-{sandbox.id}")
        sandbox.contain(container)
        return container

    async def _until_ready(self, sandbox: DockerSandbox, container: str, image: Image) -> Hello:
        waits = [
            asyncio.create_task(wait, name=name)
            for name, wait in (
                ("link-greeted", sandbox.link.greeted()),
                ("link-over", sandbox.link.over()),
                ("container-died", self._engine.died(container)),
            )
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            hello = waits[0].result() if waits[0].done() else None
        finally:
            for wait in waits:
                wait.cancel()
        problem = _problem(hello, sandbox.link, image)
        if problem is not None:
            problem.output = await self._output(container)
            raise problem
        assert isinstance(hello, Hello)
        return hello

    async def _output(self, container: str | None) -> list[str]:
        if container is None:
            return []
        try:
            return await self._engine.output(container)
        except EngineFailure as error:
            return [f"(no output: {error.sentence})"]

    async def sweep(self, *, everything: bool = False) -> int:
        """Remove what earlier runs left; with `everything` also what is left of this one."""
        epoch = self._engine.owner.epoch
        leftovers = [
            container.id
            for container in await self._engine.own()
            if everything or container.epoch != epoch
        ]
        results = await asyncio.gather(*map(self._engine.remove, leftovers), return_exceptions=True)
        failed = [result for result in results if isinstance(result, BaseException)]
        slots = self._slots.sweep()
        if leftovers or slots:
            _log.info("leftovers.swept", containers=len(leftovers), failed=len(failed), slots=slots)
        return len(leftovers) - len(failed)


def _problem(hello: Hello | None, link: ShimLink, image: Image) -> StartFailed | None:
    """Why a sandbox that said this, or nothing, is of no use."""
    if link.violation is not None:
        return StartFailed(link.violation.sentence, tag=link.violation.tag)
    if hello is None:
        return StartFailed("The sandbox stopped before it was ready.", tag="start_exited")
    if hello.failure is not None:
        sentence = f"The agent could not be connected: {hello.failure[:LONGEST_FAILURE]}"
        return StartFailed(sentence, tag="agent_failed")
    if hello.version != image.version:
        version = hello.version[:LONGEST_VERSION]
        sentence = f"The shim is of version {version}, its image of {image.version}."
        return StartFailed(sentence, tag="version_mismatch")
    return None
