"""A whole world of fakes around the real `Sessions`, and a browser in it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.chat import (
    BrowserCommand,
    Events,
    Prompt,
    Resume,
    SessionChanged,
    SessionState,
    SessionView,
    Snapshot,
    server_frame_codec,
)
from orchestrator.protocol.events import Event, event_codec
from orchestrator.protocol.ids import ClientId, ProfileName, SessionId, UserId
from orchestrator.sessions.clock import SystemClock
from orchestrator.sessions.journal.room import Follower
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.ports import Actor, Ports, SessionListener, StayStep
from orchestrator.sessions.profiles import FixedProfiles, Profile
from orchestrator.sessions.service import Sessions
from orchestrator.testing.fake_pool import FakePool
from orchestrator.testing.memory_checkpoints import (
    MemoryBlobStore,
    MemoryCheckpointStore,
    MemoryHost,
)
from orchestrator.testing.memory_stores import (
    MemoryDatabase,
    MemoryEventLog,
    MemorySessionStore,
)
from orchestrator.testing.memory_transcripts import MemoryTranscriptStore

T = TypeVar("T")

ANNA = Actor(id=UserId("anna"), name="Anna")
BERT = Actor(id=UserId("bert"), name="Bert", is_admin=True)
PROFILE = Profile(
    name=ProfileName("default"),
    title="Default",
    agent=AgentSetup(model="claude-test"),
    models=("claude-*", "other-1"),
)
LIMITS = SessionLimits(
    storage_retry_seconds=0.001,
    death_grace_seconds=0.02,
    death_shows_seconds=0.05,
    destroy_seconds=1,
    thaw_seconds=0.5,
    resume_seconds=1,
    sync_seconds=0.5,
    adopt_seconds=1,
    drain_seconds=0.1,
    interrupt_seconds=0.5,
    close_seconds=2,
)


async def eventually(condition: Callable[[], T], *, seconds: float = 5.0) -> T:
    """Wait until `condition()` is true; its value."""
    async with asyncio.timeout(seconds):
        while not (value := condition()):  # noqa: ASYNC110 - any condition, in tests
            await asyncio.sleep(0.001)
        return value


class Browser:
    """One follower that folds its frames, as the page does."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.raw: list[str] = []
        self.frames: list[Any] = []
        self.events: list[Any] = []
        self.seqs: list[int] = []
        self.view: Any = None
        self.epoch = ""
        self._arrived = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for raw in self.follower:
            self.raw.append(raw)
            frame = server_frame_codec.decode(raw)
            self.frames.append(frame)
            self.epoch = getattr(frame, "epoch", "") or self.epoch
            if isinstance(frame, Snapshot):
                self.events, self.seqs, self.view = [], [], frame.session
            if isinstance(frame, SessionChanged):
                self.view = frame.session
            if isinstance(frame, Snapshot | Events):
                for sequenced in frame.events:
                    self.events.append(event_codec.decode(bytes(sequenced.event)))
                    self.seqs.append(sequenced.seq)
            self._arrived.set()

    @property
    def seq(self) -> int:
        return int(self.frames[-1].seq)

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, condition: Callable[["Browser"], T], *, seconds: float = 5.0) -> T:
        """Wait for frames until `condition(self)` is true; its value."""
        async with asyncio.timeout(seconds):
            while not (value := condition(self)):
                self._arrived.clear()
                await self._arrived.wait()
            return value

    async def until_state(self, state: SessionState) -> None:
        await self.until(lambda b: b.view is not None and b.view.state == state)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


class World:
    def __init__(
        self,
        *,
        size: int = 2,
        limits: SessionLimits = LIMITS,
        listeners: tuple[SessionListener, ...] = (),
        profile: Profile = PROFILE,
        on_step: Callable[[StayStep, str], None] = lambda _step, _outcome: None,
        **pool: Any,
    ) -> None:
        self.profile = profile
        self.database = MemoryDatabase()
        self.pool = FakePool(size=size, **pool)
        self.limits = limits
        self.listeners = listeners
        self.on_step = on_step
        self.store = MemorySessionStore(self.database)
        self.log = MemoryEventLog(self.database)
        self.transcripts = MemoryTranscriptStore()
        self.checkpoints = MemoryCheckpointStore()
        self.blobs = MemoryBlobStore()
        self.host = MemoryHost()
        self.sessions = self.new_process()

    def new_process(self) -> Sessions:
        """What a restarted control plane has: the same database, and nothing else."""
        ports = Ports(
            store=self.store,
            log=self.log,
            pool=self.pool,
            catalogue=FixedProfiles([self.profile]),
            clock=SystemClock(),
            transcripts=self.transcripts,
            checkpoints=self.checkpoints,
            blobs=self.blobs,
            host=self.host,
            listeners=self.listeners,
            on_step=self.on_step,
        )
        return Sessions(ports, self.limits)

    async def create(
        self,
        actor: Actor = ANNA,
        *,
        wait: bool = True,
        title: str | None = None,
        key: str | None = None,
        profile: ProfileName | None = None,
    ) -> SessionView:
        return await self.sessions.create(
            actor, profile=profile, title=title, idempotency_key=key, wait=wait
        )

    async def say(
        self,
        session_id: SessionId,
        text: str,
        *,
        client_id: str | None = None,
        actor: Actor = ANNA,
    ) -> None:
        """Send a prompt; its client id is made from its text unless given."""
        prompt = Prompt(client_id=ClientId(client_id or f"c-{text[:50]}"), text=text)
        await self.sessions.command(actor, session_id, prompt)

    async def command(
        self, session_id: SessionId, command: BrowserCommand, *, actor: Actor = ANNA
    ) -> None:
        await self.sessions.command(actor, session_id, command)

    @asynccontextmanager
    async def browser(
        self, session_id: SessionId, *, seq: int = 0, epoch: str = "", actor: Actor = ANNA
    ) -> AsyncIterator[Browser]:
        async with self.sessions.attach(
            actor, session_id, Resume(seq=seq, epoch=epoch)
        ) as follower:
            browser = Browser(follower)
            await browser.until(lambda b: b.frames)
            try:
                yield browser
            finally:
                await browser.close()

    def logged(self, session_id: SessionId) -> list[Event]:
        return [event_codec.decode(e.body) for e in self.database.events[session_id]]

    async def state(self, session_id: SessionId, actor: Actor = ANNA) -> SessionState:
        return (await self.sessions.view(actor, session_id)).state
