from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sandboxes.sizing import Counts, backoff, plan, retry_after

small = st.integers(0, 12)
counts = st.builds(
    Counts, ready=small, stale=small, starting=small, taken=small, waiting=st.integers(0, 40)
)
sizes = st.tuples(small, small).map(sorted)
caps = st.integers(1, 4)


@given(counts, sizes, caps)
def test_never_past_the_ceiling(now, size, cap):
    """Whatever the counts, a plan starts nothing beyond the maximum or the cap on starts."""
    todo = plan(now, minimum=size[0], maximum=size[1], start_cap=cap)
    assert todo.start >= 0
    assert todo.start == 0 or now.total + todo.start <= size[1]
    assert todo.start == 0 or now.starting + todo.start <= cap


@given(counts, sizes, caps)
def test_drops_only_what_there_is(now, size, cap):
    """A plan drops no more than there is, and nothing that someone waits for."""
    todo = plan(now, minimum=size[0], maximum=size[1], start_cap=cap)
    assert 0 <= todo.drop_ready <= now.ready
    assert 0 <= todo.drop_stale <= now.stale
    assert not (todo.start and todo.drop_ready)
    if now.total <= size[1] and now.ready <= size[0] + now.waiting:
        assert todo.drop_ready == 0


@given(sizes, caps, st.integers(0, 12), st.integers(0, 8), st.integers(0, 40))
def test_settles(size, cap, ready, stale, waiting):
    """Followed step by step, plans end with as many ready as wanted, none stale, and then rest."""
    minimum, maximum = size
    now = Counts(ready=ready, stale=stale, waiting=waiting)
    for _ in range(200):
        todo = plan(now, minimum=minimum, maximum=maximum, start_cap=cap)
        if (todo.start, todo.drop_ready, todo.drop_stale) == (0, 0, 0) and not now.starting:
            break
        now = Counts(
            ready=now.ready - todo.drop_ready + now.starting,
            stale=now.stale - todo.drop_stale,
            starting=todo.start,
            waiting=waiting,
        )
    assert now == Counts(ready=min(minimum + waiting, maximum), waiting=waiting)


def test_stale_ones_stay_until_replaced():
    """While there is room, a stale sandbox is dropped only once its replacement is ready."""
    first = plan(Counts(stale=2), minimum=2, maximum=4, start_cap=2)
    assert (first.start, first.drop_stale) == (2, 0)
    then = plan(Counts(stale=2, ready=2), minimum=2, maximum=4, start_cap=2)
    assert (then.start, then.drop_stale) == (0, 2)


def test_stale_ones_make_room():
    """At the ceiling a stale sandbox goes first, or it would never be replaced."""
    todo = plan(Counts(stale=2), minimum=2, maximum=2, start_cap=1)
    assert (todo.start, todo.drop_stale) == (0, 1)


@given(st.integers(0, 1000), st.floats(0, 1e6))
def test_retry_after_is_bounded(waiting, seconds):
    """The time to come back is a whole number of seconds between one and two minutes."""
    assert 1 <= retry_after(waiting=waiting, seconds_per_sandbox=seconds) <= 120


def test_backoff_doubles_up_to_a_limit():
    """Rest after failures doubles and never exceeds its limit."""
    rests = [backoff(n, first=1, most=60) for n in range(9)]
    assert rests == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff(10**6, first=1, most=60) == 60
