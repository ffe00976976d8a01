"""The text so far of the blocks that the agent is still writing, for those who join meanwhile.
Pure.

Bounded: over `max_chars` the oldest block is forgotten; its durable event will hold all of it.
"""

import io

import msgspec

from orchestrator.protocol.control_events import (
    RecoveryStopped,
    SandboxLost,
    SessionEnded,
    SessionHibernated,
)
from orchestrator.protocol.events import Event
from orchestrator.protocol.sandbox_events import (
    BlockDelta,
    ConversationReset,
    TextWritten,
    ThoughtWritten,
    ToolStarted,
    TurnEnded,
)

MAX_BLOCKS = 64
BlockKey = tuple[str, int]
_KEPT: dict[str, type[TextWritten] | type[ThoughtWritten]] = {
    "text": TextWritten,
    "thinking": ThoughtWritten,
}


class OpenBlock:
    """One unfinished block: its first delta for the names, and its text so far."""

    def __init__(self, first: BlockDelta) -> None:
        self._named = first
        self._written = io.StringIO(newline="")
        self.length = 0

    def add(self, delta: BlockDelta) -> None:
        """Deltas are idempotent: of one that overlaps only what goes beyond the end counts, one
        that leaves a gap is ignored. What is there is never copied: many small deltas at the end
        of a large block must cost no more than their own length."""
        if not 0 <= delta.offset <= self.length:
            return
        beyond = delta.text[self.length - delta.offset :]
        if beyond:
            self._written.write(beyond)
            self.length += len(beyond)

    @property
    def text(self) -> str:
        return self._written.getvalue()

    def as_delta(self) -> BlockDelta:
        return msgspec.structs.replace(self._named, offset=0, text=self.text)

    def as_cut(self) -> TextWritten | ThoughtWritten | None:
        """A half-written input of a tool is none that ran: it is not kept."""
        named = self._named
        kind = _KEPT.get(named.kind)
        if kind is None or not self.length:
            return None
        return kind(
            message_id=named.message_id,
            index=named.index,
            text=self.text,
            parent=named.parent,
            cut=True,
        )


class OpenBlocks:
    """Fold events in with `take`; `deltas` is what they come to."""

    def __init__(self, *, max_chars: int) -> None:
        self._max_chars = max_chars
        self._blocks: dict[BlockKey, OpenBlock] = {}

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def take(self, event: Event) -> None:
        match event:
            case BlockDelta():
                self._write(event)
            case TextWritten() | ThoughtWritten() | ToolStarted():
                self._blocks.pop((event.message_id, event.index), None)
            case TurnEnded() | ConversationReset():
                self._blocks.clear()
            case SandboxLost() | SessionHibernated() | RecoveryStopped() | SessionEnded():
                self._blocks.clear()
            case _:
                pass

    def deltas(self) -> list[BlockDelta]:
        """One delta for each open block, in the order in which they were begun."""
        return [block.as_delta() for block in self._blocks.values()]

    def cut(self) -> list[Event]:
        """What was written of the blocks that nobody will finish, to be kept."""
        return [event for block in self._blocks.values() if (event := block.as_cut()) is not None]

    def _write(self, delta: BlockDelta) -> None:
        key = (delta.message_id, delta.index)
        if key not in self._blocks:
            if delta.offset:
                return
            self._blocks[key] = OpenBlock(delta)
        self._blocks[key].add(delta)
        self._forget_too_much()

    def _forget_too_much(self) -> None:
        total = sum(block.length for block in self._blocks.values())
        while self._blocks and (total > self._max_chars or len(self._blocks) > MAX_BLOCKS):
            oldest = next(iter(self._blocks))
            total -= self._blocks.pop(oldest).length
