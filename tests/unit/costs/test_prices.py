"""What requests cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.costs import is_priced, price, rates_for
from orchestrator.protocol.event_parts import Usage

MILLION = 1_000_000
COUNTS = st.integers(0, 10 * MILLION)


@pytest.mark.parametrize(
    ("model", "rates"),
    [
        ("claude-opus-5-5", (4, 20)),
        ("claude-opus-5", (5, 25)),
        ("claude-opus-4-5-20251101", (5, 25)),
        ("claude-opus-4-1-20250805", (15, 75)),
        ("claude-opus-4-20250514", (15, 75)),
        ("claude-sonnet-5-5", (2, 10)),
        ("claude-sonnet-4-5", (3, 15)),
        ("claude-haiku-4-5-20251001", (1, 5)),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", (1, 5)),
        ("claude-fable-5-1", (10, 50)),
    ],
)
def test_a_model_has_its_family_price(model: str, rates: tuple[float, float]) -> None:
    """Dated names, names of other providers and newer members find their family."""
    found = rates_for(model)
    assert (found.input, found.output) == rates
    assert is_priced(model)


@pytest.mark.parametrize("model", ["", "gpt-5", "claude-", "claude-opus-9", "claude-opus-55"])
def test_an_unknown_model_costs_as_much_as_the_dearest(model: str) -> None:
    """And says that it is unknown: no budget is passed by because a name is new."""
    assert not is_priced(model)
    assert rates_for(model).output == 75


def test_each_kind_of_token_has_its_price() -> None:
    """Cache reads are cheap, cache writes cost a quarter more, for an hour twice as much."""
    usage = Usage(
        input_tokens=MILLION,
        output_tokens=MILLION,
        cache_read_tokens=MILLION,
        cache_write_tokens=MILLION,
    )
    assert price("claude-opus-5", usage) == pytest.approx(5 + 25 + 0.5 + 6.25)
    hour = price("claude-opus-5", usage, cache_write_1h_tokens=MILLION)
    assert hour == pytest.approx(5 + 25 + 0.5 + 10)


def test_a_long_prompt_may_have_another_price() -> None:
    """Where the price list has two bands, the whole prompt decides, cached or not."""
    short = Usage(input_tokens=50_000, cache_read_tokens=50_000)
    long = Usage(input_tokens=50_000, cache_read_tokens=50_001)
    assert price("claude-haiku-5-5", short) == pytest.approx(0.0055)
    assert price("claude-haiku-5-5", long) == pytest.approx(0.0275, rel=1e-3)


@given(model=st.text(max_size=30), a=COUNTS, b=COUNTS, c=COUNTS, d=COUNTS)
def test_nothing_costs_less_than_nothing(model: str, a: int, b: int, c: int, d: int) -> None:
    """Any model and any counts have a price, and more tokens never cost less."""
    usage = Usage(input_tokens=a, output_tokens=b, cache_read_tokens=c, cache_write_tokens=d)
    more = Usage(input_tokens=a, output_tokens=b + 1, cache_read_tokens=c, cache_write_tokens=d)
    assert 0 <= price(model, usage) < price(model, more)
