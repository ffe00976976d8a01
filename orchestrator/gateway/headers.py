"""Which headers pass, in both directions. Pure. All others are dropped, credentials foremost.

To the upstream goes what the CLI needs to say of itself and of the features that it uses. To the
sandbox comes nothing that tells of the account behind the key: no ids, no cookies, and none of the
rate limits that all sessions share.
"""

import re
from collections.abc import Iterable, Mapping

SERVER = "casemate"
"""All that is told of the software that answers."""

_TO_UPSTREAM = frozenset(
    {
        "accept",
        "anthropic-beta",
        "anthropic-version",
        "user-agent",
        "x-app",
        *(
            f"x-stainless-{name}"
            for name in (
                "arch",
                "async",
                "helper",
                "helper-method",
                "lang",
                "os",
                "package-version",
                "read-timeout",
                "retry-count",
                "runtime",
                "runtime-version",
                "timeout",
            )
        ),
    }
)

_TO_SANDBOX = frozenset({"content-type", "retry-after", "x-should-retry"})
_TO_SANDBOX_PREFIX = "anthropic-ratelimit-unified-"
"""What the CLI shows as the state of a subscription."""

_PLAIN_VALUE = re.compile(r"[\x20-\x7e]{0,2000}")
"""A value of other characters could not even be sent on."""

_BETA = re.compile(r"([a-z0-9]+(?:-[a-z0-9]+)*?)-20\d\d-?\d\d-?\d\d")

PLAIN_BETAS = frozenset(
    {
        "advanced-tool-use",
        "afk-mode",
        "auto-mode-classifier",
        "cache-diagnosis",
        "cache-keepalive",
        "claude-code",
        "claude-code-side-query",
        "context-1m",
        "context-hint",
        "context-management",
        "dangerous-tool-use",
        "effort",
        "extended-cache-ttl",
        "fine-grained-tool-streaming",
        "inline-tools",
        "interleaved-thinking",
        "mid-conversation-system",
        "mid-conversation-system-clear-at",
        "mid-conversation-tool-changes",
        "output-128k",
        "per-turn-control",
        "prompt-caching",
        "prompt-caching-evict",
        "prompt-caching-scope",
        "redact-thinking",
        "structured-outputs",
        "task-budgets",
        "thinking-binding-controls",
        "thinking-display-updates",
        "thinking-resumption",
        "thinking-token-count",
        "timing",
        "token-counting",
        "token-efficient-tools",
        "tool-provenance",
        "tool-search-tool",
    }
)
"""Features of the model API, without their dates, that change only how the model answers. Left out
are those with which the provider fetches, runs or stores something, keeps agents of its own, or
bills otherwise: `files-api`, `web-search`, `code-execution`, `mcp-*`, `skills`, `managed-agents`,
`server-side-fallback`, `fast-mode`, ..."""


def to_upstream(
    sent: Iterable[tuple[str, str]],
    credential: Mapping[str, str],
    *,
    betas: Iterable[str] = (),
) -> dict[str, str]:
    """The request's headers: what may pass of those that were sent, then our own. `betas` are let
    through beside the plain ones."""
    passed = _passed(sent, _TO_UPSTREAM)
    if "anthropic-beta" in passed:
        passed["anthropic-beta"] = ",".join(
            known_betas(passed["anthropic-beta"], PLAIN_BETAS | set(betas))
        )
        if not passed["anthropic-beta"]:
            del passed["anthropic-beta"]
    ours = {"content-type": "application/json", "accept-encoding": "identity"}
    return passed | ours | dict(credential)


def to_sandbox(answered: Iterable[tuple[str, str]]) -> dict[str, str]:
    return _passed(answered, _TO_SANDBOX, _TO_SANDBOX_PREFIX) | {"server": SERVER}


def known_betas(value: str, known: frozenset[str]) -> list[str]:
    """Of a list of features those that are known, by their name without the date."""
    asked = [name.strip() for name in value.split(",")]
    return [name for name in asked if (found := _BETA.fullmatch(name)) and found[1] in known]


def _passed(
    headers: Iterable[tuple[str, str]], names: frozenset[str], prefix: str | None = None
) -> dict[str, str]:
    """Lower-case names; a header that came several times becomes one list."""
    passed: dict[str, str] = {}
    for name, value in headers:
        name = name.lower()  # noqa: PLW2901 - the same name, in the form that is compared
        known = name in names or (prefix is not None and name.startswith(prefix))
        if known and _PLAIN_VALUE.fullmatch(value):
            passed[name] = f"{passed[name]}, {value}" if name in passed else value
    return passed
