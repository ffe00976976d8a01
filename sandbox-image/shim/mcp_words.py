"""What Claude is told of a tool server that fails: as a call's answer, and beside a prompt. Pure.

Said so that it goes on without the tools instead of trying them again and again.
"""

from typing import Literal

import msgspec

Why = Literal["not_started", "died", "too_slow", "broken_off", "too_much"]
"""As in `McpServerFailed`."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Of one server."""

    server: str
    why: Why
    last_words: str = ""
    for_good: bool = False
    """It will not run again in this sandbox."""


_HAPPENED: dict[Why, str] = {
    "not_started": "did not start",
    "died": "stopped running",
    "too_slow": "hung and was ended",
    "broken_off": "gave no answer several times in a row",
    "too_much": "wrote more than can be read and was ended",
}


def gone(server: str, *, for_good: bool) -> str:
    """The answer to a call that reaches nobody."""
    if for_good:
        return (
            f"The tool server `{server}` is gone for the rest of this session. Do not call its"
            " tools again; go on without them."
        )
    return (
        f"The tool server `{server}` stopped running and is being started again. Do not call its"
        " tools now; go on without them."
    )


def not_asked(server: str, *, seconds: int) -> str:
    """The answer while its calls are broken off."""
    return (
        f"The tool server `{server}` {_HAPPENED['broken_off']}. It is not called for"
        f" {max(1, seconds)} seconds; go on without its tools."
    )


def took_too_long(server: str, *, seconds: float) -> str:
    return (
        f"The tool server `{server}` did not answer within {seconds:g} seconds; the call was taken"
        " back."
    )


def news(failure: Failure) -> str:
    """Beside the next prompt."""
    end = "Its tools may fail."
    if failure.for_good:
        end = "Do not call its tools: go on without them."
    return f"The tool server `{failure.server}` {_HAPPENED[failure.why]}. {end}"


def good_news(server: str) -> str:
    """Where the next prompt comes after all is well again."""
    return f"The tool server `{server}` failed for a while and runs again: its tools can be called."
