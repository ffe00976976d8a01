"""A pool as an admin sees it."""

from typing import Literal

import msgspec

from orchestrator.protocol.ids import ProfileName, SandboxId


class MemberView(msgspec.Struct, frozen=True, kw_only=True):
    sandbox_id: SandboxId
    state: Literal["ready", "claimed", "leaving"]
    age_seconds: float
    """Since it was ready."""
    version: str
    """The image that it runs."""
    memory_bytes: int
    memory_limit: int


class PoolView(msgspec.Struct, frozen=True, kw_only=True):
    """`min` are kept ready and unclaimed; `max` is the ceiling for all, claimed ones included."""

    profile: ProfileName
    min: int
    max: int
    ready: int
    stale: int
    """Unclaimed and about to be replaced: too old, dead, or of another version."""
    starting: int
    claimed: int
    leaving: int
    """On their way out."""
    waiting: int
    """Claims in the queue."""
    image_version: str
    members: list[MemberView]
    counters: dict[str, int]
    """hits (claims served at once), waits, refusals, refills (sandboxes that became ready),
    failures (starts that failed), deaths (unclaimed sandboxes that were found dead)."""
    last_error: str | None = None
    """Why the last start failed, in a sentence."""
    last_output: list[str] = []
    """Its last lines. Written inside a sandbox: show them as plain text."""
    retry_in: float = 0.0
    """Seconds until the next start is tried after failures."""
