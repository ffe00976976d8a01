"""What a sandbox can do on its gateway socket, with a scripted model behind it."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from orchestrator.gateway.credential import Credential
from orchestrator.gateway.gateway import Gateway
from orchestrator.gateway.settings import GatewaySettings
from orchestrator.sandboxes.slot_sockets import listen
from orchestrator.testing.scripted_model import ScriptedModel

from .conftest import (
    PROFILE,
    REAL_KEY,
    SESSION,
    SLOT,
    Door,
    RecordingWatcher,
    open_gateway,
    prompt,
    until,
)


def kind_of(content: bytes) -> str:
    return str(msgspec.json.decode(content)["error"]["type"])


async def test_the_key_is_added_and_the_sandbox_own_is_dropped(
    door: Door, model: ScriptedModel
) -> None:
    """The upstream sees the real key and none of the sandbox's credentials or routing headers."""
    status, headers, content = await door.post(
        prompt("!say 3 words", stream=True),
        x_api_key="not-a-secret",
        authorization="Bearer mine",
        cookie="a=b",
        host="evil.example",
        x_forwarded_for="1.2.3.4",
        forwarded="for=1.2.3.4",
        anthropic_beta="effort-2025-11-24,files-api-2025-04-14",
        x_casemate_session="other",
    )
    seen = model.requests[-1].headers
    assert status == 200
    assert seen["x-api-key"] == REAL_KEY
    assert seen["anthropic-beta"] == "effort-2025-11-24"
    assert seen["host"] == model.url.removeprefix("http://")
    dropped = {"authorization", "cookie", "x-forwarded-for", "forwarded", "x-casemate-session"}
    assert not dropped & set(seen)
    assert REAL_KEY.encode() not in content
    assert REAL_KEY not in str(headers)


async def test_an_auth_token_goes_as_a_bearer(tmp_path: Path, watcher: RecordingWatcher) -> None:
    """A token is sent as authorization, and no x-api-key beside it."""
    async with ScriptedModel(require_key="token-1") as model:
        gateway = Gateway(
            GatewaySettings(upstream_url=model.url),
            credential=Credential.auth_token("token-1"),
            watcher=watcher,
        )
        async with gateway:
            await gateway.open(SLOT, model=listen(tmp_path / "gw.sock"), egress=None)
            gateway.admit(SLOT, session_id=SESSION, profile=PROFILE)
            status, _, _ = await Door(tmp_path / "gw.sock").post(prompt("hello"), x_api_key="x")
        assert status == 200
        assert model.requests[-1].headers["authorization"] == "Bearer token-1"
        assert "x-api-key" not in model.requests[-1].headers


async def test_everything_is_refused_until_the_slot_is_claimed(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """Before `admit` each request gets a 403, nothing is sent on; a second `admit` is an error."""
    settings = GatewaySettings(upstream_url=model.url)
    async with Gateway(
        settings, credential=Credential.api_key(REAL_KEY), watcher=watcher
    ) as gateway:
        door = Door(tmp_path / "gw.sock")
        await gateway.open(SLOT, model=listen(door.path), egress=None)
        assert (await door.post(prompt("hello")))[0] == 403
        assert not model.requests
        gateway.admit(SLOT, session_id=SESSION, profile=PROFILE)
        assert (await door.post(prompt("hello")))[0] == 200
        with pytest.raises(RuntimeError):
            gateway.admit(SLOT, session_id=SESSION, profile=PROFILE)
        with listen(tmp_path / "again.sock") as second, pytest.raises(RuntimeError):
            await gateway.open(SLOT, model=second, egress=None)


async def test_closing_a_slot_ends_what_is_under_way(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """Close hangs up on the sandbox and on the upstream, within a second, and may be repeated."""
    door = Door(tmp_path / "gw.sock")
    async with open_gateway(door.path, watcher, model.url) as gateway:
        async with door.client() as client:
            response = await client.post(
                "/v1/messages", json=prompt("!say 9999 words at 50/s", stream=True)
            )
            await response.content.readany()
            async with asyncio.timeout(1):
                await gateway.close(SLOT)
                await gateway.close(SLOT)
            with pytest.raises(Exception, match=r".*"):
                await response.read()
        await until(lambda: model.streaming == 0)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_unix_connection(str(door.path))
        with pytest.raises(KeyError):
            gateway.admit(SLOT, session_id=SESSION, profile=PROFILE)


RAW_TARGETS = [
    ("GET", "/"),
    ("GET", "/v1/organizations/me"),
    ("POST", "/v1/files"),
    ("POST", "/v1/messages/batches"),
    ("PUT", "/v1/messages"),
    ("GET", "/v1/messages"),
    ("POST", "/v1/messages/"),
    ("POST", "//v1/messages"),
    ("POST", "/v1//messages"),
    ("POST", "/v1/messages/../files"),
    ("POST", "/v1/./messages"),
    ("POST", "/v1/%6dessages"),
    ("POST", "/v1%2Fmessages"),
    ("POST", "/v1/messages/%2e%2e/files"),
    ("POST", "/v1/messages;x=1"),
    ("POST", "/v1/messages?beta=true&x=1"),
    ("POST", "/v1/messages?beta=true?"),
    ("POST", "/v1/messages#/v1/files"),
    ("POST", "http://gateway.internal/v1/messages"),
    ("POST", "http://evil.example/v1/messages"),
    ("POST", "http://api.anthropic.com/v1/files"),
    ("GET", "/v1/models/../organizations"),
    ("GET", "/v1/models/.."),
    ("GET", "/v1/models/a/b"),
    ("GET", "/v1/models/a%2fb"),
    ("POST", "/v1/models"),
    ("TRACE", "/v1/messages"),
    ("OPTIONS", "*"),
    ("CONNECT", "api.anthropic.com:443"),
    ("HEAD", "/v1/models"),
    ("DELETE", "/v1/models/x"),
]


@pytest.mark.parametrize(("method", "target"), RAW_TARGETS)
async def test_no_other_target_passes(
    door: Door, model: ScriptedModel, method: str, target: str
) -> None:
    """Whatever is not literally an allowed method and path gets a 4xx and is not sent on."""
    status = await raw_status(door.path, f"{method} {target} HTTP/1.1\r\nHost: x\r\n".encode())
    assert 400 <= status < 500
    assert not model.requests


@pytest.mark.parametrize(
    "head",
    [
        b"POST /v1/messages HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n",
    ],
    ids=["both-lengths", "two-lengths", "negative", "huge", "gzip", "long-header", "tls"],
)
async def test_a_smuggled_or_broken_head_is_refused(
    door: Door, model: ScriptedModel, head: bytes
) -> None:
    """A head that two parsers might read differently gets a 4xx and is not sent on."""
    assert 400 <= await raw_status(door.path, head) < 500
    assert not model.requests


async def raw_status(path: Path, head: bytes) -> int:
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(head + b"\r\n{}\n")
        async with asyncio.timeout(5):
            line = await reader.readline()
    finally:
        writer.close()
    return int(line.split()[1])


async def test_the_models_are_listed(door: Door, model: ScriptedModel) -> None:
    """GET of the model list and of one model pass, with and without beta=true."""
    async with door.client() as client:
        for path in ("/v1/models", "/v1/models?beta=true", "/v1/models/claude-opus-5-5"):
            async with client.get(path) as response:
                assert response.status == 200
    assert [seen.path for seen in model.requests] == [
        "/v1/models",
        "/v1/models?beta=true",
        "/v1/models/claude-opus-5-5",
    ]


async def test_a_get_with_a_body_is_refused(door: Door, model: ScriptedModel) -> None:
    """A body has no place in a GET."""
    async with door.client() as client, client.get("/v1/models", data=b"{}") as response:
        assert response.status == 413
    assert not model.requests


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"model": "gpt-5"}, 403),
        ({"model": ["claude-opus-5-5"]}, 400),
        ({"max_tokens": 10**9}, 400),
        ({"mcp_servers": [{"type": "url", "url": "http://evil"}]}, 403),
        ({"container": "c"}, 403),
        ({"tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]}, 403),
        ({"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}, 403),
    ],
    ids=["model", "model-list", "max-tokens", "mcp", "container", "web-fetch", "code-execution"],
)
async def test_a_body_against_the_rules_is_refused_in_the_api_shape(
    door: Door, model: ScriptedModel, fields: dict[str, object], status: int
) -> None:
    """The refusal is an error of the model API's own shape, and nothing is sent on."""
    got, _, content = await door.post(prompt("hello") | fields)
    assert got == status
    assert kind_of(content) in ("permission_error", "invalid_request_error")
    assert not model.requests


async def test_a_large_body_passes_byte_for_byte(door: Door, model: ScriptedModel) -> None:
    """A prompt of several MiB reaches the model as it was sent."""
    body = prompt("x" * (5 << 20))
    assert (await door.post(body))[0] == 200
    assert model.requests[-1].body == body


async def test_a_body_over_the_limit_is_refused(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """By the length that it tells."""
    door = Door(tmp_path / "gw.sock")
    async with open_gateway(door.path, watcher, model.url, max_body_bytes=1 << 20):
        assert (await door.post(b"x" * (2 << 20)))[0] == 413
    assert not model.requests


async def test_a_body_that_trickles_in_is_given_up(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """A sandbox that does not send what it announced gets a 408."""
    door = Door(tmp_path / "gw.sock")
    async with open_gateway(door.path, watcher, model.url, body_timeout=0.2):
        head = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
        assert await raw_status(door.path, head) == 408


async def test_a_burst_gets_a_clear_429(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """More than the burst is refused with retry-after, and another slot is not touched by it."""
    door, other = Door(tmp_path / "a.sock"), Door(tmp_path / "b.sock")
    async with open_gateway(
        door.path, watcher, model.url, burst=5, requests_per_minute=60
    ) as gateway:
        answers = await asyncio.gather(*(door.post(prompt("hello")) for _ in range(12)))
        refused = [answer for answer in answers if answer[0] == 429]
        assert len(refused) >= 6
        assert kind_of(refused[0][2]) == "rate_limit_error"
        assert int(refused[0][1]["retry-after"]) >= 1
        await gateway.open(type(SLOT)("1" * 32), model=listen(other.path), egress=None)
        gateway.admit(type(SLOT)("1" * 32), session_id=SESSION, profile=PROFILE)
        assert (await other.post(prompt("hello")))[0] == 200


async def test_the_connections_of_a_slot_are_bounded(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """What is beyond the bound is hung up on; a place is free again when one was closed."""
    door = Door(tmp_path / "gw.sock")
    async with open_gateway(door.path, watcher, model.url, max_connections=4) as gateway:
        runner = gateway._slots[SLOT]._runner
        assert runner is not None
        held = [await asyncio.open_unix_connection(str(door.path)) for _ in range(4)]
        reader, writer = await asyncio.open_unix_connection(str(door.path))
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        for _, writer in held:
            writer.close()
        await until(lambda: not runner.server.connections)
        assert (await door.post(prompt("hello")))[0] == 200


async def test_too_many_at_once_get_a_429(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """The requests under way of one slot are bounded; a place is free again after an answer."""
    door = Door(tmp_path / "gw.sock")
    async with open_gateway(door.path, watcher, model.url, max_concurrency=2):
        slow = [asyncio.create_task(door.post(prompt("!slow 0.5"))) for _ in range(2)]
        await until(lambda: len(model.requests) == 2)
        assert (await door.post(prompt("hello")))[0] == 429
        assert [answer[0] for answer in await asyncio.gather(*slow)] == [200, 200]
        assert (await door.post(prompt("hello")))[0] == 200


@pytest.mark.parametrize(
    "words",
    [
        b"POST * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01 not http\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nMine: " + b"x" * 9000 + b"\r\n\r\n",
    ],
    ids=["target", "bytes", "header"],
)
async def test_what_is_no_http_leaves_nothing_in_the_log(
    door: Door, words: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It gets a 400; the log has neither a traceback nor the sandbox's own words."""
    reader, writer = await asyncio.open_unix_connection(str(door.path))
    writer.write(words)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    assert b" 400 " in answer.splitlines()[0]
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
