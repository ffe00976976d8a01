"""A sandbox in memory, for tests of whatever stands above it.

`FakeSandbox` obeys the same prompts as the scripted model, line by line: plain text, `!bash CMD`,
`!ask`, `!say N words`, `!slow SECONDS`, `!fail STATUS`, `!die`. It writes its transcript down, asks
for it again when it resumes, and packs what is in its workspace. Not for what only a container can
show: memory, time to start, the link.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import assert_never

from orchestrator.protocol.chat import Ending
from orchestrator.protocol.commands import (
    AnswerPermission,
    AnswerQuestion,
    Interrupt,
    OpenTransfer,
    ResumeAgent,
    SandboxCommand,
    SetModel,
    SetPermissionMode,
    StartTurn,
    SyncTranscript,
)
from orchestrator.protocol.ids import SandboxId, SessionId
from orchestrator.protocol.sandbox_events import (
    ModelChanged,
    PermissionModeChanged,
    SandboxWord,
    sandbox_word_codec,
)
from orchestrator.protocol.transcripts import TranscriptSynced
from orchestrator.protocol.wire import Unrecognised
from orchestrator.sessions.errors import SandboxStuck
from orchestrator.sessions.files.errors import TransferBroken
from orchestrator.sessions.ports import ReceivedEvent
from orchestrator.testing.fake_agent import FakeAgent
from orchestrator.testing.fake_transcript import FakeTranscript
from orchestrator.testing.fake_workspace import FakeWorkspace

MAX_UNREAD_EVENTS = 10_000


class FakeSandbox:
    """One claimed sandbox. `sent` keeps every command, `acknowledged` the highest number.

    While it is frozen, commands wait and transfers break: whoever forgets to thaw it finds out.
    """

    def __init__(
        self,
        sandbox_id: SandboxId,
        *,
        memory_limit: int = 1536 << 20,
        destroy_seconds: float = 0.0,
        on_destroyed: Callable[["FakeSandbox"], None] = lambda _: None,
        transcripts: bool = True,
    ) -> None:
        self._id = sandbox_id
        self._memory_limit = memory_limit
        self._destroy_seconds = destroy_seconds
        self._on_destroyed = on_destroyed
        self._unread: asyncio.Queue[ReceivedEvent | None] = asyncio.Queue(MAX_UNREAD_EVENTS)
        self._numbers = itertools.count(1)
        self._unacknowledged: list[ReceivedEvent] = []
        self._waiting: list[SandboxCommand] = []
        self._kills = asyncio.Semaphore(0)
        self._ending: Ending | None = None
        self.transcript = FakeTranscript(say=self.say)
        self.agent = FakeAgent(
            sandbox_id,
            say=self.say,
            die=self._die,
            transcript=self.transcript if transcripts else None,
        )
        self.workspace = FakeWorkspace()
        self.session: SessionId | None = None
        self.used_tokens = 0
        self.sent: list[SandboxCommand] = []
        self.acknowledged = 0
        self.destroyed = False
        self.frozen = False
        self.freezes = 0
        self.is_current = True
        self.stuck = False
        """The engine can neither freeze nor thaw it."""
        self.syncs = True
        """Whether it answers `SyncTranscript`."""
        self.repairs = False
        """Whether some of the transcript had been missing, then."""

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
        if self.frozen:
            self._waiting.append(command)
            return
        await self._obey(command)

    async def _obey(self, command: SandboxCommand) -> None:
        match command:
            case StartTurn():
                self.agent.start(command)
            case Interrupt(turn_id=turn_id):
                await self.agent.interrupt(turn_id)
            case AnswerPermission(permission_id=key) | AnswerQuestion(question_id=key):
                self.agent.take_answer(key, command)
            case SetModel(model=model):
                self.say(ModelChanged(model=model))
            case SetPermissionMode(mode=mode):
                self.say(PermissionModeChanged(mode=mode))
            case ResumeAgent():
                self.agent.resume(command)
            case SyncTranscript(sync_id=sync_id):
                if self.syncs:
                    self.say(TranscriptSynced(sync_id=sync_id, repaired=self.repairs))
            case OpenTransfer() | Unrecognised():
                pass
            case _:
                assert_never(command)

    async def events(self) -> AsyncIterator[list[ReceivedEvent]]:
        unread = self._unread
        while (first := await unread.get()) is not None:
            batch = [first]
            while not unread.empty() and (following := unread.get_nowait()):
                batch.append(following)
            yield batch
            if self._ending is not None and unread.empty():
                return

    def acknowledge(self, n: int) -> None:
        self.acknowledged = max(self.acknowledged, n)
        self._unacknowledged = [one for one in self._unacknowledged if one.n > n]

    async def freeze(self) -> None:
        self._check_engine()
        if not self.frozen and self._ending is None:
            self.frozen = self.workspace.is_frozen = True
            self.freezes += 1

    async def thaw(self) -> None:
        self._check_engine()
        self.frozen = self.workspace.is_frozen = False
        waiting, self._waiting = self._waiting, []
        for command in waiting:
            await self._obey(command)

    async def ran_out_of_memory(self) -> None:
        await self._kills.acquire()

    async def give_transcript(self, ask_id: str, pieces: AsyncIterator[bytes] | None) -> None:
        if self._ending is not None or self.frozen:
            raise TransferBroken("gone")
        await self.transcript.give(ask_id, pieces)

    async def destroy(self) -> None:
        if self.destroyed:
            return
        self.lose(Ending(tag="destroyed", sentence="The sandbox was destroyed."))
        await asyncio.sleep(self._destroy_seconds)
        if not self.destroyed:
            self.destroyed = True
            self._on_destroyed(self)

    # --- what tests make it do ---------------------------------------------------------------

    def say(self, event: SandboxWord) -> None:
        """Put one event on the link, whatever it is: a hostile sandbox says what it likes."""
        self.say_raw(sandbox_word_codec.encode(event).encode())

    def say_raw(self, body: bytes) -> None:
        """The bytes as they would come from the link, decoded as the real link does it."""
        event = sandbox_word_codec.decode(body)
        if self._ending is None:
            received = ReceivedEvent(n=next(self._numbers), event=event, body=body)
            self._unacknowledged.append(received)
            self._unread.put_nowait(received)

    def lose(self, ending: Ending) -> None:
        """The container is gone, for the reason given. Events already said can still be read."""
        if self._ending is None:
            self._ending = ending
            self.workspace.is_gone = True
            self.agent.kill()
            self._unread.put_nowait(None)

    def run_out_of_memory(self) -> None:
        """The engine tells that the kernel killed something in it; it lives on."""
        self._kills.release()

    def cut_off(self) -> None:
        """The control plane is gone: whoever read the events hears nothing more."""
        self._unread = asyncio.Queue(MAX_UNREAD_EVENTS)

    def reconnect(self, held: int) -> None:
        """To a control plane that does not know what the one before had done: what it does not hold
        is said again, and what is open."""
        self.cut_off()
        self.acknowledge(held)
        for received in self._unacknowledged:
            self._unread.put_nowait(received)
        self.agent.say_open_questions()

    def _check_engine(self) -> None:
        if self.stuck:
            raise SandboxStuck

    def _die(self) -> None:
        self.lose(Ending(tag="agent_died", sentence="Claude's process in the sandbox was killed."))
