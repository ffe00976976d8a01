"""Everybody who follows one session sees the same bytes, in the same order.

For: followers with bounded queues, the ring of latest events for those who reconnect, and batching:
what is published within one tick of the loop travels in one frame, encoded once. Not for the rules,
nor for the log: what reaches a room is already as durable as it will be.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Iterable

import msgspec

from orchestrator.protocol.chat import (
    Ending,
    Events,
    SequencedEvent,
    ServerFrame,
    SessionChanged,
    SessionView,
    server_frame_codec,
)
from orchestrator.sessions.limits import SessionLimits

TOO_SLOW = Ending(
    tag="too_slow",
    sentence="This connection was too slow for the session. Reconnect to go on where it was.",
)
OUT_OF_STEP = Ending(
    tag="out_of_step",
    sentence="Casemate's database answered too late for this session. Reconnect to go on.",
)
ROOM_CLOSED = Ending(
    tag="shutdown", sentence="Casemate is shutting down. Reconnect in a minute to read on."
)


class Follower:
    """One browser on a session: an async iterator of encoded frames.

    It ends when the follower was dropped; `dropped` then says why. Whoever was dropped may resume.
    """

    def __init__(self, *, max_frames: int, max_bytes: int) -> None:
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._frames: deque[str] = deque()
        self._bytes = 0
        self._ready = asyncio.Event()
        self._opening = True
        self.dropped: Ending | None = None

    def push(self, frame: str) -> None:
        """Queue a frame; the follower is dropped where it is too far behind."""
        if self.dropped is not None:
            return
        if len(self._frames) >= self._max_frames or self._bytes >= self._max_bytes:
            self._frames.clear()
            self.drop(TOO_SLOW)
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        if not self._opening:
            self._ready.set()

    def open_with(self, frames: Iterable[str]) -> None:
        """The first frames, ahead of what came meanwhile."""
        self._opening = False
        for frame in reversed(list(frames)):
            self._frames.appendleft(frame)
            self._bytes += len(frame)
        self._ready.set()

    def drop(self, why: Ending) -> None:
        """The end of the iteration, after the frames that wait."""
        self.dropped = self.dropped or why
        self._opening = False
        self._ready.set()

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        while not self._frames:
            if self.dropped is not None:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        frame = self._frames.popleft()
        self._bytes -= len(frame)
        return frame


class Ring:
    """The latest events, bounded in number and bytes."""

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events: deque[SequencedEvent] = deque()
        self._bytes = 0

    def add(self, events: Iterable[SequencedEvent]) -> None:
        for event in events:
            self._events.append(event)
            self._bytes += size_of(event)
        while self._events and (
            len(self._events) > self._max_events or self._bytes > self._max_bytes
        ):
            self._bytes -= size_of(self._events.popleft())

    def after(self, seq: int, *, latest: int) -> list[SequencedEvent] | None:
        """Everything after `seq`, none where the ring does not reach back that far."""
        if seq == latest:
            return []
        if seq > latest or not self._events or self._events[0].seq > seq + 1:
            return None
        return [event for event in self._events if event.seq > seq]


class Room:
    def __init__(self, view: SessionView, *, seq: int, limits: SessionLimits) -> None:
        self._limits = limits
        self._ring = Ring(max_events=limits.ring_events, max_bytes=limits.ring_bytes)
        self._followers: set[Follower] = set()
        self._unsent: list[SequencedEvent] = []
        self._view = view
        self._view_changed = False
        self._flush_due: asyncio.Handle | None = None
        self.epoch = secrets.token_hex(8)
        self.seq = seq

    @property
    def followers(self) -> int:
        return len(self._followers)

    def publish(self, events: list[SequencedEvent], view: SessionView) -> None:
        """Show `events` and the view after them, at the end of this tick of the loop."""
        if events:
            self.seq = events[-1].seq
            self._ring.add(events)
            self._unsent.extend(events)
        if not same_to_a_person(view, self._view):
            self._view_changed = True
        self._view = view
        if self._flush_due is None and (self._unsent or self._view_changed):
            self._flush_due = asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send what was published, now."""
        if self._flush_due is not None:
            self._flush_due.cancel()
            self._flush_due = None
        unsent, self._unsent = self._unsent, []
        changed, self._view_changed = self._view_changed, False
        if not self._followers:
            return
        for events in in_frames(unsent, max_bytes=self._limits.frame_bytes):
            self._send(Events(seq=events[-1].seq, events=events))
        if changed:
            self._send(SessionChanged(seq=self.seq, session=self._view))

    def enter(self) -> Follower:
        """A follower that collects everything published from now on; open it with what was
        before."""
        self.flush()
        follower = Follower(
            max_frames=self._limits.follower_frames, max_bytes=self._limits.follower_bytes
        )
        self._followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        self._followers.discard(follower)

    def missed(self, seq: int, epoch: str) -> list[str] | None:
        """The frames that bring a follower who saw `seq` up to date; none when only a snapshot
        can."""
        events = self._ring.after(seq, latest=self.seq) if epoch == self.epoch else None
        if events is None:
            return None
        bundles = list(in_frames(events, max_bytes=self._limits.frame_bytes)) or [[]]
        frames: list[ServerFrame] = [
            Events(
                seq=bundle[-1].seq if bundle else seq,
                events=bundle,
                epoch="" if position else self.epoch,
            )
            for position, bundle in enumerate(bundles)
        ]
        frames.append(SessionChanged(seq=self.seq, session=self._view))
        return [server_frame_codec.encode(frame) for frame in frames]

    def close(self, why: Ending) -> None:
        """Drop every follower, after what was published."""
        self.flush()
        for follower in self._followers:
            follower.drop(why)
        self._followers.clear()

    def _send(self, frame: ServerFrame) -> None:
        encoded = server_frame_codec.encode(frame)
        for follower in self._followers:
            follower.push(encoded)


def in_frames(events: list[SequencedEvent], *, max_bytes: int) -> Iterable[list[SequencedEvent]]:
    """`events` in bundles; each is closed by the event that reaches `max_bytes`."""
    bundle: list[SequencedEvent] = []
    size = 0
    for event in events:
        bundle.append(event)
        size += size_of(event)
        if size >= max_bytes:
            yield bundle
            bundle, size = [], 0
    if bundle:
        yield bundle


def size_of(event: SequencedEvent) -> int:
    """Bytes of its JSON."""
    return memoryview(event.event).nbytes


def same_to_a_person(one: SessionView, other: SessionView) -> bool:
    """Whether the views differ in nothing but `updated_at`, which the events tell."""
    if one is other:
        return True
    return one == msgspec.structs.replace(other, updated_at=one.updated_at)
