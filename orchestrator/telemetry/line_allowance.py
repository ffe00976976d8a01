"""How many lines of the log one session's sandbox may cause.

What a sandbox says becomes lines that an operator keeps: without a bound it could fill their disk.
"""

import time
from collections.abc import Callable

LINES_AT_ONCE = 200
LINES_PER_SECOND = 5.0
"""On average. A busy session causes one every few seconds."""


class LineAllowance:
    """A token bucket; `left_out` counts the lines that it refused."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._left = float(LINES_AT_ONCE)
        self._at = now()
        self.left_out = 0

    def take(self) -> bool:
        """Whether one more line may be written."""
        now = self._now()
        self._left = min(LINES_AT_ONCE, self._left + (now - self._at) * LINES_PER_SECOND)
        self._at = now
        if self._left < 1:
            self.left_out += 1
            return False
        self._left -= 1
        return True

    def forget_left_out(self) -> int:
        """How many were left out since this was last asked."""
        left_out, self.left_out = self.left_out, 0
        return left_out
