"""Prices of model requests, in US dollars.

Source: Anthropic's price list (platform.claude.com, "Pricing"), as of November 2026; standard speed
and service tier. A cache write costs 1.25 times the input rate for five minutes and twice the input
rate for an hour. An estimate for people and budgets: what the provider bills is what counts.
"""

import re

import msgspec

from orchestrator.protocol.event_parts import Usage

_MILLION = 1_000_000


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """US dollars per million tokens."""

    input: float
    output: float
    cache_read: float
    cache_write: float
    """Kept for five minutes, as the CLI asks by default."""
    cache_write_1h: float


def _rates(read_factor: float, /, *, input: float, output: float) -> Rates:  # noqa: A002 - the price list's word
    return Rates(
        input=input,
        output=output,
        cache_read=input * read_factor,
        cache_write=input * 1.25,
        cache_write_1h=input * 2,
    )


_BY_FAMILY = {
    "claude-fable-5-1": _rates(0.025, input=10, output=50),
    "claude-fable-5": _rates(0.1, input=10, output=50),
    "claude-mythos-5-1": _rates(0.025, input=10, output=50),
    "claude-mythos-5": _rates(0.1, input=10, output=50),
    "claude-opus-5-5": _rates(0.05, input=4, output=20),
    "claude-opus-5": _rates(0.1, input=5, output=25),
    "claude-opus-4-8": _rates(0.1, input=5, output=25),
    "claude-opus-4-7": _rates(0.1, input=5, output=25),
    "claude-opus-4-6": _rates(0.1, input=5, output=25),
    "claude-opus-4-5": _rates(0.1, input=5, output=25),
    "claude-opus-4": _rates(0.1, input=15, output=75),
    "claude-3-opus": _rates(0.1, input=15, output=75),
    "claude-sonnet-5-5": _rates(0.05, input=2, output=10),
    "claude-sonnet-5": _rates(0.1, input=2, output=10),
    "claude-sonnet-4": _rates(0.1, input=3, output=15),
    "claude-3-7-sonnet": _rates(0.1, input=3, output=15),
    "claude-3-5-sonnet": _rates(0.1, input=3, output=15),
    "claude-haiku-5-5": _rates(0.1, input=0.1, output=0.5),
    "claude-haiku-4-5": _rates(0.1, input=1, output=5),
    "claude-3-5-haiku": _rates(0.1, input=0.8, output=4),
    "claude-3-haiku": _rates(0.1, input=0.25, output=1.25),
}

_LONG_PROMPTS = {
    "claude-haiku-5-5": (100_000, _rates(0.1, input=0.5, output=2.5)),
}
"""Families whose every token costs more when the prompt, cached or not, is longer than this."""

_LONGEST_FIRST = sorted(_BY_FAMILY, key=len, reverse=True)
_DEAREST = max(_BY_FAMILY.values(), key=lambda rates: rates.output)


def price(model: str, usage: Usage, *, cache_write_1h_tokens: int = 0) -> float:
    """What one request cost. `cache_write_1h_tokens` of the usage's cache writes were for an hour.

    A model that is not in the table is priced as the dearest one that is: see `is_priced`.
    """
    prompt = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    rates = rates_for(model, prompt_tokens=prompt)
    short_writes = max(0, usage.cache_write_tokens - cache_write_1h_tokens)
    long_writes = usage.cache_write_tokens - short_writes
    dollars = (
        usage.input_tokens * rates.input
        + usage.output_tokens * rates.output
        + usage.cache_read_tokens * rates.cache_read
        + short_writes * rates.cache_write
        + long_writes * rates.cache_write_1h
    )
    return dollars / _MILLION


def rates_for(model: str, *, prompt_tokens: int = 0) -> Rates:
    family = _family(model)
    if family is None:
        return _DEAREST
    threshold, long_rates = _LONG_PROMPTS.get(family, (prompt_tokens, _BY_FAMILY[family]))
    return long_rates if prompt_tokens > threshold else _BY_FAMILY[family]


def is_priced(model: str) -> bool:
    """Whether the table knows this model's family."""
    return _family(model) is not None


def _family(model: str) -> str | None:
    """`claude-opus-4-5-20251101`, `anthropic.claude-opus-4-5-v1:0` → `claude-opus-4-5`."""
    name = model[model.find("claude-") :] if "claude-" in model else model
    return next((known for known in _LONGEST_FIRST if _is_of(name, known)), None)


def _is_of(name: str, family: str) -> bool:
    return re.match(re.escape(family) + r"(?![0-9A-Za-z])", name) is not None
