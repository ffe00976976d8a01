"""One sandbox, from its start to its end: what the broker keeps, link and gateway door together.

For: noticing that any of them is gone, saying why, and taking the others away with it. Not for:
making or claiming one (`launcher`, `pool`).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import structlog

from orchestrator.protocol.broker import sandbox_of
from orchestrator.protocol.chat import Ending
from orchestrator.protocol.commands import SandboxCommand
from orchestrator.protocol.ids import SessionId, SlotId
from orchestrator.protocol.sandbox_events import AgentDied
from orchestrator.sandboxes.background import BackgroundTasks
from orchestrator.sandboxes.errors import EngineUnreachable, SandboxFailure
from orchestrator.sandboxes.exit_reasons import Evidence, ending
from orchestrator.sandboxes.link_workspace import LinkWorkspace
from orchestrator.sandboxes.ports import Broker, ContainerExit, GatewayDoor, PoolObserver
from orchestrator.sandboxes.settings import PoolSettings
from orchestrator.sandboxes.shim_link import ShimLink
from orchestrator.sandboxes.sizing import backoff
from orchestrator.sessions.errors import SandboxStuck
from orchestrator.sessions.ports import ReceivedEvent
from orchestrator.sessions.profiles import Profile

LAST_WORDS_LIMIT = 1.0
"""Seconds for what a dead sandbox had still sent."""
EXIT_LIMIT = 0.5
"""Seconds for Docker to see the death of a container whose link broke."""
EXIT_ANSWER_LIMIT = 3.0
"""Seconds to ask how a container ended: a person waits for the reason."""

_log = structlog.get_logger(__name__)


class DockerSandbox:
    """A `Member` of a pool, then a session's `Sandbox`. Made by the launcher; `run` starts it."""

    def __init__(
        self,
        slot: SlotId,
        *,
        profile: Profile,
        version: str,
        link: ShimLink,
        broker: Broker,
        door: GatewayDoor,
        observer: PoolObserver,
        settings: PoolSettings,
        current: Callable[["DockerSandbox"], bool] = lambda _: True,
    ) -> None:
        self.id = sandbox_of(slot)
        self.profile = profile
        self.version = version
        self.link = link
        self.workspace = LinkWorkspace(link.transfers)
        self.slot = slot
        self._broker = broker
        self._door = door
        self._observer = observer
        self._settings = settings
        self._current = current
        self._changing = asyncio.Lock()
        self._frozen = False
        self._tasks = BackgroundTasks()
        self._ending: Ending | None = None
        self._ended = asyncio.Event()
        self._gone = asyncio.Event()
        self._destruction: asyncio.Task[None] | None = None
        self._log = _log.bind(sandbox=self.id, profile=profile.name)

    @property
    def memory_limit(self) -> int:
        return self.profile.resources.memory

    @property
    def memory_usage(self) -> int:
        return self.link.memory.usage if self.link.memory is not None else 0

    @property
    def ending(self) -> Ending | None:
        return self._ending

    @property
    def is_current(self) -> bool:
        return self._current(self)

    @property
    def is_gone(self) -> bool:
        """Container and slot are."""
        return self._gone.is_set()

    @property
    def alive(self) -> bool:
        return self._ending is None and self._destruction is None and self.link.alive

    def run(self) -> None:
        """It is ready: from now on its death is noticed."""
        self._tasks.start(self._watch(), name=f"sandbox-{self.id}")

    def assign(self, session: SessionId, *, used_tokens: int = 0) -> None:
        """Nothing is waited for here: this is the way of every claim. The first command goes out
        once the broker knows, so that nobody ever takes a used sandbox for a spare one."""
        self._door.admit(
            self.slot, session_id=session, profile=self.profile, used_tokens=used_tokens
        )
        self.link.hold("claim")
        self.link.claim()
        self._log = self._log.bind(session=session)
        self._tasks.start(self._tell_of_claim(), name=f"sandbox-claim-{self.id}")

    async def _tell_of_claim(self) -> None:
        failures = 0
        while self._ending is None:
            try:
                await self._broker.claim(self.slot)
                break
            except SandboxFailure as error:
                failures += 1
                self._log.warning("sandbox.claim_untold", reason=error.sentence)
                await asyncio.sleep(backoff(failures, first=0.1, most=5.0))
        self.link.let_go("claim")

    async def send(self, command: SandboxCommand) -> None:
        self.link.send(command)

    async def events(self) -> AsyncIterator[list[ReceivedEvent]]:
        async for batch in self.link.events():
            yield batch
            if any(isinstance(received.event, AgentDied) for received in batch):
                break
        await self._ended.wait()

    def acknowledge(self, n: int) -> None:
        self.link.acknowledge(n)

    async def freeze(self) -> None:
        """Where it fails, or is broken off, it goes on; that is seen to even so."""
        async with self._changing:
            if self._frozen:
                return
            self._frozen = True  # from here on it may be
            self.link.hold("frozen")
            try:
                await self._broker.freeze(self.slot)
            except BaseException as error:
                self._tasks.start(self._go_on(), name=f"sandbox-go-on-{self.id}")
                if isinstance(error, SandboxFailure):
                    raise SandboxStuck from error
                raise

    async def _go_on(self) -> None:
        """Nobody else will see to it: to them it is not frozen."""
        failures = 0
        while self._ending is None:
            try:
                async with self._changing:
                    await self._thaw()
                break
            except SandboxFailure as error:
                failures += 1
                self._log.warning("sandbox.thaw_failed", reason=error.sentence)
                await asyncio.sleep(backoff(failures, first=0.1, most=5.0))

    async def thaw(self) -> None:
        async with self._changing:
            try:
                await self._thaw()
            except SandboxFailure as error:
                raise SandboxStuck from error

    async def _thaw(self) -> None:
        if self._frozen:
            await self._broker.thaw(self.slot)
            self._frozen = False
            self.link.let_go("frozen")

    async def ran_out_of_memory(self) -> None:
        await self._broker.ran_out_of_memory(self.slot)

    async def give_transcript(self, ask_id: str, pieces: AsyncIterator[bytes] | None) -> None:
        await self.workspace.give_transcript(ask_id, pieces)

    async def gone(self) -> None:
        await self._gone.wait()

    async def destroy(self) -> None:
        """Idempotent. Returns when container and slot are gone, or after the settings' limit."""
        if self._ending is None:
            self._end(ending(Evidence(destroyed=True)))
        try:
            async with asyncio.timeout(self._settings.destroy_limit):
                await asyncio.shield(self._begin_destruction())
        except TimeoutError:
            self._log.error("sandbox.destroy_delayed", limit=self._settings.destroy_limit)

    # --- the end ---------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Wait for whatever ends it first, say what it was, and take the rest away."""
        died = asyncio.create_task(self._broker.died(self.slot), name="container-died")
        over = asyncio.create_task(self.link.over(), name="link-over")
        try:
            await asyncio.wait((died, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            died.cancel()
            over.cancel()
        if self.link.violation is None:
            await self.link.drained(limit=LAST_WORDS_LIMIT)
        if self._ending is None:
            self._end(ending(await self._evidence()))
        self._begin_destruction()

    async def _evidence(self) -> Evidence:
        state = await self._exit()
        memory = self.link.memory
        return Evidence(
            violation=self.link.violation,
            agent_died=self.link.agent_died,
            oom_kills=max(state.memory_told, memory.oom_kills if memory is not None else 0),
            oom_killed=state.oom_killed,
            exited=state.over,
            exit_code=state.exit_code,
            broker_lost=state.broker_lost,
            engine_away=state.engine_away,
        )

    async def _exit(self) -> ContainerExit:
        """How the container ended, if it did: an agent may be dead while its container lives."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EXIT_LIMIT):
                await self._broker.died(self.slot)
        try:
            async with asyncio.timeout(EXIT_ANSWER_LIMIT):
                return await self._broker.exit_of(self.slot)
        except EngineUnreachable:
            return ContainerExit(over=True, engine_away=True)
        except SandboxFailure as error:
            self._log.warning("sandbox.exit_unknown", reason=error.sentence)
        except TimeoutError:
            self._log.warning("sandbox.exit_unknown", limit=EXIT_ANSWER_LIMIT)
        return ContainerExit(over=False)

    def _end(self, why: Ending) -> None:
        self._ending = why
        self._ended.set()
        self._log.info("sandbox.ended", tag=why.tag, sentence=why.sentence)

    def _begin_destruction(self) -> asyncio.Task[None]:
        if self._destruction is None:
            self._destruction = asyncio.create_task(
                self._destroy(), name=f"sandbox-destruction-{self.id}"
            )
        return self._destruction

    async def _destroy(self) -> None:
        """Tries until it is gone: what is left behind would cost memory and hide a sandbox."""
        began, failures = time.monotonic(), 0
        closing = (self.link.close(), self._door.close(self.slot))
        removed, *closed = await asyncio.gather(self._remove(), *closing, return_exceptions=True)
        for error in closed:
            if isinstance(error, BaseException):
                self._log.error("sandbox.close_failed", exc_info=error)
        while removed is not True:
            failures += 1
            await asyncio.sleep(backoff(failures, first=0.2, most=10.0))
            removed = await self._remove()
        await self._tasks.close()
        self._gone.set()
        seconds = time.monotonic() - began
        reason = self._ending.tag if self._ending is not None else "unknown"
        self._observer.sandbox_ended(self.profile.name, reason=reason)
        self._log.info("sandbox.destroyed", seconds=round(seconds, 3))

    async def _remove(self) -> bool:
        try:
            await self._broker.destroy(self.slot)
        except SandboxFailure as error:
            self._log.warning("sandbox.destroy_failed", reason=error.sentence)
            return False
        return True
