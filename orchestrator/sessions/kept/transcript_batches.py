"""Puts batches of a transcript together from the pieces in which a sandbox says them. Pure.

What one sandbox can make this hold is bounded, in bytes and in keys; more than that is no honest
sandbox's.
"""

import unicodedata

import msgspec

from orchestrator.protocol.chat import Ending
from orchestrator.protocol.transcripts import (
    MAX_BATCH_BYTES,
    TranscriptKey,
    TranscriptPiece,
    TranscriptReplaced,
)
from orchestrator.sessions.stays.misbehaviour import SandboxMisbehaved

MAX_OPEN_KEYS = 64
"""Batches under way at once: of the agent itself and of its subagents."""
BROKEN_TRANSCRIPT = Ending(
    tag="transcript_broken",
    sentence="The sandbox sent a record of the conversation that cannot be kept, and was stopped.",
)


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Whole lines. `n`: the number of the last piece."""

    key: TranscriptKey
    lines: bytes
    n: int
    replaces: bool
    summary: bytes | None


class _Open(msgspec.Struct):
    first: int
    text: bytearray
    """In one piece: of many small ones each would cost more than it says."""
    replaces: bool = False


class TranscriptBatches:
    def __init__(self, *, most_bytes: int = MAX_BATCH_BYTES) -> None:
        self._most_bytes = most_bytes
        self._open: dict[TranscriptKey, _Open] = {}
        self._size = 0

    @property
    def oldest(self) -> int | None:
        """The number of the first word of what is not whole yet."""
        return min((one.first for one in self._open.values()), default=None)

    def replace(self, word: TranscriptReplaced, n: int) -> None:
        """What was under way under this key is forgotten. Raises SandboxMisbehaved."""
        before = self._open.pop(word.key, None)
        self._size -= len(before.text) if before else 0
        self._begin(word.key, before.first if before else n).replaces = True

    def add(self, piece: TranscriptPiece, n: int) -> Batch | None:
        """The batch, once it is whole. Raises SandboxMisbehaved."""
        one = self._open.get(piece.key) or self._begin(piece.key, n)
        text = piece.text.encode()
        if self._size + len(text) > self._most_bytes:
            raise SandboxMisbehaved(BROKEN_TRANSCRIPT)
        one.text += text
        self._size += len(text)
        if piece.more:
            return None
        del self._open[piece.key]
        self._size -= len(one.text)
        return _whole(piece, bytes(one.text), n=n, replaces=one.replaces)

    def _begin(self, key: TranscriptKey, n: int) -> _Open:
        if len(self._open) >= MAX_OPEN_KEYS:
            raise SandboxMisbehaved(BROKEN_TRANSCRIPT)
        check_key(key)
        one = self._open[key] = _Open(first=n, text=bytearray())
        return one


def check_key(key: TranscriptKey) -> None:
    """No store and no log has to think of odd names. Raises SandboxMisbehaved."""
    text = f"{key.project}{key.agent_session}{key.subpath}"
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        raise SandboxMisbehaved(BROKEN_TRANSCRIPT)


def _whole(piece: TranscriptPiece, lines: bytes, *, n: int, replaces: bool) -> Batch:
    if lines and not lines.endswith(b"\n"):
        raise SandboxMisbehaved(BROKEN_TRANSCRIPT)
    summary = None if piece.summary is None else _on_one_line(piece.summary)
    return Batch(key=piece.key, lines=lines, n=n, replaces=replaces, summary=summary)


def _on_one_line(summary: str) -> bytes:
    """JSON, spelled anew: it becomes part of a line."""
    try:
        return msgspec.json.encode(msgspec.json.decode(summary))
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise SandboxMisbehaved(BROKEN_TRANSCRIPT) from error
