"""Limits of a slot: rate, concurrency, bytes."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.gateway.limits import BodyBudget, Concurrency, RequestRate
from orchestrator.gateway.refusals import Refused

MIB = 1 << 20


def test_a_burst_is_let_in_and_then_the_average() -> None:
    """After the burst one request passes per interval, and the wait is told."""
    now = 0.0
    rate = RequestRate(per_minute=60, burst=3, now=lambda: now)
    for _ in range(3):
        rate.take()
    with pytest.raises(Refused) as caught:
        rate.take()
    assert (caught.value.status, caught.value.retry_after) == (429, 1)
    now = 1.0
    rate.take()
    with pytest.raises(Refused):
        rate.take()


def test_the_places_come_back() -> None:
    """A request that ended, in whatever way, frees its place."""
    places = Concurrency(1)
    with contextlib.suppress(ValueError), places.hold():
        with pytest.raises(Refused), places.hold():
            pass
        raise ValueError
    with places.hold():
        pass


def test_large_bodies_of_all_slots_share_a_budget_that_small_ones_do_not_need() -> None:
    """Somebody else's large bodies never keep a small one out."""
    common = BodyBudget(4 * MIB)
    greedy, modest = (BodyBudget(100 * MIB, parent=common) for _ in range(2))
    with greedy.lease() as large:
        large.grow(4 * MIB)
        with pytest.raises(Refused):
            large.grow(1)
        with modest.lease() as small:
            small.grow(MIB)
            with pytest.raises(Refused):
                small.grow(1)
    assert (common.held, greedy.held, modest.held) == (0, 0, 0)


@given(sizes=st.lists(st.integers(0, 3 * MIB), max_size=12))
def test_what_was_taken_is_given_back(sizes: list[int]) -> None:
    """Refused in the middle or not, nothing stays held."""
    common = BodyBudget(5 * MIB)
    own = BodyBudget(8 * MIB, parent=common)
    try:
        with own.lease() as lease:
            for size in sizes:
                lease.grow(size)
    except Refused:
        pass
    assert (own.held, common.held) == (0, 0)
