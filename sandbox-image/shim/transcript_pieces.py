"""Turns a batch of transcript entries into words for the link. Pure.

What is cut here is put together again at the other end, so nothing may be shortened on the way: a
piece is made so small that its JSON is within an event's bounds, whatever characters are in it.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from orchestrator.protocol.transcripts import MAX_BATCH_BYTES, TranscriptKey, TranscriptPiece

PIECE_CHARS = 160 << 10
"""A line has no control characters, so that a character takes four bytes of a piece's JSON."""
SUMMARY_CHARS = 24 << 10
"""A summary that is longer is left out, and the one before it stays."""

Entry = Any
"""One line of a transcript: an object with a `type`. The SDK's, and opaque here."""


class BatchTooLarge(Exception):
    """A batch that nobody would take. The SDK tells it as a mirror error."""

    def __init__(self, size: int) -> None:
        super().__init__(f"A batch of {size} bytes is too large for the transcript store.")
        self.size = size


def as_lines(entries: Iterable[Entry]) -> str:
    """JSON, each closed by a line feed."""
    return "".join(f"{_line(entry)}\n" for entry in entries)


def pieces(
    key: TranscriptKey, lines: str, *, summary: dict[str, Any] | None = None
) -> list[TranscriptPiece]:
    """A whole batch. Raises BatchTooLarge."""
    size = len(lines) if lines.isascii() else len(lines.encode())
    if size > MAX_BATCH_BYTES:
        raise BatchTooLarge(size)
    texts = list(_cut(lines))
    *earlier, last = texts or [""]
    return [
        *(TranscriptPiece(key=key, text=text, more=True) for text in earlier),
        TranscriptPiece(key=key, text=last, summary=_summary(summary)),
    ]


def _cut(text: str) -> Iterator[str]:
    for start in range(0, len(text), PIECE_CHARS):
        yield text[start : start + PIECE_CHARS]


def _summary(summary: dict[str, Any] | None) -> str | None:
    text = None if summary is None else _line(summary)
    return text if text is None or len(text) <= SUMMARY_CHARS else None


def _line(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (ValueError, TypeError, OverflowError, RecursionError):
        return json.dumps(value, separators=(",", ":"))  # half characters, endless numbers
