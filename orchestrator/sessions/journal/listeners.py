"""Tells the listeners what happens in one session. What one raises is told to the operator and
harms no session."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

from orchestrator.protocol.chat import SessionState
from orchestrator.protocol.events import Event
from orchestrator.sessions.ports import SessionListener, SessionRecord

logger = logging.getLogger(__name__)


class Listeners:
    def __init__(
        self, listeners: Sequence[SessionListener], *, record: Callable[[], SessionRecord]
    ) -> None:
        self._listeners = listeners
        self._record = record

    def tell(
        self, before: SessionState | None, after: SessionState | None, events: Sequence[Event]
    ) -> None:
        for listener in self._listeners:
            for event in events:
                self._guarded(partial(listener.happened, self._record(), event))
            if before != after:
                change = partial(listener.state_changed, before=before, after=after)
                self._guarded(partial(change, self._record()))

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            logger.exception("listener.call_failed", extra={"session_id": self._record().id})
