"""Makes sandboxes: the broker starts one, link and door serve its sockets; ready when its shim says
so.

What fails on the way is taken apart again, and why is told with the container's last lines. Those
that outlived an earlier control plane are taken over here in the same way.
"""

import asyncio
import secrets
import time
from collections.abc import Collection

import structlog

from orchestrator.protocol.broker import BrokeredSandbox
from orchestrator.protocol.ids import ProfileName, SessionId, SlotId
from orchestrator.protocol.link import Hello
from orchestrator.sandboxes.docker_sandbox import DockerSandbox
from orchestrator.sandboxes.errors import SandboxFailure, StartFailed
from orchestrator.sandboxes.ports import Broker, BrokeredBuild, GatewayDoor, PoolObserver
from orchestrator.sandboxes.profile_digest import digest_of
from orchestrator.sandboxes.settings import SandboxSettings
from orchestrator.sandboxes.shim_link import ShimLink
from orchestrator.sandboxes.slot_sockets import SlotSockets
from orchestrator.sessions.profiles import Profile

LONGEST_VERSION = 80
LONGEST_FAILURE = 500
OUTPUT_LIMIT = 5.0
"""Seconds to ask for a container's last lines."""

_log = structlog.get_logger(__name__)


class DockerLauncher:
    """The `Launcher` of a pool on Docker. It never speaks with Docker itself."""

    def __init__(
        self,
        *,
        broker: Broker,
        door: GatewayDoor,
        observer: PoolObserver,
        settings: SandboxSettings,
    ) -> None:
        self._broker = broker
        self._door = door
        self._observer = observer
        self._settings = settings
        self._made: dict[SlotId, DockerSandbox] = {}
        self._current: dict[ProfileName, tuple[str, Profile]] = {}

    async def version(self, profile: Profile) -> str:
        image = (await self._build(profile)).image
        self._current[profile.name] = (image, profile)
        return image

    def _is_current(self, sandbox: DockerSandbox) -> bool:
        current = self._current.get(sandbox.profile.name)
        return current in (None, (sandbox.version, sandbox.profile))

    async def _build(self, profile: Profile) -> BrokeredBuild:
        """Raises SandboxFailure, also where the broker knows the profile otherwise: then what is
        allowed here and what is made there would not fit."""
        build = await self._broker.build(profile.name)
        if build.profile != digest_of(profile):
            raise StartFailed(
                f"The broker knows the profile {profile.name!r} otherwise. Restart it and Casemate "
                "with the same profiles.",
                tag="profile_differs",
            )
        return build

    async def launch(self, profile: Profile) -> DockerSandbox:
        """Raises SandboxFailure; then nothing of it is left."""
        began = time.monotonic()
        build = await self._build(profile)
        sandbox = self._make(SlotId(secrets.token_hex(16)), profile, version=build.image)
        try:
            hello = await self._start(sandbox, build)
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

    def _make(
        self, slot: SlotId, profile: Profile, *, version: str, held: int | None = None
    ) -> DockerSandbox:
        """Known from here on, so that nobody takes it for one that is nobody's."""
        sandbox = self._made[slot] = DockerSandbox(
            slot,
            profile=profile,
            version=version,
            link=ShimLink(settings=self._settings.link, held=held),
            broker=self._broker,
            door=self._door,
            observer=self._observer,
            settings=self._settings.pool,
            current=self._is_current,
        )
        return sandbox

    async def _start(self, sandbox: DockerSandbox, build: BrokeredBuild) -> Hello:
        try:
            async with asyncio.timeout(self._settings.pool.start_limit):
                started = await self._broker.create(sandbox.profile.name, sandbox.slot)
                await self._serve(sandbox, started.sockets)
                if started.image != build.image:
                    sentence = "The image was built anew in this moment."
                    raise StartFailed(sentence, tag="version_mismatch")
                return await self._until_ready(sandbox, version=build.version)
        except TimeoutError as error:
            sentence = "The sandbox did not become ready in time."
            output = await self._output(sandbox)
            raise StartFailed(sentence, tag="never_ready", output=output) from error

    async def _serve(self, sandbox: DockerSandbox, sockets: SlotSockets) -> None:
        try:
            await sandbox.link.open(sockets.link)
            await self._door.open(sandbox.slot, model=sockets.model, egress=sockets.egress)
        except OSError as error:
            sockets.close()
            sentence = f"The slot's sockets could not be opened: {error.strerror}."
            raise StartFailed(sentence, tag="slot_failed") from error

    async def _until_ready(self, sandbox: DockerSandbox, *, version: str) -> Hello:
        waits = [
            asyncio.create_task(wait, name=name)
            for name, wait in (
                ("link-greeted", sandbox.link.greeted()),
                ("link-over", sandbox.link.over()),
                ("container-died", self._broker.died(sandbox.slot)),
            )
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            hello = waits[0].result() if waits[0].done() else None
        finally:
            for wait in waits:
                wait.cancel()
        problem = _problem(hello, sandbox.link, version=version)
        if problem is not None:
            problem.output = await self._output(sandbox)
            raise problem
        assert isinstance(hello, Hello)
        return hello

    async def _output(self, sandbox: DockerSandbox) -> list[str]:
        try:
            async with asyncio.timeout(OUTPUT_LIMIT):
                return await self._broker.output(sandbox.slot)
        except SandboxFailure as error:
            return [f"(no output: {error.sentence})"]
        except TimeoutError:
            return ["(no output in time)"]

    # --- those that are there already ------------------------------------------------------------

    async def survivors(self) -> list[BrokeredSandbox]:
        return await self._broker.sandboxes()

    async def adopt(
        self,
        survivor: BrokeredSandbox,
        profile: Profile,
        *,
        session: SessionId | None,
        held: int = 0,
        used_tokens: int = 0,
    ) -> DockerSandbox:
        build = await self._build(profile)
        if survivor.state == "frozen":
            await self._broker.thaw(survivor.slot)
        started = await self._broker.adopt(survivor.slot)
        sandbox = self._make(survivor.slot, profile, version=started.image, held=held)
        try:
            await self._serve(sandbox, started.sockets)
            if session is not None:  # before what its agent waited for is answered
                sandbox.assign(session, used_tokens=used_tokens)
            hello = await self._until_back(sandbox, version=started.version)
            if session is None:
                _require_spare(survivor, hello, is_current=started.image == build.image)
        except BaseException:
            await sandbox.destroy()
            raise
        sandbox.run()
        _log.info("sandbox.adopted", sandbox=sandbox.id, profile=profile.name, session=session)
        return sandbox

    async def _until_back(self, sandbox: DockerSandbox, *, version: str) -> Hello:
        try:
            async with asyncio.timeout(self._settings.pool.adopt_limit):
                return await self._until_ready(sandbox, version=version)
        except TimeoutError as error:
            sentence = "The sandbox did not come back in time."
            raise StartFailed(sentence, tag="not_back") from error

    async def discard(self, survivor: BrokeredSandbox) -> None:
        await self._broker.destroy(survivor.slot)

    async def reconcile(self, *, spared: Collection[SlotId]) -> int:
        """One that the broker keeps is known here from before it was asked for until it is gone."""
        self._made = {slot: one for slot, one in self._made.items() if not one.is_gone}
        listed = await self._broker.sandboxes()
        count = 0
        for slot in (one.slot for one in listed if one.state != "leaving"):
            if slot not in self._made and slot not in spared:
                _log.warning("stray_sandbox.destroyed", slot=slot)
                await self._broker.destroy(slot)
                count += 1
        return count

    async def sweep(self, *, everything: bool = False) -> int:
        """Remove what earlier runs left; with `everything` also what is left of this one."""
        return await self._broker.sweep(everything=everything)


def _problem(hello: Hello | None, link: ShimLink, *, version: str) -> StartFailed | None:
    """Why a sandbox that said this, or nothing, is of no use."""
    if link.violation is not None:
        return StartFailed(link.violation.sentence, tag=link.violation.tag)
    if hello is None:
        return StartFailed("The sandbox stopped before it was ready.", tag="start_exited")
    if hello.failure is not None:
        sentence = f"The agent could not be connected: {hello.failure[:LONGEST_FAILURE]}"
        return StartFailed(sentence, tag="agent_failed")
    if hello.version != version:
        told = hello.version[:LONGEST_VERSION]
        sentence = f"The shim is of version {told}, its image of {version}."
        return StartFailed(sentence, tag="version_mismatch")
    return None


def _require_spare(survivor: BrokeredSandbox, hello: Hello, *, is_current: bool) -> None:
    """Raises StartFailed for one that may not be handed to just anybody."""
    if survivor.claimed or hello.received:
        raise StartFailed("It was used before.", tag="not_spare")
    if not is_current:
        raise StartFailed("There is a newer image.", tag="not_spare")
