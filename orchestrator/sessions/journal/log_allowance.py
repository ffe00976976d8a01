"""How much one session may have written into the event log: in all, and how fast. Pure.

What a sandbox says is kept for good, so a sandbox that talks without end would fill the disk that
every session needs.
"""

from orchestrator.sessions.limits import SessionLimits


class LogAllowance:
    """A token bucket of bytes over a total that is never refilled."""

    def __init__(self, limits: SessionLimits, *, now: float) -> None:
        self._most = self._left = limits.log_bytes
        self._burst = float(limits.log_burst_bytes)
        self._per_second = limits.log_bytes_per_second
        self._bucket = self._burst
        self._at = now

    @property
    def used(self) -> float:
        """Part of the total."""
        return 1 - self._left / self._most if self._most else 1.0

    def go_on_from(self, held: int) -> None:
        """So many bytes are written by now, by whomever they were counted."""
        self._left = self._most - held

    def spend(self, size: int, *, now: float) -> bool:
        """Whether so many bytes more may be written; false from then on, once they may not."""
        refilled = self._bucket + (now - self._at) * self._per_second
        self._bucket = min(self._burst, refilled) - size
        self._at = now
        self._left -= size
        return self._left >= 0 and self._bucket >= 0
