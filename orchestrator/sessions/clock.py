"""The time, as the rules need it."""

import time
from datetime import UTC, datetime


class SystemClock:
    """A `Clock` on the machine's own. `now` never goes backwards, also where the machine's does."""

    def __init__(self) -> None:
        self._latest = ""

    def now(self) -> str:
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        self._latest = max(self._latest, stamp)
        return self._latest

    def monotonic(self) -> float:
        return time.monotonic()
