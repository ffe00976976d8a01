"""The engine's event stream: what happens to this installation's containers, as it happens.

For: following it for as long as the engine is used, across its breaks: what happened meanwhile is
asked for when it is back. Not for: what was missed even so, because the daemon itself was started
anew and remembers nothing (`docker_engine` looks at the containers, too).
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import aiodocker
import aiohttp
import structlog

from orchestrator.sandboxes.background import BackgroundTasks

DEATHS, OUT_OF_MEMORY = ("die", "destroy"), "oom"
NANOSECONDS = 1_000_000_000

_log = structlog.get_logger(__name__)


class EngineEvents:
    """`on_death` and `on_memory` are told a container's id; they must not raise."""

    def __init__(
        self,
        *,
        label: str,
        retry: float,
        on_death: Callable[[str], None],
        on_memory: Callable[[str], None],
    ) -> None:
        self._label = label
        self._retry = retry
        self._on_death = on_death
        self._on_memory = on_memory
        self._last = 0
        self._away_since: float | None = None
        self._back_at: float | None = None
        self._tasks = BackgroundTasks()

    def start(self, client: aiodocker.Docker) -> None:
        self._last = time.time_ns()
        self._tasks.start(self._follow_always(client), name="engine-events")

    async def close(self) -> None:
        await self._tasks.close()

    def was_away(self, *, within: float) -> bool:
        """Whether the stream is broken now, or was until so many seconds ago."""
        if self._away_since is not None:
            return True
        return self._back_at is not None and time.monotonic() - self._back_at <= within

    async def _follow_always(self, client: aiodocker.Docker) -> None:
        while True:
            with contextlib.suppress(aiodocker.DockerError, aiohttp.ClientError, OSError):
                await self._follow(client)
            if self._away_since is None:
                self._away_since = time.monotonic()
            _log.warning("engine_events.broken", retry_after=self._retry)
            await asyncio.sleep(self._retry)
            with contextlib.suppress(aiodocker.DockerError, aiohttp.ClientError, OSError):
                async with asyncio.timeout(self._retry):
                    await client.version()
                self._away_since, self._back_at = None, time.monotonic()

    async def _follow(self, client: aiodocker.Docker) -> None:
        events: Any = client.events
        subscriber = events.subscribe(create_task=False)
        stream = asyncio.create_task(events.run(**self._wanted()), name="engine-event-stream")
        try:
            while (event := await subscriber.get()) is not None:
                self._take(event)
        finally:
            stream.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await stream

    def _wanted(self) -> dict[str, str]:
        """From where the stream broke: the daemon remembers a while."""
        wanted = {
            "type": ["container"],
            "event": [*DEATHS, OUT_OF_MEMORY],
            "label": [self._label],
        }
        seconds, rest = divmod(self._last + 1, NANOSECONDS)
        return {"filters": json.dumps(wanted), "since": f"{seconds}.{rest:09d}"}

    def _take(self, event: Mapping[str, Any]) -> None:
        container = event["Actor"]["ID"]
        self._last = max(self._last, int(event.get("timeNano", 0)))
        if event["Action"] == OUT_OF_MEMORY:
            self._on_memory(container)
        else:
            self._on_death(container)
