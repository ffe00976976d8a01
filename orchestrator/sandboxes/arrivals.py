"""What comes over a link is checked here before anyone else sees it: order, size and pace. Pure."""

import msgspec

from orchestrator.protocol.link import MAX_EVENT_BYTES, Numbered
from orchestrator.sandboxes.errors import LinkViolated
from orchestrator.sandboxes.settings import LinkSettings

MOST_NUMBER = 2**48
"""More events than any sandbox has: a number that nobody need fear to store."""


class Arrival(msgspec.Struct, frozen=True):
    """One event, in order and for the first time; its body is not decoded yet."""

    n: int
    body: bytes


class Arrivals:
    """Follows the numbers of one sandbox's events, across the connections of its link.

    On one connection numbers rise; a new connection may begin again with what was not acknowledged.
    A number that is missing can never come any more, so it ends the link.

    `held`: for a sandbox that outlived the one who followed it before. The first number is then any
    one above it: what lies between was held, or was never meant to be.
    """

    def __init__(self, *, held: int | None = None) -> None:
        self._received = held or 0
        self._any_next = held is not None
        self._on_this_connection = 0

    @property
    def received(self) -> int:
        return self._received

    def connected(self) -> None:
        self._on_this_connection = 0

    def accept(self, items: list[Numbered]) -> list[Arrival]:
        """Those that are new. Raises LinkViolated."""
        return [arrival for item in items if (arrival := self._accept(item)) is not None]

    def _accept(self, item: Numbered) -> Arrival | None:
        if item.n <= self._on_this_connection:
            raise LinkViolated(
                "The sandbox sent its events out of order and was cut off.", tag="link_disorder"
            )
        if item.n > (MOST_NUMBER if self._any_next else self._received + 1):
            raise LinkViolated(
                "Events of the sandbox are missing, so it was cut off.", tag="link_gap"
            )
        body = bytes(item.body)
        if len(body) > MAX_EVENT_BYTES:
            raise LinkViolated(
                "The sandbox sent an event that is too long and was cut off.", tag="link_oversize"
            )
        self._on_this_connection = item.n
        if item.n <= self._received:
            return None
        self._received, self._any_next = item.n, False
        return Arrival(item.n, body)


class Pace:
    """A token bucket of some seconds for events and one for bytes.

    Whoever is too fast is read more slowly; who stays too fast without a break is a flood.
    """

    def __init__(self, settings: LinkSettings) -> None:
        self._settings = settings
        self._clear_at = 0.0
        self._slowed_since: float | None = None

    def charge(self, *, events: int, size: int, now: float) -> float:
        """Seconds to wait before reading on. `now` is monotonic. Raises LinkViolated."""
        cost = max(
            events / self._settings.events_per_second, size / self._settings.bytes_per_second
        )
        if self._clear_at <= now:
            self._slowed_since = None
        self._clear_at = max(self._clear_at, now) + cost
        ahead = self._clear_at - now - self._settings.burst_seconds
        if ahead <= 0:
            return 0.0
        if self._slowed_since is None:
            self._slowed_since = now
        if now - self._slowed_since > self._settings.flood_limit:
            raise LinkViolated(
                "The sandbox sent far too much for far too long and was cut off.",
                tag="link_flooded",
            )
        return ahead


class DialPace:
    """How soon the next connection of one slot may be accepted: some at once, then so many a
    second. A shim dials once, and once for each transfer."""

    def __init__(self, settings: LinkSettings) -> None:
        self._cost = 1.0 / settings.dials_per_second
        self._ahead = settings.dials_at_once * self._cost
        self._clear_at = 0.0

    def next(self, *, now: float) -> float:
        """Seconds to wait; counts as one connection. `now` is monotonic."""
        self._clear_at = max(self._clear_at, now) + self._cost
        return max(0.0, self._clear_at - now - self._ahead)
