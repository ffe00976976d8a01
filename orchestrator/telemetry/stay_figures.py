"""How sessions outlive their sandboxes, in figures: deaths, recoveries, sleep, checkpoints, limits.

Part of `Metrics`. Labels are words of the control plane; what a sandbox may choose is counted
without them, or by a closed set.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram

from orchestrator.protocol.chat import SessionState
from orchestrator.protocol.control_events import (
    CheckpointFailed,
    CheckpointTaken,
    LimitReached,
    OutOfMemory,
    RecoveryStopped,
    SandboxAssigned,
    SandboxLost,
    SessionEnded,
    SessionHibernated,
)
from orchestrator.protocol.events import Event
from orchestrator.protocol.ids import SessionId
from orchestrator.protocol.sandbox_events import McpServerFailed, MirrorFailed
from orchestrator.sessions.ports import SessionRecord

WAKE_SECONDS = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60, 300)
BYTES = tuple(float(1 << exponent) for exponent in range(10, 31, 2))
MAX_REMEMBERED = 10_000
"""Sessions between a loss and what came of it; the oldest are forgotten first."""
MAX_TAGS = 60
"""Different words under one label, beyond which further ones count as `other`."""
OTHER = "other"

T = TypeVar("T")


class StayFigures:
    """Told what happens in sessions; counts. Never blocks, never raises."""

    def __init__(
        self, registry: CollectorRegistry, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._lost: OrderedDict[SessionId, str] = OrderedDict()
        """The tag of the death that each session recovers from."""
        self._waking_since: OrderedDict[SessionId, float] = OrderedDict()
        self._words: dict[str, set[str]] = {}
        self._make_sandbox_figures(registry)
        self._make_sleep_figures(registry)
        self._make_checkpoint_figures(registry)

    def happened(self, session: SessionRecord, event: Event) -> None:
        match event:
            case SandboxLost(tag=tag):
                self._sandbox_lost(session.id, self._word("death", tag))
            case SandboxAssigned():
                self._assigned(session.id, event)
            case RecoveryStopped():
                self._recovered(session.id, "stopped")
            case SessionEnded():
                self._recovered(session.id, "ended")
            case SessionHibernated(reason=reason):
                self._recovered(session.id, "asleep")
                self._hibernations.labels(reason).inc()
            case _:
                self._count(event)

    def _count(self, event: Event) -> None:
        match event:
            case CheckpointTaken(size=size, took_ms=took):
                self._checkpoint_bytes.observe(max(0, size))
                self._checkpoint_seconds.observe(max(0, took) / 1000)
            case CheckpointFailed(tag=tag):
                self._checkpoint_failures.labels(self._word("checkpoint", tag)).inc()
            case LimitReached(limit=limit):
                self._limits.labels(self._word("limit", limit)).inc()
            case OutOfMemory():
                self._out_of_memory.inc()
            case McpServerFailed(why=why):
                self._server_failures.labels(why).inc()
            case MirrorFailed():
                self._mirror_errors.inc()
            case _:
                pass

    def step_taken(self, step: str, outcome: str) -> None:
        """A session's way into, out of or within its sandboxes."""
        self._steps.labels(step, self._word("step", outcome)).inc()

    def state_changed(
        self, session: SessionRecord, *, before: SessionState | None, after: SessionState | None
    ) -> None:
        if after == "waking" and before != "waking":
            _remember(self._waking_since, session.id, self._now())
        elif after is None:
            self._waking_since.pop(session.id, None)
            self._lost.pop(session.id, None)

    def _sandbox_lost(self, session: SessionId, tag: str) -> None:
        """One that dies before it was of any use ends the attempt to recover."""
        self._recovered(session, "lost_again")
        self._deaths.labels(tag).inc()
        _remember(self._lost, session, tag)

    def _assigned(self, session: SessionId, event: SandboxAssigned) -> None:
        self._recovered(session, "recovered")
        began = self._waking_since.pop(session, None)
        if began is not None:
            self._wakes.labels(event.reason).observe(self._now() - began)

    def _recovered(self, session: SessionId, outcome: str) -> None:
        tag = self._lost.pop(session, None)
        if tag is not None:
            self._recoveries.labels(tag, outcome).inc()

    def _word(self, label: str, word: str) -> str:
        known = self._words.setdefault(label, set())
        if word not in known and len(known) >= MAX_TAGS:
            return OTHER
        known.add(word)
        return word

    # --- making them ---------------------------------------------------------------------------

    def _make_sandbox_figures(self, registry: CollectorRegistry) -> None:
        self._deaths = Counter(
            "casemate_sandbox_deaths",
            "Sandboxes that sessions lost, by why.",
            ["tag"],
            registry=registry,
        )
        self._recoveries = Counter(
            "casemate_recoveries",
            "What came of it: recovered, lost_again, stopped, asleep, ended.",
            ["tag", "outcome"],
            registry=registry,
        )
        self._out_of_memory = Counter(
            "casemate_out_of_memory",
            "Times that the kernel killed something in a session's sandbox for its memory.",
            registry=registry,
        )
        self._limits = Counter(
            "casemate_limits_reached", "Limits that were reached.", ["limit"], registry=registry
        )
        self._server_failures = Counter(
            "casemate_mcp_server_failures",
            "Tool servers that ceased to serve a session.",
            ["why"],
            registry=registry,
        )

    def _make_sleep_figures(self, registry: CollectorRegistry) -> None:
        self._steps = Counter(
            "casemate_stay_steps",
            "Freezes, thaws, hibernations, wakes, recoveries, exchanges, returns and adoptions, by "
            "outcome: done, or why not.",
            ["step", "outcome"],
            registry=registry,
        )
        self._hibernations = Counter(
            "casemate_hibernations",
            "Sessions whose sandbox was given up in good order.",
            ["reason"],
            registry=registry,
        )
        self._wakes = Histogram(
            "casemate_wake_seconds",
            "From beginning to wake to having a sandbox with everything in it.",
            ["reason"],
            buckets=WAKE_SECONDS,
            registry=registry,
        )

    def _make_checkpoint_figures(self, registry: CollectorRegistry) -> None:
        self._checkpoint_bytes = Histogram(
            "casemate_checkpoint_bytes",
            "Checkpoints that were taken, by their size as kept.",
            buckets=BYTES,
            registry=registry,
        )
        self._checkpoint_seconds = Histogram(
            "casemate_checkpoint_seconds",
            "How long taking one took.",
            buckets=WAKE_SECONDS,
            registry=registry,
        )
        self._checkpoint_failures = Counter(
            "casemate_checkpoint_failures",
            "Checkpoints that could not be taken.",
            ["tag"],
            registry=registry,
        )
        self._mirror_errors = Counter(
            "casemate_transcript_mirror_errors",
            "Times that the agent could not hand its transcript over at once.",
            registry=registry,
        )


def _remember(known: OrderedDict[SessionId, T], key: SessionId, value: T) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > MAX_REMEMBERED:
        known.popitem(last=False)
