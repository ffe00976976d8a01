"""What the gateway reported of a session and the conversation has not written down yet.

The gateway must not be kept waiting, so its reports are put here. Bounded without losing a token:
when full, usage is added to the last report of usage; of failures the oldest are dropped. Refusals
of the same host are one; of different ones the oldest are dropped.
"""

import asyncio

import msgspec

from orchestrator.protocol.control_events import EgressRefused, UpstreamFailed, UsageMetered
from orchestrator.sessions.view.usage import summed

MAX_REPORTS = 256
Report = UsageMetered | UpstreamFailed | EgressRefused


class Reports:
    def __init__(self) -> None:
        self._usage: list[UsageMetered] = []
        self._failures: list[UpstreamFailed] = []
        self._refusals: dict[tuple[str, int, str], EgressRefused] = {}
        self._arrived = asyncio.Event()

    def add_usage(self, event: UsageMetered) -> None:
        if len(self._usage) >= MAX_REPORTS:
            event = _merged(self._usage.pop(), event)
        self._usage.append(event)
        self._arrived.set()

    def add_failure(self, event: UpstreamFailed) -> None:
        self._failures = [*self._failures, event][-MAX_REPORTS:]
        self._arrived.set()

    def add_refusal(self, event: EgressRefused) -> None:
        key = (event.host, event.port, event.tag)
        before = self._refusals.pop(key, None)
        if before is not None:
            event = msgspec.structs.replace(event, count=before.count + event.count)
        elif len(self._refusals) >= MAX_REPORTS:
            del self._refusals[next(iter(self._refusals))]
        self._refusals[key] = event
        self._arrived.set()

    async def wait(self) -> None:
        """Until there is something to take."""
        await self._arrived.wait()

    def take(self) -> list[Report]:
        """All of it; nothing is left."""
        taken: list[Report] = [*self._usage, *self._failures, *self._refusals.values()]
        self._usage, self._failures, self._refusals = [], [], {}
        self._arrived.clear()
        return taken


def _merged(one: UsageMetered, other: UsageMetered) -> UsageMetered:
    return msgspec.structs.replace(
        other, usage=summed(one.usage, other.usage), cost_usd=one.cost_usd + other.cost_usd
    )
