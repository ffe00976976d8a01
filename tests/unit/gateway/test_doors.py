"""What passes the gateway besides bodies: targets, headers, the key, notices."""

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.gateway.credential import Credential, Secret
from orchestrator.gateway.headers import to_sandbox, to_upstream
from orchestrator.gateway.notices import Notices
from orchestrator.gateway.refusals import Refused
from orchestrator.gateway.routes import route_of
from orchestrator.protocol.control_events import UpstreamFailed, UsageMetered
from orchestrator.protocol.ids import SessionId

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
        ("anthropic-beta", "a"),
        ("Anthropic-Beta", "b"),
        ("X-Stainless-Lang", "js"),
    ]
    assert to_upstream(sent, {"x-api-key": "real"}) == {
        "anthropic-beta": "a, b",
        "x-stainless-lang": "js",
        "content-type": "application/json",
        "accept-encoding": "identity",
        "x-api-key": "real",
    }


def test_only_known_headers_reach_the_sandbox() -> None:
    """No cookies, no encodings, no server names."""
    answered = [("Set-Cookie", "a"), ("Server", "x"), ("Retry-After", "3"), ("Via", "x")]
    assert to_sandbox(answered) == {"retry-after": "3", "server": "casemate"}


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
