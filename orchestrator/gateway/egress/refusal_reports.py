"""Tells a session's people what its sandbox was refused, so that a loop cannot flood them.

The first of its kind (host, port, tag) is told at once; those that follow are counted and told
together, each time after a longer silence. Kinds beyond a bound share one entry.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from orchestrator.gateway.egress.blocked import Blocked
from orchestrator.gateway.egress.settings import EgressSettings
from orchestrator.protocol.control_events import EgressRefused

_LONGEST_SILENCE = 100
"""Times the first one."""
_Kind = tuple[str, int, str]


class Timer(Protocol):
    def cancel(self) -> None: ...


Later = Callable[[float, Callable[[], None]], Timer]


def later(seconds: float, action: Callable[[], None]) -> Timer:
    """In the running event loop."""
    return asyncio.get_running_loop().call_later(seconds, action)


class _Entry:
    def __init__(self, silence: float) -> None:
        self.silence = silence
        self.untold: Blocked | None = None
        self.count = 0
        self.timer: Timer | None = None


class RefusalReports:
    """Of one session."""

    def __init__(
        self,
        tell: Callable[[EgressRefused], None],
        settings: EgressSettings,
        *,
        later: Later = later,
    ) -> None:
        self._tell = tell
        self._settings = settings
        self._later = later
        self._entries: dict[_Kind, _Entry] = {}

    def refused(self, blocked: Blocked) -> None:
        kind = (blocked.host, blocked.port, blocked.tag)
        full = len(self._entries) >= self._settings.max_refused_hosts
        if full and kind not in self._entries:
            blocked = _and_more(blocked)
            kind = ("", 0, blocked.tag)
        entry = self._entries.setdefault(kind, _Entry(self._settings.repeat_silence))
        entry.untold = blocked
        entry.count += 1
        if entry.timer is None:
            self._say(entry)

    def close(self) -> None:
        """What was counted and not told yet is told now."""
        for entry in self._entries.values():
            if entry.timer is not None:
                entry.timer.cancel()
            self._report(entry)

    def _say(self, entry: _Entry) -> None:
        self._report(entry)
        entry.timer = self._later(entry.silence, lambda: self._after_silence(entry))

    def _after_silence(self, entry: _Entry) -> None:
        entry.timer = None
        if entry.count:
            longest = self._settings.repeat_silence * _LONGEST_SILENCE
            entry.silence = min(2 * entry.silence, longest)
            self._say(entry)

    def _report(self, entry: _Entry) -> None:
        blocked, count = entry.untold, entry.count
        entry.untold, entry.count = None, 0
        if blocked is not None:
            self._tell(
                EgressRefused(
                    host=blocked.host,
                    port=blocked.port,
                    tag=blocked.tag,
                    sentence=blocked.sentence,
                    count=count,
                )
            )


def _and_more(blocked: Blocked) -> Blocked:
    return Blocked(
        "",
        0,
        tag="too_many",
        sentence="The sandbox tries more and more different hosts.",
        status=blocked.status,
    )
