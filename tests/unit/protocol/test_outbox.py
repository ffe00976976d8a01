from hypothesis import given
from hypothesis import strategies as st

from orchestrator.protocol.outbox import Outbox


def test_kept_until_acknowledged():
    """What was added is pending, numbered from 1, until the other side has it."""
    outbox = Outbox()
    assert [outbox.add(body).n for body in ("{}", "[]", b'"x"')] == [1, 2, 3]
    outbox.acknowledge(2)
    assert [(item.n, bytes(item.body)) for item in outbox.pending()] == [(3, b'"x"')]
    assert (len(outbox), outbox.size, outbox.last) == (1, 3, 3)


@given(st.lists(st.one_of(st.just("add"), st.integers(-3, 30)), max_size=40))
def test_any_order_of_adding_and_acknowledging(steps):
    """Numbers rise without gaps; late and repeated acknowledgements bring nothing back."""
    outbox, highest = Outbox(), 0
    for step in steps:
        if step == "add":
            outbox.add("{}")
        else:
            outbox.acknowledge(step)
            highest = max(highest, min(step, outbox.last))
    assert [item.n for item in outbox.pending()] == list(range(highest + 1, outbox.last + 1))
    assert outbox.size == 2 * len(outbox)
