"""What carries the answer to a `TranscriptAsked` from its transfer to who asked.

The two ends are `transfers`, which has the bytes, and `transcript_store`, which waits for them.
"""

from collections.abc import Callable
from typing import Protocol


class TranscriptSink(Protocol):
    """Takes one answer. The last call is one of `finish`, `missing` and `fail`; none blocks."""

    def take(self, chunk: bytes) -> None:
        """The next bytes, cut anywhere. Raises `files.Unfit` for more than it can hold."""

    def finish(self) -> None:
        """That was all of it: whole lines, each closed by a line feed."""

    def missing(self) -> None:
        """There is nothing under that key."""

    def fail(self) -> None:
        """The rest does not come."""


TranscriptTaker = Callable[[str], TranscriptSink | None]
"""Gives the sink of an ask that is open, by its id."""


def nobody_asks(_ask_id: str) -> None:
    return None
