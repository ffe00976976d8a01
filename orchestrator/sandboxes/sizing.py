"""How many sandboxes to start and to drop: pure arithmetic over counts."""

import math

import msgspec

SHORTEST_RETRY, LONGEST_RETRY = 1, 120


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """The sandboxes of one profile, and who waits for one."""

    ready: int = 0
    """Unclaimed and of use."""
    stale: int = 0
    """Unclaimed, but too old or of another version: to be replaced, never claimed."""
    starting: int = 0
    taken: int = 0
    """Claimed ones, and those on their way out: they still hold memory."""
    waiting: int = 0

    @property
    def total(self) -> int:
        return self.ready + self.stale + self.starting + self.taken


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    start: int = 0
    drop_ready: int = 0
    drop_stale: int = 0


def plan(counts: Counts, *, minimum: int, maximum: int, start_cap: int) -> Plan:
    """What to do now. Never lets the total grow past `maximum`, nor the starts past `start_cap`.

    Stale sandboxes stay until their replacements are ready, unless they take the room for them.
    """
    wanted = max(0, min(minimum + counts.waiting, maximum - counts.taken))
    shortage = max(0, wanted - counts.ready - counts.starting)
    room = max(0, maximum - counts.total)
    lanes = max(0, start_cap - counts.starting)
    start = min(shortage, room, lanes)
    blocked = min(shortage - start, lanes - start)
    replaced = counts.stale if shortage == 0 and counts.starting == 0 else 0
    excess = max(0, counts.total - maximum)
    drop_stale = min(counts.stale, max(blocked, replaced, excess))
    surplus = max(counts.ready - wanted, excess - drop_stale)
    return Plan(start=start, drop_stale=drop_stale, drop_ready=max(0, min(counts.ready, surplus)))


def retry_after(*, waiting: int, seconds_per_sandbox: float) -> int:
    """Whole seconds until a claim that comes then has a fair chance."""
    seconds = math.ceil((waiting + 1) * max(0.0, seconds_per_sandbox))
    return max(SHORTEST_RETRY, min(LONGEST_RETRY, seconds))


def backoff(failures: int, *, first: float, most: float) -> float:
    """Seconds of rest after so many failures in a row."""
    return 0.0 if failures <= 0 else float(min(most, first * 2.0 ** min(failures - 1, 30)))
