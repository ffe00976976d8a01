"""SIGINT and SIGTERM as events."""

import asyncio
import signal
from typing import Self

STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Caught until everything is taken apart: the first one asks for a good end, the second for a
    quick one."""

    def __init__(self) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()

    def __enter__(self) -> Self:
        self._before = {number: signal.getsignal(number) for number in STOPPING}
        for number in STOPPING:
            asyncio.get_running_loop().add_signal_handler(number, self._told)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, handler)

    def _told(self) -> None:
        (self.second if self.first.is_set() else self.first).set()
