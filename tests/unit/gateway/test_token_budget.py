"""How many tokens a session may use, and how far beyond that it can come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.gateway.connections import Pace
from orchestrator.gateway.failures import explain_budget
from orchestrator.gateway.refusals import Refused
from orchestrator.gateway.token_budget import Reservation, TokenBudget


def refusal(budget: TokenBudget, *, prompt_bytes: int = 0, max_tokens: int = 1) -> int:
    with (
        pytest.raises(Refused) as caught,
        budget.reserve(prompt_bytes=prompt_bytes, max_tokens=max_tokens),
    ):
        pass
    return caught.value.status


def test_a_budget_that_is_used_up_refuses_for_good() -> None:
    """With a status that the CLI does not try again after, and told once."""
    budget = TokenBudget(1000)
    with budget.reserve(prompt_bytes=0, max_tokens=10) as reservation:
        reservation.settle(1000)
    assert refusal(budget) == 403
    assert budget.is_used_up
    assert [budget.first_refusal() for _ in range(3)] == [True, False, False]
    failure = explain_budget(1000)
    assert failure.tag == "token_budget_used"
    assert "1,000" in failure.sentence
    assert failure.advice.endswith(".")


def test_the_last_request_may_run_alone() -> None:
    """As long as anything is left one request passes, however much it asks for; a second one beside
    it waits."""
    budget = TokenBudget(1000)
    with budget.reserve(prompt_bytes=4000, max_tokens=128_000) as reservation:
        assert refusal(budget) == 429
        reservation.settle(900)
    with budget.reserve(prompt_bytes=400, max_tokens=50) as reservation:
        assert refusal(budget) == 429
        reservation.settle(10)
    assert budget.used == 910


def test_requests_run_side_by_side_where_there_is_room_for_both() -> None:
    """What is reserved is given back when it was not used."""
    budget = TokenBudget(10_000)
    with (
        budget.reserve(prompt_bytes=4000, max_tokens=4000) as one,
        budget.reserve(prompt_bytes=4000, max_tokens=4000) as other,
    ):
        assert refusal(budget) == 429
        one.settle(5)
        other.settle(5)
    assert budget.used == 10


def test_who_hangs_up_pays_for_the_prompt() -> None:
    """A request whose answer told nothing counts as what was asked."""
    budget = TokenBudget(10_000)
    with (
        pytest.raises(ConnectionError),
        budget.reserve(prompt_bytes=4000, max_tokens=4000),
    ):
        raise ConnectionError
    assert budget.used == 1000


def test_who_hangs_up_on_an_answer_that_does_not_stream_pays_for_all_of_it() -> None:
    """Its tokens stand at its end: cut off before that, most of it could be had for nothing."""
    budget = TokenBudget(10_000)
    with (
        pytest.raises(ConnectionError),
        budget.reserve(prompt_bytes=4000, max_tokens=4000, streams=False),
    ):
        raise ConnectionError
    assert budget.used == 5000


def test_without_a_limit_everything_passes() -> None:
    """And it is counted all the same."""
    budget = TokenBudget(None)
    with budget.reserve(prompt_bytes=1 << 40, max_tokens=1 << 40) as reservation:
        reservation.settle(1 << 40)
    with budget.reserve(prompt_bytes=1, max_tokens=1):
        pass
    assert budget.used >= 1 << 40


def test_a_budget_of_nothing_lets_nothing_pass() -> None:
    """Zero is a limit."""
    assert refusal(TokenBudget(0)) == 403


@given(
    limit=st.integers(0, 10_000),
    requests=st.lists(
        st.tuples(st.integers(0, 8000), st.integers(0, 5000), st.booleans()), max_size=20
    ),
)
def test_never_more_than_one_request_beyond(
    limit: int, requests: list[tuple[int, int, bool]]
) -> None:
    """However requests overlap, and with each using all that it reserved, what is used exceeds the
    budget by less than one request."""
    budget = TokenBudget(limit)
    running: list[tuple[object, Reservation]] = []
    largest = 0
    for prompt_bytes, max_tokens, ends_one in requests:
        held = budget.reserve(prompt_bytes=prompt_bytes, max_tokens=max_tokens)
        try:
            reservation = held.__enter__()
        except Refused:
            pass
        else:
            largest = max(largest, reservation.tokens)
            running.append((held, reservation))
        if ends_one and running:
            end(*running.pop(0))
    for each in running:
        end(*each)
    assert budget.used <= limit + largest


def end(held: object, reservation: Reservation) -> None:
    reservation.settle(reservation.tokens)
    held.__exit__(None, None, None)  # type: ignore[attr-defined]


def test_a_pace_lets_a_burst_pass_and_then_the_average() -> None:
    """The delay grows with each that comes too early, and a pause gives the burst back."""
    now = 0.0
    pace = Pace(per_second=10, burst=3, now=lambda: now)
    assert [round(pace.delay(), 3) for _ in range(5)] == [0, 0, 0, 0.1, 0.2]
    now = 100.0
    assert [round(pace.delay(), 3) for _ in range(4)] == [0, 0, 0, 0.1]
