"""Tells memory and storage: often enough for a watchdog, seldom enough to cost nothing.

With the same rhythm it fences what is not fenced (see `fence`).
"""

import asyncio
from collections.abc import Callable

from orchestrator.protocol.sandbox_events import MemoryMeasured, SandboxEvent, StorageMeasured
from shim.contents import Roots
from shim.fence import fence_the_rest
from shim.memory import measure_memory
from shim.storage import measure_storage

PERIOD = 5.0
"""Seconds."""
PERIOD_NEAR_LIMIT = 0.5
"""Seconds. From there to the limit a build can go in two or three."""
NEAR = 0.7
"""Part of the memory limit in the working set."""
NOTEWORTHY = 0.01
"""A change by this part of a limit is news; less is not."""

Say = Callable[[SandboxEvent], None]


async def keep_measuring(say: Say, roots: Roots, *, period: float = PERIOD) -> None:
    """Never ends."""
    memory: MemoryMeasured | None = None
    storage: StorageMeasured | None = None
    while True:
        fence_the_rest()
        now, filled = measure_memory(), measure_storage(roots)
        if now is not None and _is_news(memory, now):
            say(now)
            memory = now
        if filled is not None and _is_fuller(storage, filled):
            say(filled)
            storage = filled
        await asyncio.sleep(min(period, PERIOD_NEAR_LIMIT) if _is_near(now) else period)


def say_memory(say: Say) -> None:
    now = measure_memory()
    if now is not None:
        say(now)


def _is_near(now: MemoryMeasured | None) -> bool:
    return now is not None and now.limit > 0 and now.working_set > now.limit * NEAR


def _is_news(told: MemoryMeasured | None, now: MemoryMeasured) -> bool:
    if told is None or told.oom_kills != now.oom_kills:
        return True
    return abs(now.working_set - told.working_set) > (now.limit or now.usage) * NOTEWORTHY


def _is_fuller(told: StorageMeasured | None, now: StorageMeasured) -> bool:
    """Emptier counts as well."""
    if told is None or (told.home_size, told.workspace_size) != (now.home_size, now.workspace_size):
        return True
    home = abs(now.home_used - told.home_used) > now.home_size * NOTEWORTHY
    return home or abs(now.workspace_used - told.workspace_used) > now.workspace_size * NOTEWORTHY
