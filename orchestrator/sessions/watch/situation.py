"""A session at one moment, as the watch looks at it: its time, its memory, its disks. Pure."""

import msgspec

from orchestrator.protocol.chat import SessionState

QUIET_SECONDS = 60.0
"""How long nobody may have done anything before a sandbox is exchanged for its age."""
SETTLING_SECONDS = 300.0
"""How long a sandbox is not exchanged for memory or home that it was filled with itself."""


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """`now` and what is `_since` or `_at` are of one clock that never goes
    back; sizes are bytes, 0 where they are not known yet."""

    state: SessionState
    now: float
    frozen: bool = False
    busy: bool = False
    """Programs that Claude left running in the background."""
    idle_since: float | None = None
    """When somebody last did something, where the session waits for a person."""
    turn_since: float | None = None
    """Moved on by the time that the turn waited for a person."""
    assigned_at: float | None = None
    age: float = 0.0
    """Of the session, seconds."""
    asleep: float | None = None
    """Seconds since it hibernates."""
    working_set: int = 0
    memory_limit: int = 0
    home_used: int = 0
    home_size: int = 0
    workspace_used: int = 0
    workspace_size: int = 0
    record: float = 0.0
    """Part that is used up of what is kept of one conversation."""
    worked: bool = True
    """Something was done in this sandbox since it was filled."""
    is_current: bool = True
    interrupted_at: float | None = None
    """When the running turn was interrupted, by whomever."""
    told: frozenset[str] = frozenset()

    @property
    def turn_seconds(self) -> float | None:
        """None where no turn runs, or while it waits for a person."""
        if self.state != "running" or self.turn_since is None:
            return None
        return self.now - self.turn_since

    @property
    def sandbox_age(self) -> float:
        return 0.0 if self.assigned_at is None else self.now - self.assigned_at

    @property
    def is_settled(self) -> bool:
        """What it holds was not just put there: in another one it would be the same."""
        return self.worked and self.sandbox_age >= SETTLING_SECONDS

    @property
    def idle_seconds(self) -> float | None:
        """None where it does not wait for a person."""
        if self.state not in {"idle", "asking"} or self.idle_since is None:
            return None
        return self.now - self.idle_since

    @property
    def is_quiet(self) -> bool:
        return self.idle_seconds is not None and self.idle_seconds >= QUIET_SECONDS

    def rests(self, after: float | None) -> bool:
        """Idle for so long, and nothing runs in the background."""
        idle = self.idle_seconds
        return idle is not None and after is not None and idle >= after and not self.busy

    @property
    def memory(self) -> float:
        """Part of the limit, like the others."""
        return _part(self.working_set, self.memory_limit)

    @property
    def home(self) -> float:
        return _part(self.home_used, self.home_size)

    @property
    def workspace(self) -> float:
        return _part(self.workspace_used, self.workspace_size)


def _part(used: int, size: int) -> float:
    return used / size if size else 0.0
