"""How many tokens one session may still use in its slot. No input or output.

A request reserves what it may cost before it is sent, and settles what it did cost afterwards. Two
requests run side by side only where the budget holds both; one alone may run as long as anything is
left. So what is used goes over the budget by at most one request.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.gateway.refusals import budget_reserved, budget_used

_BYTES_PER_TOKEN = 4
_LARGEST_PROMPT = 1_000_000
"""Tokens. The model API refuses what is longer than a model's context."""


class Reservation:
    """Of one request. What is never settled counts as its prompt: whoever hangs up before the first
    word has caused that cost and would otherwise not be counted. An answer that does not stream
    tells its tokens with its last byte: who hangs up before that is counted all that it may be."""

    def __init__(self, *, prompt: int, answer: int, streams: bool) -> None:
        self.prompt = prompt
        self.tokens = prompt + answer
        self.spent = prompt if streams else self.tokens

    def settle(self, tokens: int) -> None:
        self.spent = tokens


class TokenBudget:
    """`limit` in tokens, read and written; None for no limit."""

    def __init__(self, limit: int | None, *, used: int = 0) -> None:
        self.limit = limit
        self.used = max(0, used)
        self._reserved = 0
        self._refused = False

    @contextmanager
    def reserve(
        self, *, prompt_bytes: int, max_tokens: int, streams: bool = True
    ) -> Iterator[Reservation]:
        """Raises Refused: 403 where the budget is used up, 429 where running requests have reserved
        what is left of it."""
        prompt = min(prompt_bytes // _BYTES_PER_TOKEN, _LARGEST_PROMPT)
        reservation = Reservation(prompt=prompt, answer=max_tokens, streams=streams)
        self._check(reservation.tokens)
        self._reserved += reservation.tokens
        try:
            yield reservation
        finally:
            self._reserved -= reservation.tokens
            self.used += reservation.spent

    @property
    def is_used_up(self) -> bool:
        return self.limit is not None and self.used >= self.limit

    def first_refusal(self) -> bool:
        """True once: a budget that is used up stays so, and its people are told once."""
        first, self._refused = not self._refused, True
        return first

    def _check(self, tokens: int) -> None:
        if self.limit is None:
            return
        if self.is_used_up:
            raise budget_used(self.limit)
        if self._reserved and self.used + self._reserved + tokens > self.limit:
            raise budget_reserved()
