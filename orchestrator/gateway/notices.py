"""Tells a session's people about upstream failures and usage, each failure once."""

import time
from collections.abc import Callable
from typing import Protocol

from orchestrator.protocol.control_events import EgressRefused, UpstreamFailed, UsageMetered
from orchestrator.protocol.ids import ProfileName, SessionId


class GatewayWatcher(Protocol):
    """Who hears what the gateway sees. Called in the event loop; must not block."""

    def metered(self, session_id: SessionId, event: UsageMetered) -> None: ...
    def upstream_failed(self, session_id: SessionId, event: UpstreamFailed) -> None: ...
    def egress_refused(
        self, session_id: SessionId, profile: ProfileName, event: EgressRefused
    ) -> None: ...
    def upstream_state(self, *, is_open: bool, sentence: str, until: str | None) -> None:
        """Of the model API for everybody: `is_open` while nothing is sent on, with a later `until`
        (RFC 3339, UTC) each time that an attempt failed."""


class Notices:
    """Of one session. The agent tries a failed request again and again: that is one failure."""

    def __init__(
        self,
        session_id: SessionId,
        watcher: GatewayWatcher,
        *,
        repeat_silence: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session_id = session_id
        self._watcher = watcher
        self._repeat_silence = repeat_silence
        self._now = now
        self._last: tuple[str, float] | None = None
        self._outage = 0

    def metered(self, event: UsageMetered) -> None:
        self._watcher.metered(self._session_id, event)

    def failed(self, event: UpstreamFailed) -> None:
        now = self._now()
        repeated = (
            self._last is not None
            and self._last[0] == event.tag
            and now - self._last[1] < self._repeat_silence
        )
        self._last = (event.tag, now)
        if not repeated:
            self._watcher.upstream_failed(self._session_id, event)

    def not_sent(self, event: UpstreamFailed, *, outage: int) -> None:
        """Once in each outage: everybody is told of it as a whole."""
        if outage != self._outage:
            self._outage = outage
            self._watcher.upstream_failed(self._session_id, event)

    def succeeded(self) -> None:
        """The next failure is a new one."""
        self._last = None
