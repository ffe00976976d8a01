"""The text so far of the blocks that the agent is still writing, for those who join meanwhile.
Pure.

Bounded: over `max_chars` the oldest block is forgotten; its durable event will hold all of it.
"""

import msgspec

from orchestrator.protocol.control_events import SandboxLost, SessionEnded
from orchestrator.protocol.events import Event
from orchestrator.protocol.sandbox_events import (
    AgentDied,
    BlockDelta,
    ConversationReset,
    TextWritten,
    ThoughtWritten,
    ToolStarted,
    TurnEnded,
)

MAX_BLOCKS = 64
BlockKey = tuple[str, int]


class OpenBlock:
    """One unfinished block: its last delta for the names, its text in pieces."""

    def __init__(self, first: BlockDelta) -> None:
        self._named = first
        self._pieces: list[str] = []
        self.length = 0

    def add(self, delta: BlockDelta) -> None:
        """Deltas are idempotent: one that overlaps replaces, one that leaves a gap is ignored."""
        if delta.offset > self.length:
            return
        if delta.offset < self.length:
            self._pieces = [self.text[: delta.offset]]
        self._pieces.append(delta.text)
        self.length = delta.offset + len(delta.text)

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def as_delta(self) -> BlockDelta:
        return msgspec.structs.replace(self._named, offset=0, text=self.text)


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
            case TurnEnded() | AgentDied() | ConversationReset() | SandboxLost() | SessionEnded():
                self._blocks.clear()
            case _:
                pass

    def deltas(self) -> list[BlockDelta]:
        """One delta for each open block, in the order in which they were begun."""
        return [block.as_delta() for block in self._blocks.values()]

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
