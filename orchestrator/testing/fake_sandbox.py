"""A sandbox and a pool in memory, for tests of whatever stands above them.

`FakeSandbox` obeys the same prompts as the scripted model, line by line: plain text, `!bash CMD`,
`!ask`, `!say N words`, `!slow SECONDS`, `!fail STATUS`, `!die`. `FakePool` claims fairly, like
the real one. Not for what only a container can show: memory, time to start, the link.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import assert_never

from orchestrator.protocol.chat import Ending
from orchestrator.protocol.commands import (
    AnswerPermission,
    AnswerQuestion,
    Interrupt,
    OpenTransfer,
    SandboxCommand,
    SetModel,
    SetPermissionMode,
    StartTurn,
)
from orchestrator.protocol.ids import (
    ProfileName,
    SandboxId,
    SessionId,
)
from orchestrator.protocol.sandbox_events import (
    ModelChanged,
    PermissionModeChanged,
    SandboxEvent,
    sandbox_event_codec,
)
from orchestrator.protocol.wire import Unrecognised
from orchestrator.sessions.errors import NoSandboxFree, ShuttingDown, UnknownProfile
from orchestrator.sessions.ports import ReceivedEvent
from orchestrator.testing.fake_agent import FakeAgent
from orchestrator.testing.fake_workspace import FakeWorkspace

MAX_UNREAD_EVENTS = 10_000


class FakeSandbox:
    """One claimed sandbox. `sent` keeps every command, `acknowledged` the highest number."""

    def __init__(
        self,
        sandbox_id: SandboxId,
        *,
        memory_limit: int = 1536 << 20,
        destroy_seconds: float = 0.0,
        on_destroyed: Callable[["FakeSandbox"], None] = lambda _: None,
    ) -> None:
        self._id = sandbox_id
        self._memory_limit = memory_limit
        self._destroy_seconds = destroy_seconds
        self._on_destroyed = on_destroyed
        self._unread: asyncio.Queue[ReceivedEvent | None] = asyncio.Queue(MAX_UNREAD_EVENTS)
        self._numbers = itertools.count(1)
        self._agent = FakeAgent(sandbox_id, say=self.say, die=self._die)
        self._ending: Ending | None = None
        self.workspace = FakeWorkspace()
        self.session: SessionId | None = None
        self.sent: list[SandboxCommand] = []
        self.acknowledged = 0
        self.destroyed = False

    @property
    def id(self) -> SandboxId:
        return self._id

    @property
    def memory_limit(self) -> int:
        return self._memory_limit

    @property
    def ending(self) -> Ending | None:
        return self._ending

    async def send(self, command: SandboxCommand) -> None:
        if self._ending is not None:
            return
        self.sent.append(command)
        match command:
            case StartTurn():
                self._agent.start(command)
            case Interrupt(turn_id=turn_id):
                await self._agent.interrupt(turn_id)
            case AnswerPermission(permission_id=key) | AnswerQuestion(question_id=key):
                self._agent.take_answer(key, command)
            case SetModel(model=model):
                self.say(ModelChanged(model=model))
            case SetPermissionMode(mode=mode):
                self.say(PermissionModeChanged(mode=mode))
            case OpenTransfer() | Unrecognised():
                pass
            case _:
                assert_never(command)

    async def events(self) -> AsyncIterator[list[ReceivedEvent]]:
        while (first := await self._unread.get()) is not None:
            batch = [first]
            while not self._unread.empty() and (following := self._unread.get_nowait()):
                batch.append(following)
            yield batch
            if self._ending is not None and self._unread.empty():
                return

    def acknowledge(self, n: int) -> None:
        self.acknowledged = max(self.acknowledged, n)

    async def destroy(self) -> None:
        if self.destroyed:
            return
        self.lose(Ending(tag="destroyed", sentence="The sandbox was destroyed."))
        await asyncio.sleep(self._destroy_seconds)
        if not self.destroyed:
            self.destroyed = True
            self._on_destroyed(self)

    # --- what tests make it do ---------------------------------------------------------------

    def say(self, event: SandboxEvent) -> None:
        """Put one event on the link, whatever it is: a hostile sandbox says what it likes."""
        self.say_raw(sandbox_event_codec.encode(event).encode())

    def say_raw(self, body: bytes) -> None:
        """The bytes as they would come from the link, decoded as the real link does it."""
        event = sandbox_event_codec.decode(body)
        if self._ending is None:
            received = ReceivedEvent(n=next(self._numbers), event=event, body=body)
            self._unread.put_nowait(received)

    def lose(self, ending: Ending) -> None:
        """The container is gone, for the reason given. Events already said can still be read."""
        if self._ending is None:
            self._ending = ending
            self.workspace.is_gone = True
            self._agent.kill()
            self._unread.put_nowait(None)

    def _die(self) -> None:
        self.lose(Ending(tag="agent_died", sentence="Claude's process in the sandbox was killed."))


class FakePool:
    """Sandboxes made on demand up to `size`; those who come when it is reached wait in order.

    `made` keeps every sandbox; `most_at_once` proves that the ceiling held.
    """

    def __init__(
        self,
        *,
        size: int = 2,
        queue_limit: int = 100,
        patience: float = 30.0,
        retry_after: int = 5,
        profiles: tuple[str, ...] = ("default",),
        destroy_seconds: float = 0.0,
    ) -> None:
        self._size = size
        self._queue_limit = queue_limit
        self._patience = patience
        self._retry_after = retry_after
        self._profiles = profiles
        self._destroy_seconds = destroy_seconds
        self._waiting: deque[tuple[asyncio.Future[FakeSandbox], Callable[[int], None]]] = deque()
        self._closed = False
        self.live: set[FakeSandbox] = set()
        self.made: list[FakeSandbox] = []
        self.most_at_once = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def claim(
        self,
        profile: ProfileName,
        *,
        session: SessionId,
        on_place: Callable[[int], None],
    ) -> FakeSandbox:
        if self._closed:
            raise ShuttingDown
        if profile not in self._profiles:
            raise UnknownProfile
        if len(self.live) < self._size and not self._waiting:
            sandbox = self._make()
        else:
            sandbox = await self._wait(on_place)
        sandbox.session = session
        return sandbox

    def resize(self, size: int) -> None:
        """Change the ceiling, live."""
        self._size = size
        self._serve()

    async def close(self) -> None:
        self._closed = True
        for future, _ in self._waiting:
            if not future.done():
                future.set_exception(ShuttingDown())
        for sandbox in list(self.live):
            await sandbox.destroy()

    async def _wait(self, on_place: Callable[[int], None]) -> FakeSandbox:
        if len(self._waiting) >= self._queue_limit:
            raise NoSandboxFree(retry_after=self._retry_after)
        future: asyncio.Future[FakeSandbox] = asyncio.get_running_loop().create_future()
        entry = (future, on_place)
        self._waiting.append(entry)
        on_place(len(self._waiting))
        done, _ = await self._settled(entry)
        if not done:
            self._leave(entry)
            raise NoSandboxFree(retry_after=self._retry_after)
        return future.result()

    async def _settled(
        self, entry: tuple[asyncio.Future[FakeSandbox], Callable[[int], None]]
    ) -> tuple[set[asyncio.Future[FakeSandbox]], set[asyncio.Future[FakeSandbox]]]:
        try:
            return await asyncio.wait([entry[0]], timeout=self._patience)
        except asyncio.CancelledError:
            self._leave(entry)
            if entry[0].done() and not entry[0].exception():
                await entry[0].result().destroy()
            raise

    def _leave(self, entry: tuple[asyncio.Future[FakeSandbox], Callable[[int], None]]) -> None:
        if entry in self._waiting:
            self._waiting.remove(entry)
            self._tell_places()

    def _serve(self) -> None:
        while self._waiting and len(self.live) < self._size and not self._closed:
            future, _ = self._waiting.popleft()
            future.set_result(self._make())
        self._tell_places()

    def _tell_places(self) -> None:
        for place, (_, on_place) in enumerate(self._waiting, start=1):
            on_place(place)

    def _make(self) -> FakeSandbox:
        sandbox = FakeSandbox(
            SandboxId(f"fake-{len(self.made) + 1}"),
            destroy_seconds=self._destroy_seconds,
            on_destroyed=self._destroyed,
        )
        self.made.append(sandbox)
        self.live.add(sandbox)
        self.most_at_once = max(self.most_at_once, len(self.live))
        return sandbox

    def _destroyed(self, sandbox: FakeSandbox) -> None:
        self.live.discard(sandbox)
        self._serve()
