"""What passes the gateway besides bodies: targets, headers, the key, notices."""

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.gateway.credential import Credential
from orchestrator.gateway.headers import to_sandbox, to_upstream
from orchestrator.gateway.notices import Notices
from orchestrator.gateway.refusals import Refused
from orchestrator.gateway.routes import route_of
from orchestrator.protocol.control_events import EgressRefused, UpstreamFailed, UsageMetered
from orchestrator.protocol.ids import ProfileName, SessionId
from orchestrator.protocol.secret import Secret

ALLOWED = {
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages?beta=true"),
    ("POST", "/v1/messages/count_tokens"),
    ("POST", "/v1/messages/count_tokens?beta=true"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models?beta=true"),
}


@pytest.mark.parametrize(("method", "target"), sorted(ALLOWED))
def test_the_allowed_targets_pass_as_they_are(method: str, target: str) -> None:
    """What is sent on is what came."""
    assert route_of(method, target).target == target


PIECES = ["/", "v1", "messages", "models", "..", ".", "%2e", "%2F", "?", "beta=true", "\\", "x", ""]


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "TRACE", "get", ""]),
    pieces=st.lists(st.sampled_from(PIECES), max_size=8),
)
def test_any_other_target_is_refused(method: str, pieces: list[str]) -> None:
    """However it is put together."""
    target = "".join(pieces)
    if (method, target) in ALLOWED:
        return
    name = target.removeprefix("/v1/models/").removesuffix("?beta=true")
    if method == "GET" and target.startswith("/v1/models/") and name.isalnum():
        assert route_of(method, target).name == "models"
        return
    with pytest.raises(Refused) as caught:
        route_of(method, target)
    assert caught.value.status in (403, 405)


def test_only_known_headers_reach_the_upstream() -> None:
    """In any spelling, credentials of the sandbox are dropped, and ours win."""
    sent = [
        ("X-Api-Key", "mine"),
        ("AUTHORIZATION", "Bearer mine"),
        ("Proxy-Authorization", "x"),
        ("Host", "evil"),
        ("Connection", "x-api-key"),
        ("Content-Type", "text/plain"),
        ("Accept-Encoding", "zstd"),
        ("anthropic-beta", "effort-2025-11-24"),
        ("Anthropic-Beta", "claude-code-20250219"),
        ("X-Stainless-Lang", "js"),
        ("X-Stainless-Own", "mine"),
        ("User-Agent", "m\udcffne"),
        ("anthropic-dangerous-direct-browser-access", "true"),
    ]
    assert to_upstream(sent, {"x-api-key": "real"}) == {
        "anthropic-beta": "effort-2025-11-24,claude-code-20250219",
        "x-stainless-lang": "js",
        "content-type": "application/json",
        "accept-encoding": "identity",
        "x-api-key": "real",
    }


@pytest.mark.parametrize(
    "beta",
    [
        "mcp-client-2025-11-20",
        "mcp-servers-2025-12-04",
        "files-api-2025-04-14",
        "code-execution-2025-08-25",
        "web-fetch-2025-09-10",
        "web-search-2025-03-05",
        "skills-2025-10-02",
        "managed-agents-2026-04-01",
        "message-batches-2024-09-24",
        "server-side-fallback-2026-07-01",
        "fast-mode-2026-02-01",
        "effort",
        "EFFORT-2025-11-24",
        "effort-2025-11-24;x",
        "effort-2025-11-24\tfiles-api-2025-04-14",
        "",
    ],
)
def test_features_that_reach_further_are_dropped(beta: str) -> None:
    """Whatever lets the provider fetch, run or keep something is not asked for; the rest passes."""
    sent = [("anthropic-beta", f"effort-2025-11-24, {beta} ,context-1m-2025-08-07")]
    passed = to_upstream(sent, {}).get("anthropic-beta", "")
    assert passed in ("effort-2025-11-24,context-1m-2025-08-07", "")
    assert "anthropic-beta" not in to_upstream([("anthropic-beta", beta)], {})


def test_an_operator_may_let_more_features_pass() -> None:
    """By their names without the dates."""
    sent = [("anthropic-beta", "new-thing-2027-01-01")]
    assert to_upstream(sent, {}, betas=["new-thing"])["anthropic-beta"] == "new-thing-2027-01-01"


def test_only_known_headers_reach_the_sandbox() -> None:
    """No cookies, no encodings, no server names, and nothing of the account behind the key."""
    answered = [
        ("Set-Cookie", "a"),
        ("Server", "x"),
        ("Retry-After", "3"),
        ("Via", "x"),
        ("request-id", "req_1"),
        ("anthropic-organization-id", "x"),
        ("anthropic-ratelimit-tokens-remaining", "9"),
        ("anthropic-ratelimit-unified-status", "allowed"),
    ]
    assert to_sandbox(answered) == {
        "retry-after": "3",
        "anthropic-ratelimit-unified-status": "allowed",
        "server": "casemate",
    }


def test_a_secret_does_not_show() -> None:
    """Not in repr, str, format, a traceback's locals, a copy or a pickle."""
    secret = Secret("sk-real")
    credential = Credential.api_key("sk-real")
    shown = f"{secret} {secret!r} {secret!s:>20} {secret:>9} {credential!r} {[credential]}"
    assert "sk-real" not in shown
    for thing in (secret, credential):
        with pytest.raises(TypeError):
            pickle.dumps(thing)
        with pytest.raises(TypeError):
            copy.deepcopy(thing)
    assert credential.headers() == {"x-api-key": "sk-real"}
    assert Credential.auth_token("t").headers() == {"authorization": "Bearer t"}


class Watcher:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def metered(self, session_id: SessionId, event: UsageMetered) -> None:
        self.events.append(event)

    def upstream_failed(self, session_id: SessionId, event: UpstreamFailed) -> None:
        self.events.append(event.tag)

    def upstream_state(self, *, is_open: bool, sentence: str, until: str | None) -> None:
        self.events.append(is_open)

    def egress_refused(
        self, session_id: SessionId, profile: ProfileName, event: EgressRefused
    ) -> None:
        self.events.append(event.tag)


def test_a_failure_is_told_again_after_a_while() -> None:
    """Retries in quick succession are one; a pause, a success or another tag makes it new."""
    now = 0.0
    watcher = Watcher()
    notices = Notices(SessionId("s"), watcher, repeat_silence=5, now=lambda: now)
    busy = UpstreamFailed(tag="busy", sentence="x", advice="y")
    other = UpstreamFailed(tag="other", sentence="x", advice="y")
    for at in (0, 4, 8):
        now = at
        notices.failed(busy)
    assert watcher.events == ["busy"]
    now = 14
    notices.failed(busy)
    notices.failed(other)
    notices.succeeded()
    notices.failed(other)
    assert watcher.events == ["busy", "busy", "other", "other"]
