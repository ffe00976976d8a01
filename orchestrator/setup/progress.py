"""How long steps are told: a spinner on a terminal, plain lines in a log.

Not for: structured logs. This is what the person in front of `casemate up` reads.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.status import Status

LINE_SECONDS = 5.0
"""In a log, details come at most this often: a build says thousands of them."""
DETAIL_WIDTH = 100


class Step(Protocol):
    def say(self, detail: str) -> None:
        """What the step is busy with now; one short line, may be called at any rate."""


class Progress(Protocol):
    def step(self, title: str) -> AbstractContextManager[Step]:
        """Tell that a long step begins, and how it went and how long it took when it ends."""

    def note(self, text: str) -> None:
        """A line that stays."""


class TerminalProgress:
    """On standard error, so that standard output stays for what a program may want to read."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        began = self._clock()
        try:
            if self._console.is_terminal:
                with self._console.status(escape(title)) as status:
                    yield _Spinner(title, status)
            else:
                self.note(f"{title} ...")
                yield _Lines(self, self._clock)
        except BaseException:
            self.note(f"✗ {title} ({self._clock() - began:.1f} s)")
            raise
        self.note(f"✓ {title} ({self._clock() - began:.1f} s)")


class _Spinner:
    def __init__(self, title: str, status: Status) -> None:
        self._title = title
        self._status = status

    def say(self, detail: str) -> None:
        self._status.update(f"{escape(self._title)} [dim]{escape(one_line(detail))}[/dim]")


class _Lines:
    def __init__(self, progress: TerminalProgress, clock: Callable[[], float]) -> None:
        self._progress = progress
        self._clock = clock
        self._last = float("-inf")

    def say(self, detail: str) -> None:
        text = one_line(detail)
        if text and self._clock() - self._last >= LINE_SECONDS:
            self._last = self._clock()
            self._progress.note(f"  {text}")


def one_line(detail: str) -> str:
    """The last line with something in it, cut to a width that fits beside a title."""
    lines = [line.strip() for line in detail.splitlines() if line.strip()]
    text = "".join(c for c in lines[-1] if c.isprintable()) if lines else ""
    return text if len(text) <= DETAIL_WIDTH else f"{text[: DETAIL_WIDTH - 1]}…"
