"""What the rules need from the world, as small Protocols. `app.py` says what stands behind them."""

from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec

from orchestrator.protocol.chat import Ending, SequencedEvent, SessionState, SessionView
from orchestrator.protocol.commands import SandboxCommand
from orchestrator.protocol.event_parts import Usage
from orchestrator.protocol.events import Event
from orchestrator.protocol.ids import ClientId, ProfileName, SandboxId, SessionId, UserId
from orchestrator.protocol.sandbox_events import SandboxEvent
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
    event: SandboxEvent
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

    async def send(self, command: SandboxCommand) -> None:
        """Hand over a command. Kept and sent again across a reconnect of the link.

        Never raises for a sandbox that is gone: that is told by the end of `events()`.
        """

    def events(self) -> AsyncIterator[list[ReceivedEvent]]:
        """What it says, in order and without repeats, in batches as they come (bounded; a slow
        reader slows the sandbox). Ends when the sandbox is gone; `ending` then says why."""

    def acknowledge(self, n: int) -> None:
        """Everything up to event number `n` is held safely; the shim may forget it."""

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
    ) -> Sandbox:
        """A connected sandbox, at once where one is ready; else wait fairly. `on_place` is called
        with the place in the queue (1 is next) at first and on each change. Cancelling leaves the
        queue. Raises NoSandboxFree (queue full, or waited too long), UnknownProfile,
        ShuttingDown."""


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

    async def unfinished(self) -> list[SessionRecord]:
        """Those not `ended` or `failed`: what an earlier run left behind."""


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
        """All or nothing, on disk when it returns."""

    async def read(
        self, session: SessionId, *, after: int = 0, before: int | None = None, limit: int = 500
    ) -> list[SequencedEvent]:
        """Ascending by seq. With `before`: the last `limit` entries below it."""

    async def last_seq(self, session: SessionId) -> int: ...
    async def has_prompt(self, session: SessionId, client_id: ClientId) -> bool: ...


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
    listeners: tuple[SessionListener, ...] = ()
