"""Log first, then the view, then the room: the one way in which something happens in a session.

For: numbering events, appending the durable ones in one transaction, folding them and showing them.
Whoever writes holds the conversation's turn: two writes never overlap.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from orchestrator.protocol.chat import SequencedEvent, SessionView, Snapshot, server_frame_codec
from orchestrator.protocol.control_events import PromptAccepted
from orchestrator.protocol.events import TRANSIENT, Event, event_codec
from orchestrator.protocol.ids import SessionId
from orchestrator.sessions.errors import StorageFailed
from orchestrator.sessions.journal.open_blocks import OpenBlocks
from orchestrator.sessions.journal.room import Follower, Room, size_of
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.ports import Clock, EventLog, LogEntry
from orchestrator.sessions.view.standing import Standing, advanced

logger = logging.getLogger(__name__)

CHUNK = 50
"""Events that a snapshot reads at once: a log of large events is not loaded whole."""


class Draft(msgspec.Struct, frozen=True):
    """An event that is not numbered yet; `n` is the sandbox's own number."""

    event: Event
    n: int | None = None


class Journal:
    """`on_shown` is called with the view before and the events, once they are durable and shown;
    `on_behind` once the log turns out to hold what was said to be refused: from then on nothing can
    be written, and whoever wants to go on has to begin with what is in the log."""

    def __init__(
        self,
        standing: Standing,
        *,
        seq: int,
        log: EventLog,
        clock: Clock,
        limits: SessionLimits,
        on_shown: Callable[[SessionView, Sequence[Event]], None],
        on_behind: Callable[[], None],
    ) -> None:
        self._log = log
        self._clock = clock
        self._limits = limits
        self._on_shown = on_shown
        self._on_behind = on_behind
        self._doubtful: int | None = None
        """From this number on the log may hold what it was not known to have taken."""
        self.is_behind = False
        self._blocks = OpenBlocks(max_chars=limits.open_block_chars)
        self.standing = standing
        self.room = Room(standing.view, seq=seq, limits=limits)

    @property
    def view(self) -> SessionView:
        return self.standing.view

    @property
    def session(self) -> SessionId:
        return self.view.id

    @property
    def has_open_blocks(self) -> bool:
        return bool(self._blocks)

    def cut_blocks(self) -> list[Event]:
        """What was written of the blocks that nobody will finish."""
        return self._blocks.cut()

    async def write(self, drafts: Sequence[Draft]) -> None:
        """Make it happen. Transient events ahead of the first durable one are shown without
        waiting.

        Raises StorageFailed; what is durable among `drafts` then did not happen.
        """
        lead = next((i for i, draft in enumerate(drafts) if not is_transient(draft)), len(drafts))
        self._show(drafts[:lead], self._numbered(drafts[:lead]))
        rest = drafts[lead:]
        if not rest:
            return
        numbered = self._numbered(rest)
        pairs = zip(rest, numbered, strict=True)
        await self._append([entry(d, n) for d, n in pairs if not is_transient(d)])
        self._show(rest, numbered)

    def show_unlogged(self, drafts: Sequence[Draft]) -> None:
        """The last resort where the log refuses: at least those who look on are told."""
        self._doubtful = None
        self._show(drafts, self._numbered(drafts))

    def change(self, view: SessionView) -> None:
        """Show a view that no event accounts for: the place in the queue, `waking`, `ending`."""
        before = self.view
        self.standing = msgspec.structs.replace(self.standing, view=view)
        self.room.publish([], view)
        self._on_shown(before, [])

    async def open(self, follower: Follower, *, seq: int, epoch: str) -> None:
        """Bring a follower who just entered up to date."""
        frames = self.room.missed(seq, epoch)
        follower.open_with([await self._snapshot()] if frames is None else frames)

    async def _snapshot(self) -> str:
        """The session as it is at this moment, also if it goes on while the log is read."""
        view, seq, at = self.view, self.room.seq, self._clock.now()
        unfinished = [sequenced(delta, seq=seq, at=at) for delta in self._blocks.deltas()]
        events, earlier = await latest_events(
            self._log,
            self.session,
            before=seq + 1,
            max_events=self._limits.snapshot_events,
            max_bytes=self._limits.snapshot_bytes,
        )
        snapshot = Snapshot(
            seq=seq,
            epoch=self.room.epoch,
            session=view,
            events=events + unfinished,
            earlier=earlier,
        )
        return server_frame_codec.encode(snapshot)

    def _numbered(self, drafts: Sequence[Draft]) -> list[SequencedEvent]:
        at, first = self._clock.now(), self.room.seq + 1
        return [sequenced(d.event, seq=seq, at=at) for seq, d in enumerate(drafts, start=first)]

    async def _append(self, entries: list[LogEntry]) -> None:
        """Tried again a few times: a full disk may be emptied, a database may come back. The same
        may be appended twice."""
        await self._refuse_when_behind()
        self._doubtful = entries[0].seq
        await self._append_persistently(entries)
        self._doubtful = None

    async def _append_persistently(self, entries: list[LogEntry]) -> None:
        for attempt in range(self._limits.storage_retries):
            try:
                return await self._log.append(self.session, entries)
            except StorageFailed:
                extra = {"session_id": self.session, "attempt": attempt + 1}
                logger.warning("session_log.append_failed", exc_info=True, extra=extra)
                await asyncio.sleep(self._limits.storage_retry_seconds * 2**attempt)
        return await self._log.append(self.session, entries)

    async def _refuse_when_behind(self) -> None:
        """A connection may break when all was written and before that was told. Nobody else writes
        this session. Raises StorageFailed."""
        if self._doubtful is not None and not self.is_behind:
            self.is_behind = await self._log.last_seq(self.session) >= self._doubtful
            if self.is_behind:
                logger.error("session_log.is_ahead", extra={"session_id": self.session})
                self._on_behind()
        if self.is_behind:
            raise StorageFailed

    def _show(self, drafts: Sequence[Draft], numbered: list[SequencedEvent]) -> None:
        if not numbered:
            return
        before, standing, at = self.view, self.standing, numbered[-1].at
        for draft in drafts:
            standing = advanced(standing, draft.event)
            self._blocks.take(draft.event)
        view = msgspec.structs.replace(standing.view, updated_at=at)
        if view.checkpoint_id != before.checkpoint_id:
            view = msgspec.structs.replace(view, checkpoint_at=at)
        self.standing = msgspec.structs.replace(standing, view=view)
        self.room.publish(numbered, view)
        self._on_shown(before, [draft.event for draft in drafts])


def is_transient(draft: Draft) -> bool:
    return isinstance(draft.event, TRANSIENT)


def sequenced(event: Event, *, seq: int, at: str) -> SequencedEvent:
    """Encoded anew, never as a sandbox spelled it: its bytes may say more than was understood."""
    return SequencedEvent(seq=seq, at=at, event=msgspec.Raw(event_codec.encode(event).encode()))


def entry(draft: Draft, numbered: SequencedEvent) -> LogEntry:
    event = draft.event
    return LogEntry(
        seq=numbered.seq,
        at=numbered.at,
        tag=str(event.__struct_config__.tag),
        body=bytes(numbered.event),
        client_id=event.client_id if isinstance(event, PromptAccepted) else None,
        sandbox_n=draft.n,
    )


async def latest_events(
    log: EventLog, session: SessionId, *, before: int, max_events: int, max_bytes: int
) -> tuple[list[SequencedEvent], bool]:
    """The last events below `before`, ascending, bounded both ways; and whether there are earlier
    ones. At least one, however large, so that a reader always gets on."""
    latest: list[SequencedEvent] = []
    size = 0
    while chunk := await log.read(session, before=before, limit=CHUNK):
        for event in reversed(chunk):
            size += size_of(event)
            if len(latest) >= max_events or (latest and size > max_bytes):
                return latest[::-1], True
            latest.append(event)
        before = chunk[0].seq
    return latest[::-1], False
