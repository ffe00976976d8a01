"""How many files are on their way at once, of one session and of one person."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orchestrator.protocol.ids import SessionId, UserId
from orchestrator.sessions.files.errors import TooManyTransfers
from orchestrator.sessions.files.limits import FileLimits
from orchestrator.sessions.ports import Actor


class TransferPlaces:
    def __init__(self, limits: FileLimits) -> None:
        self._limits = limits
        self._of_user: Counter[UserId] = Counter()
        self._of_session: Counter[SessionId] = Counter()

    @contextmanager
    def taken(self, actor: Actor, session_id: SessionId) -> Iterator[None]:
        """Raises TooManyTransfers."""
        if (
            self._of_user[actor.id] >= self._limits.per_user
            or self._of_session[session_id] >= self._limits.per_session
        ):
            raise TooManyTransfers
        self._of_user[actor.id] += 1
        self._of_session[session_id] += 1
        try:
            yield
        finally:
            _count_down(self._of_user, actor.id)
            _count_down(self._of_session, session_id)


def _count_down(counter: Counter[Any], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
