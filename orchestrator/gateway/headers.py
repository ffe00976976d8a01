"""Which headers pass, in both directions. Pure. All others are dropped, credentials foremost."""

from collections.abc import Iterable, Mapping

_TO_UPSTREAM = frozenset(
    {
        "accept",
        "anthropic-beta",
        "anthropic-dangerous-direct-browser-access",
        "anthropic-version",
        "user-agent",
        "x-app",
    }
)
_TO_UPSTREAM_PREFIX = "x-stainless-"

_TO_SANDBOX = frozenset({"content-type", "request-id", "retry-after", "x-should-retry"})
_TO_SANDBOX_PREFIX = "anthropic-ratelimit-"


def to_upstream(sent: Iterable[tuple[str, str]], credential: Mapping[str, str]) -> dict[str, str]:
    """The request's headers: what may pass of those that were sent, then our own."""
    passed = _passed(sent, _TO_UPSTREAM, _TO_UPSTREAM_PREFIX)
    ours = {"content-type": "application/json", "accept-encoding": "identity"}
    return passed | ours | dict(credential)


def to_sandbox(answered: Iterable[tuple[str, str]]) -> dict[str, str]:
    return _passed(answered, _TO_SANDBOX, _TO_SANDBOX_PREFIX) | {"server": "casemate"}


def _passed(
    headers: Iterable[tuple[str, str]], names: frozenset[str], prefix: str
) -> dict[str, str]:
    """Lower-case names; a header that came several times becomes one list."""
    passed: dict[str, str] = {}
    for name, value in headers:
        name = name.lower()  # noqa: PLW2901 - the same name, in the form that is compared
        if name in names or name.startswith(prefix):
            passed[name] = f"{passed[name]}, {value}" if name in passed else value
    return passed
