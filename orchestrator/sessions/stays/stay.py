"""One sandbox's time with its session, from the claim to the day it is gone.

For: reading what it says until it says no more, freezing and thawing it around its use, and why it
is over. Not for what its words mean, or what follows for the session.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from orchestrator.protocol.chat import Ending
from orchestrator.protocol.commands import ResumeAgent, SandboxCommand
from orchestrator.protocol.events import Event
from orchestrator.protocol.sandbox_events import AgentResumed, CommandFailed
from orchestrator.protocol.transcripts import TranscriptWord
from orchestrator.sessions.errors import SandboxStuck, StorageFailed
from orchestrator.sessions.kept.transcripts import Transcripts
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.ports import ReceivedEvent, Sandbox
from orchestrator.sessions.stays.misbehaviour import SandboxMisbehaved
from orchestrator.sessions.view import endings

logger = logging.getLogger(__name__)


class Said(msgspec.Struct, frozen=True):
    """What a sandbox said that is the session's, with the sandbox's own number."""

    event: Event
    n: int
    size: int


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """Why a sandbox is gone that nobody wished away."""

    ending: Ending
    for_good: bool = False
    """The session cannot go on in another one either."""


class NotResumed(Exception):
    """The agent could not be connected with its earlier conversation."""


class Stay:
    """`logged`: the highest number of its events that the log holds already, from before the
    control plane was started anew."""

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        transcripts: Transcripts,
        limits: SessionLimits,
        on_frozen: Callable[[bool], None],
        on_stuck: Callable[[bool], None],
        logged: int = 0,
    ) -> None:
        self.sandbox = sandbox
        self.transcripts = transcripts
        self.logged = logged
        self.assigned = False
        self.frozen = False
        self.prelude: list[Said] = []
        """What it said before it was the session's."""
        self.died: Ending | None = None
        """Set once the agent said that it is dead."""
        self.told: set[str] = set()
        """Whose answers went to this sandbox."""
        self.written = 0
        """How often people did what may have changed its files: uploads, prompts, answers."""
        self.left = False
        """The session is out of it, or about to be: what is done there now is not kept."""
        self.dismissed = False
        """The session goes on without it: what it still says is nobody's."""
        self.loss: Loss | None = None
        self.over, self._dying = asyncio.Event(), asyncio.Event()
        self.reading: asyncio.Task[None] | None = None
        self._limits = limits
        self._on_frozen = on_frozen
        self._on_stuck = on_stuck
        self._half_frozen = False
        """The engine was told to freeze it, and did not say that it did."""
        self._killed_for: Ending | None = None
        self._gate = asyncio.Lock()
        self._users = 0
        self._resumed: asyncio.Future[AgentResumed | CommandFailed] | None = None
        self._destroying: asyncio.Task[None] | None = None

    @property
    def in_use(self) -> bool:
        """Somebody's files are on their way, or a command."""
        return self._users > 0

    async def is_over_soon(self) -> bool:
        """Something failed with it: whether that is because it is gone, which may take a moment to
        be known."""
        try:
            async with asyncio.timeout(self._limits.death_grace_seconds):
                await self.over.wait()
        except TimeoutError:
            return False
        return True

    async def dies_soon(self) -> bool:
        """Something in it was killed: whether it goes with that, as far as that shows in time."""
        try:
            async with asyncio.timeout(self._limits.death_shows_seconds):
                await self._dying.wait()
        except TimeoutError:
            return False
        return True

    # --- what it is told ---------------------------------------------------------------------

    async def send(self, command: SandboxCommand) -> None:
        """Thaws it first. One that cannot be thawed is given up; that is told by `over`."""
        self.written += 1
        try:
            async with self.used():
                await self.sandbox.send(command)
        except SandboxStuck:
            logger.warning("sandbox.stuck", extra={"sandbox_id": self.sandbox.id})

    @asynccontextmanager
    async def used(self) -> AsyncIterator[None]:
        """Thawed, and not frozen before this is over. Raises SandboxStuck."""
        self._users += 1
        try:
            await self.thaw()
            yield
        finally:
            self._users -= 1

    async def sync(self) -> bool:
        """Have it say the rest of the transcript. False where it did not, also because it is gone.
        Raises SandboxStuck."""
        async with self.used():
            work = self.transcripts.sync(seconds=self._limits.sync_seconds)
            saying = asyncio.create_task(work, name=f"session-sync-{self.sandbox.id}")
            await self._or_over(saying)
        return not saying.cancelled() and saying.result()

    async def freeze(self) -> bool:
        """Whether it rests now: not while it is in use. Raises SandboxStuck."""
        async with self._gate:
            if self._users or self.over.is_set():
                return False
            try:
                await self._bounded(self.sandbox.freeze())
            except SandboxStuck:
                self._half_frozen = True
                self._on_stuck(True)  # noqa: FBT003 - the one thing it is told
                raise
            self._set_frozen(frozen=True)
            return True

    async def thaw(self) -> None:
        """Raises SandboxStuck, and then it is given up."""
        async with self._gate:
            if not self.frozen and not self._half_frozen:
                return
            try:
                await self._bounded(self.sandbox.thaw())
            except SandboxStuck:
                self._on_stuck(False)  # noqa: FBT003 - as above
                self.kill(endings.SANDBOX_STUCK)
                raise
            self._set_frozen(frozen=False)

    async def resume(self, command: ResumeAgent) -> AgentResumed:
        """Raises NotResumed."""
        self._resumed = asyncio.get_running_loop().create_future()
        await self.send(command)
        await self._or_over(self._resumed, seconds=self._limits.resume_seconds)
        if self._resumed.cancelled():
            raise NotResumed("The agent did not answer.")
        answer = self._resumed.result()
        if isinstance(answer, CommandFailed):
            raise NotResumed(answer.text)
        return answer

    async def _or_over(self, work: asyncio.Future[Any], *, seconds: float | None = None) -> None:
        """Until it is done, or cancelled because the sandbox was gone or the time was up."""
        over = asyncio.ensure_future(self.over.wait())
        try:
            await asyncio.wait([work, over], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            work.cancel()
        await asyncio.wait([work])

    def take_resumed(self, answer: AgentResumed | CommandFailed) -> None:
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(answer)

    # --- what it says ------------------------------------------------------------------------

    def start(self, take: Callable[[list[ReceivedEvent]], Awaitable[None]], *, name: str) -> None:
        """Read it until it is gone; `take` gets what is not for the transcript alone, with a batch
        that may be empty."""
        self.reading = asyncio.create_task(self._read(take), name=name)

    async def _read(self, take: Callable[[list[ReceivedEvent]], Awaitable[None]]) -> None:
        try:
            async for batch in self.sandbox.events():
                for received in batch:
                    if self.dismissed:
                        return
                    if isinstance(received.event, TranscriptWord):
                        await self.transcripts.take(received)
                await take(batch)
            self.lose(Loss(ending=self._why()))
        except SandboxMisbehaved as broken:
            logger.warning("sandbox.misbehaved", extra={"sandbox_id": self.sandbox.id})
            self.lose(Loss(ending=broken.ending, for_good=broken.ending.tag in endings.FINAL))
        except StorageFailed:
            logger.exception("session.reading_failed", extra={"sandbox_id": self.sandbox.id})
            self.lose(Loss(ending=endings.STORAGE_FAILED, for_good=True))
        except Exception:
            logger.exception("session.reading_failed", extra={"sandbox_id": self.sandbox.id})
            self.lose(Loss(ending=endings.INTERNAL_ERROR, for_good=True))

    def _why(self) -> Ending:
        return self._killed_for or endings.lost(self.sandbox.ending, died=self.died)

    # --- its end -----------------------------------------------------------------------------

    def lose(self, loss: Loss) -> None:
        """Whoever comes first says why."""
        if self.loss is None:
            self.loss = loss
            self._dying.set()
            self.over.set()

    def kill(self, ending: Ending) -> None:
        """Take it away, for this reason; what it still says is read."""
        self._killed_for = self._killed_for or ending
        self._bury(after=0.0)

    def agent_died(self, why: Ending) -> None:
        """It is of no more use; it has a moment to say more, then it goes."""
        self.died = why
        self._bury(after=self._limits.death_grace_seconds)

    def _bury(self, *, after: float) -> None:
        self._dying.set()
        if self._destroying is None:
            work = self._destroy_after(after)
            self._destroying = asyncio.create_task(work, name=f"session-bury-{self.sandbox.id}")

    async def give_up(self, *, last_words: float = 0.0) -> None:
        """Nothing of it is left. What it still says is taken for so many seconds."""
        await self._destroy()
        await self._stop_reading(last_words)
        await self.transcripts.close()
        self.over.set()

    async def _destroy_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._destroy()
        if self.reading is not None:
            await asyncio.wait([self.reading], timeout=self._limits.destroy_seconds)
        self.lose(Loss(ending=self._why()))

    async def _destroy(self) -> None:
        """Whatever happens here, the session goes on; what is left is swept by its engine."""
        try:
            await asyncio.wait_for(self.sandbox.destroy(), self._limits.destroy_seconds)
        except Exception:
            extra = {"sandbox_id": self.sandbox.id}
            logger.exception("sandbox.destroy_failed", extra=extra)

    async def _stop_reading(self, last_words: float) -> None:
        if self.reading is None:
            return
        if last_words:
            await asyncio.wait([self.reading], timeout=last_words)
        self.reading.cancel()
        await asyncio.wait([self.reading])

    def _set_frozen(self, *, frozen: bool) -> None:
        self.frozen, self._half_frozen = frozen, False
        if not self.dismissed:
            self._on_frozen(frozen)

    async def _bounded(self, work: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._limits.thaw_seconds):
                await work
        except TimeoutError:
            raise SandboxStuck from None
