"""What a WebSocket and an event stream have in common: places for each user, and being let go."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from orchestrator.accounts.service import Accounts, Principal
from orchestrator.api.errors import TooManyStreams
from orchestrator.protocol.chat import Ending
from orchestrator.protocol.ids import UserId

GOING_AWAY = 1001
TOO_BIG = 1009
INTERNAL = 1011
RESTARTING = 1012
SIGNED_OUT = 4401
NOT_FOUND = 4404
TOO_SLOW = 4408
TOO_MANY = 4429


class StreamOver(Exception):  # no error: the reason why a stream ends
    """A stream ends. Browsers refresh and come back after 4401, and resume after the others."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class StreamHead(msgspec.Struct, frozen=True, kw_only=True):
    """What every server frame begins with."""

    seq: int
    epoch: str = ""


class StreamPlaces:
    """How many streams each user has open."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[UserId] = Counter()

    @contextmanager
    def place(self, user: UserId) -> Iterator[None]:
        """Raises TooManyStreams."""
        if self._taken[user] >= self._most:
            raise TooManyStreams
        self._taken[user] += 1
        try:
            yield
        finally:
            self._taken[user] -= 1
            if not self._taken[user]:
                del self._taken[user]


async def until_unwelcome(accounts: Accounts, principal: Principal, *, every: float) -> None:
    """Looks again and again; raises StreamOver once the user may no longer listen."""
    while True:
        await asyncio.sleep(every)
        if not await accounts.still_welcome(principal):
            raise StreamOver(SIGNED_OUT, "The sign-in or its access token is over.")


def over_because(dropped: Ending | None) -> StreamOver:
    """How a stream ends whose follower was dropped."""
    match dropped.tag if dropped else None:
        case "too_slow":
            return StreamOver(TOO_SLOW, "This connection was too slow. Resume.")
        case "shutdown":
            return StreamOver(RESTARTING, "Casemate is shutting down. Resume in a minute.")
        case _:
            return StreamOver(GOING_AWAY, "The stream ended. Resume.")
