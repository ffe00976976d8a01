"""While the model API is down for everybody, requests fail at once instead of each by itself.

`circuitbreaker` counts: so many failures in a row open it, and after a pause it is half open. What
is decided here is what counts, that no session opens it alone by requests of its own making, that
one request at a time tries again, and who is told.

UpstreamDown       nothing is sent on just now; has the sentence and the seconds until the next try
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol

from circuitbreaker import STATE_CLOSED, STATE_OPEN, CircuitBreaker

from orchestrator.gateway.failures import is_beyond_requests, is_outage, outage_sentence
from orchestrator.gateway.settings import GatewaySettings
from orchestrator.protocol.control_events import UpstreamFailed
from orchestrator.protocol.ids import SessionId


class OnState(Protocol):
    """`until`: RFC 3339, UTC."""

    def __call__(self, *, is_open: bool, sentence: str, until: str | None) -> None: ...


class UpstreamDown(Exception):
    def __init__(self, sentence: str, *, seconds: float, opening: int) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.seconds = seconds
        self.opening = opening
        """The number of this outage; a probe that fails does not begin another one."""


class _Failed(Exception):
    """What the library counts."""


class UpstreamBreaker:
    """Of one upstream with one credential."""

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        on_state: OnState,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._on_state = on_state
        self._now = now
        self._circuit = CircuitBreaker(
            failure_threshold=settings.outage_failures,
            recovery_timeout=settings.outage_pause,
            expected_exception=_Failed,
        )
        self._by_session: Counter[SessionId] = Counter()
        """Failures in a row that a session's own requests may have caused."""
        self._failed_at = now()
        self._era = 0
        """Answers to requests of an earlier state say nothing about this one."""
        self._openings = 0
        self._probe: tuple[Attempt, float] | None = None
        self._free_at = now()
        """Since when nobody tries, or when that will be."""
        self._tried: set[SessionId] = set()
        """In this outage, in vain."""
        self._turned_away: set[SessionId] = set()
        self._sentence = ""

    @property
    def problem(self) -> str | None:
        """Why nothing is sent on, for as long as that is so."""
        return None if self._circuit.state == STATE_CLOSED else self._sentence

    @contextmanager
    def attempt(self, session_id: SessionId) -> Iterator["Attempt"]:
        """One request. Raises UpstreamDown. What ends without a word about it (a client that hung
        up, a broken sandbox) does not count."""
        attempt = Attempt(self, session_id, era=self._era)
        if self._circuit.state != STATE_CLOSED:
            self._become_probe(attempt)
        try:
            yield attempt
        finally:
            if self._probe is not None and self._probe[0] is attempt:
                self._probe, self._free_at = None, self._now()

    def answered(self, attempt: "Attempt") -> None:
        if attempt.era != self._era:
            return
        was_open = self._circuit.state != STATE_CLOSED
        self._circuit.reset()
        self._by_session.clear()
        if was_open:
            self._era += 1
            self._probe = None
            self._tried.clear()
            self._turned_away.clear()
            self._on_state(is_open=False, sentence="The model API answers again.", until=None)

    def failed(self, attempt: "Attempt", failure: UpstreamFailed) -> None:
        if attempt.era != self._era or not self._counts(attempt.session_id, failure):
            return
        was_closed = self._circuit.state == STATE_CLOSED
        with contextlib.suppress(_Failed), self._circuit:
            raise _Failed
        if self._circuit.state == STATE_OPEN:
            self._open(failure, anew=was_closed)

    def _counts(self, session_id: SessionId, failure: UpstreamFailed) -> bool:
        if self._circuit.state != STATE_CLOSED:
            return True  # the probe's
        if self._now() - self._failed_at > self._settings.outage_window:
            self._circuit.reset()
            self._by_session.clear()
        self._failed_at = self._now()
        if is_beyond_requests(failure):
            return True
        self._by_session[session_id] += 1
        return self._by_session[session_id] <= self._settings.outage_failures_per_session

    def _become_probe(self, attempt: "Attempt") -> None:
        now, session_id = self._now(), attempt.session_id
        left = self._waits(session_id, now)
        if left > 0:
            self._turned_away.add(session_id)
            raise UpstreamDown(self._sentence, seconds=max(1.0, left), opening=self._openings)
        self._probe = (attempt, now + self._settings.outage_probe)
        self._tried.add(session_id)

    def _waits(self, session_id: SessionId, now: float) -> float:
        """Seconds until this session may try. One whose own requests fail or hang could try again
        and again, and the outage would never end: those that were turned away come first."""
        if self._circuit.state == STATE_OPEN:
            return max(float(self._circuit.open_remaining), 0.001)
        if self._probe is not None:
            self._free_at = self._probe[1]
        others = self._turned_away - self._tried
        last = session_id in self._tried and bool(others)
        return self._free_at + (self._settings.outage_probe if last else 0.0) - now

    def _open(self, failure: UpstreamFailed, *, anew: bool) -> None:
        self._era += 1
        self._openings += anew
        self._probe = None
        self._by_session.clear()
        pause = self._settings.outage_pause
        self._free_at = self._now() + pause
        self._sentence = outage_sentence(failure)
        until = datetime.now(UTC) + timedelta(seconds=pause)
        told = until.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._on_state(is_open=True, sentence=self._sentence, until=told)


class Attempt:
    """What became of one request. The first word after a good beginning may come early; the last
    one counts."""

    def __init__(self, breaker: UpstreamBreaker, session_id: SessionId, *, era: int) -> None:
        self.session_id = session_id
        self.era = era
        self._breaker = breaker

    def begins_well(self) -> None:
        """A good answer has begun: enough where it was the one that tries again."""
        if self._breaker.problem is not None:
            self._breaker.answered(self)

    def answered(self) -> None:
        """The upstream did its work, whatever it said."""
        self._breaker.answered(self)

    def failed(self, failure: UpstreamFailed) -> None:
        """Outages count; what else goes wrong is an answer."""
        if is_outage(failure):
            self._breaker.failed(self, failure)
        else:
            self._breaker.answered(self)
