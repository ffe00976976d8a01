"""A member of a pool, and where it stands there."""

import time
from typing import Literal

from orchestrator.sandboxes.pool_view import MemberView
from orchestrator.sandboxes.ports import Member


class Place:
    """`age` counts from when it was ready here."""

    def __init__(
        self, member: Member, *, state: Literal["ready", "claimed", "leaving"] = "ready"
    ) -> None:
        self.member = member
        self.state = state
        self.ready_at = time.monotonic()

    @property
    def age(self) -> float:
        return time.monotonic() - self.ready_at

    def view(self) -> MemberView:
        return MemberView(
            sandbox_id=self.member.id,
            state=self.state,
            age_seconds=round(self.age, 1),
            version=self.member.version,
            memory_bytes=self.member.memory_usage,
            memory_limit=self.member.memory_limit,
        )
