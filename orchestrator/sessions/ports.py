"""What the rules need from the world, as small Protocols. `app.py` says what stands behind them."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

import msgspec

from orchestrator.protocol.chat import Ending, SequencedEvent, SessionState, SessionView
from orchestrator.protocol.commands import SandboxCommand
from orchestrator.protocol.event_parts import Usage
from orchestrator.protocol.events import Event
from orchestrator.protocol.ids import ClientId, ProfileName, SandboxId, SessionId, TurnId, UserId
from orchestrator.protocol.sandbox_events import SandboxWord
from orchestrator.protocol.transcripts import TranscriptKey
from orchestrator.sessions.profiles import Profile
from orchestrator.sessions.workspace import Workspace


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: made by the API from what it authenticated."""

    id: UserId
    name: str
    is_admin: bool = False


class ReceivedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event from a sandbox, with the sandbox's own number and its bytes as they came (JSON)."""

    n: int
    event: SandboxWord
    body: bytes


class Sandbox(Protocol):
    """A claimed sandbox: this session's, and nobody else's ever."""

    @property
    def id(self) -> SandboxId: ...
    @property
    def memory_limit(self) -> int: ...
    @property
    def workspace(self) -> Workspace:
        """Its files, for as long as it is there; afterwards each transfer is broken."""

    @property
    def is_current(self) -> bool:
        """Whether one that is made now would run the same image and profile."""

    async def send(self, command: SandboxCommand) -> None:
        """Hand over a command. Kept and sent again across a reconnect of the link.

        Never raises for a sandbox that is gone: that is told by the end of `events()`.
        """

    def events(self) -> AsyncIterator[list[ReceivedEvent]]:
        """What it says, in order and without repeats, in batches as they come (bounded; a slow
        reader slows the sandbox). Ends when the sandbox is gone; `ending` then says why."""

    def acknowledge(self, n: int) -> None:
        """Everything up to event number `n` is held safely; the shim may forget it."""

    async def freeze(self) -> None:
        """Stop all its processes; their memory stays. Idempotent. Raises SandboxStuck."""

    async def thaw(self) -> None:
        """Idempotent. Raises SandboxStuck."""

    async def ran_out_of_memory(self) -> None:
        """Returns when the engine tells that the kernel killed something in it for its memory:
        each such report once; never, where it tells none."""

    async def give_transcript(self, ask_id: str, pieces: AsyncIterator[bytes] | None) -> None:
        """Answer a `TranscriptAsked` with whole lines; None: there is nothing under that key.
        Raises TransferBroken, TooManyTransfers."""

    @property
    def ending(self) -> Ending | None: ...
    async def destroy(self) -> None:
        """Kill the container, remove it and its slot; idempotent; returns when they are gone."""


class SandboxPool(Protocol):
    async def claim(
        self,
        profile: ProfileName,
        *,
        session: SessionId,
        on_place: Callable[[int], None],
        used_tokens: int = 0,
    ) -> Sandbox:
        """A connected sandbox, at once where one is ready; else wait fairly. `on_place` is called
        with the place in the queue (1 is next) at first and on each change. `used_tokens`: what the
        session has had of its budget so far. Cancelling leaves the queue. Raises NoSandboxFree
        (queue full, or waited too long), UnknownProfile, ShuttingDown."""

    async def adopt(
        self, sandbox: SandboxId, *, session: SessionId, held: int, used_tokens: int = 0
    ) -> Sandbox | None:
        """This session's own sandbox, which outlived the control plane that had claimed it, with
        its shim connected again; None where there is none such. `held`: the highest event number
        that is held safely. Whatever `adopt` was not asked for when `release_unadopted` is called
        is given up."""

    async def release_unadopted(self) -> None:
        """Every session that could have a sandbox of an earlier run has asked."""

    def shed(self, count: int) -> int:
        """Memory is short: give up so many spare sandboxes, and make no spare ones for a while.
        Returns how many there were to give up."""


class ProfileCatalogue(Protocol):
    def profile(self, name: ProfileName) -> Profile:
        """Raises UnknownProfile."""

    def profiles(self) -> list[Profile]: ...


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A session as it is stored. Times are RFC 3339 UTC with milliseconds."""

    id: SessionId
    owner: UserId
    title: str
    profile: ProfileName
    state: SessionState
    created_at: str
    updated_at: str
    model: str = ""
    permission_mode: str = "default"
    usage: Usage = Usage()
    cost_usd: float = 0.0
    context_used: int = 0
    context_window: int = 0
    sandbox_id: SandboxId | None = None
    ending: Ending | None = None
    idempotency_key: str | None = None
    agent_session_id: str = ""
    """The agent's own name of the conversation; empty before its first turn."""
    branch: int = 0
    """Of the transcript. Going back to a checkpoint begins another one."""
    deaths: int = 0
    """Sandboxes that died in a row, without a turn that came to its end between them."""
    checkpoint_id: str = ""
    checkpoint_at: str = ""


class SessionPage(msgspec.Struct, frozen=True, kw_only=True):
    sessions: list[SessionView]
    next_cursor: str | None = None


class SessionStore(Protocol):
    """Durable sessions. Every method is atomic, and raises StorageFailed where the storage does."""

    async def add(self, record: SessionRecord) -> None: ...
    async def get(self, session: SessionId) -> SessionRecord | None: ...
    async def by_idempotency_key(self, owner: UserId, key: str) -> SessionRecord | None: ...
    async def update(self, record: SessionRecord) -> None: ...
    async def remove(self, session: SessionId) -> None:
        """With its events."""

    async def page(
        self, owner: UserId, *, limit: int, before: tuple[str, SessionId] | None
    ) -> list[SessionRecord]:
        """Newest first, by (created_at, id); `before` is the last one of the previous page."""

    async def open_of(self, owner: UserId) -> int:
        """How many of the owner's sessions are neither `ended` nor `failed`."""

    async def unfinished(self) -> list[SessionRecord]:
        """Those not `ended`, `failed` or `hibernated`: what an earlier run left behind."""

    async def hibernated(self) -> int:
        """How many are, of everybody's."""

    async def hibernated_before(self, when: str, *, limit: int = 100) -> list[SessionRecord]:
        """Those `hibernated` and not updated since, oldest first."""


class LogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One durable event. `body` is the event's JSON; `client_id` is set on prompts alone."""

    seq: int
    at: str
    tag: str
    body: bytes
    client_id: ClientId | None = None
    sandbox_n: int | None = None


class EventLog(Protocol):
    """The durable, ordered events of each session. Raises StorageFailed, also for a `seq` or a
    prompt's `client_id` that the session already has."""

    async def append(self, session: SessionId, entries: list[LogEntry]) -> None:
        """All or nothing, on disk when it returns. The very same entries may be appended again,
        which changes nothing: an answer may be lost where a write was not."""

    async def read(
        self, session: SessionId, *, after: int = 0, before: int | None = None, limit: int = 500
    ) -> list[SequencedEvent]:
        """Ascending by seq. With `before`: the last `limit` entries below it."""

    def of_tags(self, session: SessionId, tags: Collection[str]) -> AsyncIterator[list[bytes]]:
        """The bodies of all events with one of these tags, in order, in bounded pieces."""

    async def last_sandbox_n(self, session: SessionId) -> int:
        """The highest `sandbox_n` since the last `sandbox_assigned`; 0 where there is none."""

    async def last_seq(self, session: SessionId) -> int: ...
    async def said_bytes(self, session: SessionId) -> int:
        """Of all that its sandboxes said, as it is kept: the events with a `sandbox_n`."""

    async def has_prompt(self, session: SessionId, client_id: ClientId) -> bool: ...


class AgentSessionLine(msgspec.Struct, frozen=True, kw_only=True):
    """One agent session in a transcript. `mtime`: milliseconds since 1970."""

    agent_session: str
    mtime: int
    summary: bytes | None = None
    """JSON; opaque here."""


class TranscriptStore(Protocol):
    """The agents' own transcripts, by session and branch. Every method raises StorageFailed."""

    async def append(
        self,
        session: SessionId,
        key: TranscriptKey,
        lines: bytes,
        *,
        branch: int,
        sandbox: SandboxId,
        n: int,
        summary: bytes | None = None,
        replaces: bool = False,
    ) -> None:
        """A whole batch, on disk when it returns. `n` is the number of its last piece: a batch that
        is there already, by sandbox and number, is not added again. `replaces`: in place of all
        that is under the key."""

    async def last_n(self, session: SessionId, sandbox: SandboxId) -> int: ...
    def load(self, session: SessionId, key: TranscriptKey, *, branch: int) -> AsyncIterator[bytes]:
        """Whole lines, in order, in bounded pieces. Nothing, where there is nothing."""

    async def agent_sessions(
        self, session: SessionId, project: str, *, branch: int
    ) -> list[AgentSessionLine]: ...
    async def subpaths(
        self, session: SessionId, key: TranscriptKey, *, branch: int
    ) -> list[str]: ...
    async def delete(self, session: SessionId, key: TranscriptKey, *, branch: int) -> None:
        """Of a main key its subpaths, too."""

    async def size(self, session: SessionId) -> int:
        """Bytes of all branches."""

    async def conversation_bytes(
        self, session: SessionId, agent_session: str, *, branch: int
    ) -> int:
        """What `load` gives of one agent session, with all its subpaths: what an agent that
        resumes it has to hold."""

    async def position(self, session: SessionId, *, branch: int) -> int:
        """Where the branch stands: what is appended from now on comes after it."""

    async def fork(self, session: SessionId, *, branch: int, position: int, into: int) -> None:
        """Make the branch `into` of what `branch` held at `position`."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What a session needs to go on elsewhere: its files (`blob`), and the place in the
    transcript."""

    id: str
    session: SessionId
    created_at: str
    seq: int
    """Of the session's events: what it holds happened up to here."""
    turn_id: TurnId | None
    """The last turn before it."""
    blob: str
    """Digest of the archive."""
    size: int
    """Of the archive, bytes."""
    unpacked: int
    entries: int
    omitted: int
    fingerprint: str
    agent_session_id: str
    branch: int
    position: int


class CheckpointStore(Protocol):
    """Raises StorageFailed."""

    async def add(self, checkpoint: Checkpoint) -> None: ...
    async def get(self, session: SessionId, checkpoint_id: str) -> Checkpoint | None: ...
    async def page(self, session: SessionId, *, limit: int) -> list[Checkpoint]:
        """Newest first."""

    async def update(self, checkpoint: Checkpoint) -> None:
        """The one of its id has another place in the conversation now. Nothing where it is gone."""

    async def remove(self, session: SessionId, ids: Collection[str]) -> None: ...
    async def blobs(self, digests: Collection[str]) -> set[str]:
        """Those among them that some checkpoint names."""


class StoredBlob(msgspec.Struct, frozen=True, kw_only=True):
    digest: str
    """SHA-256 of the content, hexadecimal."""
    size: int


class BlobStore(Protocol):
    """Content by its digest. Raises StorageFailed (BlobMissing where it is not there)."""

    async def put(self, chunks: AsyncIterator[bytes], *, most_bytes: int) -> StoredBlob:
        """All of it or nothing, on disk when it returns. What `chunks` raises is raised. Raises
        BlobTooLarge."""

    def open(self, digest: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Its content, which is checked against the digest on the way (raises StorageFailed)."""

    async def delete(self, digest: str) -> None:
        """Idempotent."""

    def digests(self) -> AsyncIterator[list[StoredBlob]]:
        """All that there are, except what is younger than an hour: for finding what no checkpoint
        names any more."""


class HostMemory(Protocol):
    def available(self) -> int | None:
        """Bytes that the machine could still give to programs; None where it cannot be told."""


class SessionListener(Protocol):
    """Told what happens in sessions, for metrics, logs and costs. Must not block; what it raises is
    logged and harms no session."""

    def happened(self, session: SessionRecord, event: Event) -> None:
        """An event was shown, transient or durable. `session` is as it was at the last save."""

    def state_changed(
        self,
        session: SessionRecord,
        *,
        before: SessionState | None,
        after: SessionState | None,
    ) -> None:
        """`before` is None as a session comes into memory, `after` as it leaves it."""


StayStep = Literal["freeze", "thaw", "hibernate", "wake", "recover", "exchange", "go_back", "adopt"]
"""What a session does with a sandbox after it had its first one."""


class Clock(Protocol):
    def now(self) -> str:
        """RFC 3339 UTC with milliseconds, never going backwards."""

    def monotonic(self) -> float:
        """Seconds."""


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """All that the rules need, in one hand."""

    store: SessionStore
    log: EventLog
    pool: SandboxPool
    catalogue: ProfileCatalogue
    clock: Clock
    transcripts: TranscriptStore
    checkpoints: CheckpointStore
    blobs: BlobStore
    host: HostMemory
    listeners: tuple[SessionListener, ...] = ()
    on_step: Callable[[StayStep, str], None] = lambda _step, _outcome: None
    """Told of each, and its outcome: `done`, or in a word of the rules why not. Never blocks or
    raises."""
