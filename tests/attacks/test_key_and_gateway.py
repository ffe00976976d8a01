"""The model API's key and its account, attacked from a sandbox through its gateway socket."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.protocol.control_events import UsageMetered
from orchestrator.testing.running_casemate import RunningCasemate
from orchestrator.testing.scripted_model import ScriptedModel

from .cases import attack
from .conftest import KEY
from .intruder import Intruder

SENT_ON = {
    "/v1/messages",
    "/v1/messages?beta=true",
    "/v1/messages/count_tokens?beta=true",
    "/v1/models",
}
"""All that the CLI and these tests have reason to reach."""


async def statuses(intruder: Intruder, *requests: dict[str, Any], at_once: int = 1) -> list[int]:
    found = await intruder.probe("gateway_calls", str(at_once), json.dumps(requests))
    return list(found["statuses"])


@attack(
    "A01",
    tried="search environments, command lines, memory and files of the sandbox for the key",
    protects="the model API's key",
)
async def test_the_key_is_not_in_the_sandbox(
    intruder: Intruder, casemate: RunningCasemate, model: ScriptedModel, runtime: str
) -> None:
    """The key that the model is called with is nowhere that a sandbox's user may read."""
    found = await intruder.probe("search_for_secret", KEY[:20], KEY[20:])
    assert found["secret"] == []
    assert "/tmp/decoy" in found["decoy"]
    assert any(place.endswith("/environ") for place in found["placeholder"])
    memory = any(place.startswith("memory of") for place in found["placeholder"])
    assert memory or runtime == "runsc"  # gVisor's processes have no memory to be read in /proc
    await intruder.works()
    assert KEY in {request.headers.get("x-api-key") for request in model.requests}
    assert KEY not in str([event for _, event in intruder.chat.events])
    assert KEY not in casemate.log
    for file in Path(casemate.home).rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file.name


@attack(
    "A02",
    tried="call the model on the gateway's socket, past the CLI",
    protects="the account of what each session costs",
)
async def test_a_raw_call_is_counted(intruder: Intruder, neighbour: Intruder) -> None:
    """A call that the CLI knows nothing of is metered on its own session, and on no other."""
    seq = intruder.chat.seq
    assert await statuses(intruder, {"body": {"model": "claude-opus-4-5"}}) == [200]
    await intruder.idle()
    metered = [e for s, e in intruder.chat.events if s > seq and isinstance(e, UsageMetered)]
    raw = [event for event in metered if event.model == "claude-opus-4-5"]
    assert len(raw) == 1
    assert raw[0].cost_usd > 0
    assert raw[0].usage.output_tokens > 0
    assert neighbour.chat.of(UsageMetered) == []


@attack(
    "A03",
    tried="call other paths and methods of the model API than messages",
    protects="the organisation, files and batches behind the key",
)
async def test_other_paths_are_refused(intruder: Intruder, model: ScriptedModel) -> None:
    """Only messages, token counts and the list of models pass; what else is asked never leaves."""
    asked = [
        ("GET", "/"),
        ("GET", "/v1/organizations/me"),
        ("GET", "/v1/organizations/usage_report/messages"),
        ("POST", "/v1/files"),
        ("GET", "/v1/files"),
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/messages/batches"),
        ("POST", "/v1/complete"),
        ("POST", "/v1/skills"),
        ("PUT", "/v1/messages"),
        ("DELETE", "/v1/messages"),
        ("GET", "/v1/messages"),
        ("OPTIONS", "/v1/messages"),
        ("CONNECT", "192.0.2.1:443"),
        ("POST", "/v1/models"),
    ]
    got = await statuses(intruder, *({"method": m, "target": t} for m, t in asked))
    assert {a: s for a, s in zip(asked, got, strict=True) if s not in {400, 403, 404, 405}} == {}
    assert {request.path for request in model.requests} <= SENT_ON


@attack(
    "A04",
    tried="spell a forbidden path so that it looks like an allowed one",
    protects="the gateway's list of paths",
)
async def test_path_tricks_are_refused(intruder: Intruder, model: ScriptedModel) -> None:
    """Dots, encodings, doubled slashes, parameters and whole addresses reach nothing upstream."""
    tricks = [
        "/v1/messages/../files",
        "/v1/messages/%2e%2e/files",
        "/v1/messages/..%2ffiles",
        "/v1%2Fmessages",
        "/v1/%6dessages",
        "//v1/messages",
        "/v1//messages",
        "/v1/messages/",
        "/v1/messages;a=b",
        "/v1/messages%00",
        "/v1\\messages",
        "/V1/messages",
        "/v1/messages?beta=true&x=1",
        "/v1/messages?beta=false",
        "/v1/models/../files",
        "/v1/models/..%2Ffiles",
        "http://192.0.2.1/v1/messages",
        "http://127.1/v1/messages",
        "https://user@192.0.2.1:443/v1/messages",
        "*",
    ]
    got = await statuses(intruder, *({"target": target} for target in tricks))
    assert {t: s for t, s in zip(tricks, got, strict=True) if s not in {400, 403, 404, 405}} == {}
    assert {request.path for request in model.requests} <= SENT_ON


@attack(
    "A05",
    tried="send credentials, a Host and routing headers of one's own",
    protects="which key is used, and where the gateway sends it",
)
async def test_own_headers_are_dropped(intruder: Intruder, model: ScriptedModel) -> None:
    """The upstream sees the gateway's key and host, and none of the sandbox's headers."""
    sent = {
        "x-api-key": "mine",
        "Authorization": "Bearer mine",
        "Host": "evil.invalid",
        "Cookie": "a=b",
        "X-Forwarded-For": "192.0.2.1",
        "Forwarded": "for=192.0.2.1",
        "Proxy-Authorization": "Basic bWluZQ==",
        "Anthropic-Organization": "mine",
        "X-Casemate-Session": "other",
    }
    mark = {"metadata": {"user_id": f"headers-of-{intruder.session}"}}
    assert await statuses(intruder, {"headers": sent, "body": mark}) == [200]
    seen = [
        r for r in model.requests if isinstance(r.body, dict) and r.body.items() >= mark.items()
    ]
    assert len(seen) == 1
    headers = seen[0].headers
    assert headers["x-api-key"] == KEY
    assert headers["host"] == model.url.removeprefix("http://")
    dropped = {name.lower() for name in sent} - {"x-api-key", "host"}
    assert dropped.isdisjoint(headers)


@attack(
    "A05",
    tried="smuggle a second request behind two lengths, or a length and chunks",
    protects="the border between one request and the next",
)
async def test_smuggled_requests_are_refused(intruder: Intruder, model: ScriptedModel) -> None:
    """A request with two ideas of its own length is no request."""
    hidden = "0\r\n\r\nPOST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    both = {"Transfer-Encoding": "chunked", "Content-Length": str(len(hidden))}
    odd = {"Transfer-Encoding": "xchunked"}
    got = await statuses(
        intruder,
        {"headers": both, "body": hidden},
        {"headers": odd, "body": hidden},
        {"headers": {"Content-Length": "+5"}, "body": "x"},
        {"headers": {"Content-Length": "5\r\nContent-Length: 6"}, "body": "xxxxx"},
    )
    assert [status for status in got if status not in {0, 400}] == []
    assert {request.path for request in model.requests} <= SENT_ON


@attack(
    "A06",
    tried="ask the provider to fetch, run or store something itself",
    protects="what is in the sandbox, and whom the provider would reach for it",
)
async def test_reaching_out_through_the_provider_is_refused(intruder: Intruder) -> None:
    """Server tools, connectors, containers, stored files and content by address are refused."""
    tools = (
        "web_search_20250305",
        "web_fetch_20250910",
        "code_execution_20250825",
        "bash_20250124",
    )
    bodies: list[dict[str, Any]] = [{"tools": [{"type": t, "name": "x"}]} for t in tools]
    bodies += [
        {"mcp_servers": [{"type": "url", "url": "https://192.0.2.1", "name": "x"}]},
        {"container": {"skills": [{"type": "anthropic", "skill_id": "xlsx"}]}},
        {"fallbacks": ["x"]},
        {"service_tier": "auto"},
        *(
            {"messages": [{"role": "user", "content": [block]}]}
            for block in (
                {"type": "image", "source": {"type": "url", "url": "https://192.0.2.1/a.png"}},
                {"type": "document", "source": {"type": "url", "url": "https://192.0.2.1/a.pdf"}},
                {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
                {"type": "container_upload", "file_id": "file_1"},
                {
                    "type": "tool_result",
                    "tool_use_id": "x",
                    "content": [{"type": "image", "source": {"type": "url", "url": "https://x"}}],
                },
            )
        ),
    ]
    got = await statuses(intruder, *({"body": body} for body in bodies))
    assert [body for body, s in zip(bodies, got, strict=True) if s not in {400, 403}] == []


@attack(
    "A07",
    tried="ask for other models, endless answers, huge, compressed or ambiguous bodies",
    protects="the model quota, and the gateway's memory",
)
async def test_bodies_beyond_the_rules_are_refused(intruder: Intruder) -> None:
    """Each is answered with what is wrong about it, and nothing is sent on."""
    twice = '{"model":"claude-haiku-4-5","model":"dear-model","max_tokens":5,"messages":[]}'
    expected = {
        403: [{"body": {"model": "dear-model"}}],
        400: [
            {"body": {"model": ["claude-haiku-4-5"]}},
            {"body": {"model": None}},
            {"body": {"max_tokens": 10**9}},
            {"body": {"max_tokens": -1}},
            {"body": {"max_tokens": "5"}},
            {"body": {"messages": "hello"}},
            {"headers": {"Content-Encoding": "gzip"}},
            {"body": twice},
            {"body": '{"max_tokens":NaN}'},
            {"body": "["},
            {"body": "[", "repeat": 200_000},
            {"body": '"\\ud800"'},
        ],
        413: [{"body": "x", "repeat": 33 << 20}],
    }
    requests = [request for group in expected.values() for request in group]
    wanted = [status for status, group in expected.items() for _ in group]
    assert await statuses(intruder, *requests) == wanted


@attack(
    "A08",
    tried="send many requests at once, then many in a row",
    protects="the model quota, and the other sessions' turns",
)
@pytest.mark.timeout(180)
async def test_a_burst_is_held_back(intruder: Intruder, neighbour: Intruder) -> None:
    """Beyond its concurrency and its rate a session gets 429; the neighbour's turn is answered."""
    slow = {"body": {"messages": [{"role": "user", "content": "!slow 3"}]}, "times": 18}
    got = await statuses(intruder, slow, at_once=18)
    assert set(got) == {200, 429}
    assert got.count(200) <= 12
    await intruder.idle()
    burst = {"method": "GET", "target": "/v1/models", "times": 150}
    many, neighbours = await asyncio.gather(
        statuses(intruder, burst, at_once=30), neighbour.chat.turn("!say 3 words")
    )
    assert set(many) == {200, 429}
    assert many.count(429) > 10
    assert neighbours.outcome == "completed"
