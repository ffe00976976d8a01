"""Tells the sandbox's memory: often enough for a watchdog, seldom enough to cost nothing."""

import asyncio
from collections.abc import Callable

from orchestrator.protocol.sandbox_events import MemoryMeasured, SandboxEvent
from shim.memory import measure_memory

PERIOD = 5.0
"""Seconds."""
NOTEWORTHY = 0.01
"""A change by this part of the limit is news; less is not."""

Say = Callable[[SandboxEvent], None]


async def keep_saying_memory(say: Say, *, period: float = PERIOD) -> None:
    """Never ends."""
    told: MemoryMeasured | None = None
    while True:
        now = measure_memory()
        if now is not None and _is_news(told, now):
            say(now)
            told = now
        await asyncio.sleep(period)


def say_memory(say: Say) -> None:
    now = measure_memory()
    if now is not None:
        say(now)


def _is_news(told: MemoryMeasured | None, now: MemoryMeasured) -> bool:
    if told is None or told.oom_kills != now.oom_kills:
        return True
    return abs(now.working_set - told.working_set) > (now.limit or now.usage) * NOTEWORTHY
