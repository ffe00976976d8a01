"""The bytes that a session may still send and receive, whatever slot and connection it uses."""

from collections import OrderedDict

from orchestrator.protocol.ids import SessionId
from orchestrator.sessions.profiles import Egress

MAX_SESSIONS = 10_000
"""Remembered; the one that was not heard of for longest is forgotten."""


class BudgetSpent(Exception):
    """`direction` is `sent` or `received`."""

    def __init__(self, direction: str) -> None:
        super().__init__(direction)
        self.direction = direction


class ByteBudget:
    """Spent before the bytes are passed on, so that no more than the limit ever passes."""

    def __init__(self, egress: Egress) -> None:
        self._up = egress.max_bytes_up
        self._down = egress.max_bytes_down

    def check(self) -> None:
        """Raises BudgetSpent where nothing is left."""
        self.send(0)
        self.receive(0)

    def send(self, size: int) -> None:
        if size > self._up or not self._up:
            self._up = 0
            raise BudgetSpent("sent")
        self._up -= size

    def receive(self, size: int) -> None:
        if size > self._down or not self._down:
            self._down = 0
            raise BudgetSpent("received")
        self._down -= size


class SessionBudgets:
    def __init__(self) -> None:
        self._budgets: OrderedDict[SessionId, ByteBudget] = OrderedDict()

    def of(self, session_id: SessionId, egress: Egress) -> ByteBudget:
        """The same one for as long as the session is remembered."""
        budget = self._budgets.setdefault(session_id, ByteBudget(egress))
        self._budgets.move_to_end(session_id)
        while len(self._budgets) > MAX_SESSIONS:
            self._budgets.popitem(last=False)
        return budget
