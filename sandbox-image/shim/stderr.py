"""The CLI's standard error: passed on, and its last lines kept for when it dies.

Bounded both ways: a line is cut, and within a period only so many lines are passed on.
"""

import time
from collections import deque
from collections.abc import Callable

from orchestrator.protocol.sandbox_events import CliStderr, SandboxEvent

MAX_LINE = 2000
"""Characters."""
KEPT_LINES = 40
LINES_PER_PERIOD = 100
PERIOD = 10.0
"""Seconds."""


class StderrTail:
    """Called by the SDK with each line."""

    def __init__(
        self, say: Callable[[SandboxEvent], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._clock = clock
        self._kept: deque[str] = deque(maxlen=KEPT_LINES)
        self._period_began = float("-inf")
        self._passed_on = 0

    def __call__(self, line: str) -> None:
        line = line[:MAX_LINE]
        self._kept.append(line)
        now = self._clock()
        if now - self._period_began >= PERIOD:
            self._period_began, self._passed_on = now, 0
        self._passed_on += 1
        if self._passed_on <= LINES_PER_PERIOD:
            self._say(CliStderr(lines=[line]))

    def lines(self) -> list[str]:
        """The last ones, oldest first."""
        return list(self._kept)
