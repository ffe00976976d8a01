"""The scripted model on the wire."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from orchestrator.testing.scripted_model import Pace, ScriptedModel, serve


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel(require_key="key") as model:
        yield model


async def ask(
    model: ScriptedModel, prompt: str, *, stream: bool = True, key: str = "key"
) -> tuple[int, dict[str, str], bytes]:
    body = {
        "model": "claude-x",
        "max_tokens": 10,
        "stream": stream,
        "messages": [{"role": "user", "content": prompt}],
    }
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{model.url}/v1/messages", json=body, headers={"x-api-key": key}) as response,
    ):
        headers = {name.lower(): value for name, value in response.headers.items()}
        return response.status, headers, await response.read()


def events(raw: bytes) -> list[dict[str, Any]]:
    lines = raw.split(b"\n")
    return [msgspec.json.decode(line[6:]) for line in lines if line.startswith(b"data: ")]


async def test_a_stream_has_the_protocol_order(model: ScriptedModel) -> None:
    """Start, ping, blocks with deltas, the end's usage and reason, stop."""
    status, headers, raw = await ask(model, "!think 5\n!say 5 words")
    names = [event["type"] for event in events(raw)]
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert names[:3] == ["message_start", "ping", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    deltas = {
        event["delta"]["type"]
        for event in events(raw)
        if event["type"].endswith("_delta") and "type" in event["delta"]
    }
    assert deltas == {"thinking_delta", "signature_delta", "text_delta"}
    assert events(raw)[0]["message"]["usage"]["input_tokens"] > 0
    assert events(raw)[-2]["delta"]["stop_reason"] == "end_turn"
    assert events(raw)[-2]["usage"]["output_tokens"] > 1


async def test_without_streaming_it_is_one_message(model: ScriptedModel) -> None:
    """With the same content and usage."""
    status, _, raw = await ask(model, "!say 5 words", stream=False)
    message = msgspec.json.decode(raw)
    assert status == 200
    assert message["stop_reason"] == "end_turn"
    assert len(message["content"][0]["text"].split()) == 5


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 503, 529])
async def test_errors_have_the_api_shape(model: ScriptedModel, status: int) -> None:
    """Status, type and message; a rate limit says when to come back."""
    got, headers, raw = await ask(model, f"!fail {status}")
    body = msgspec.json.decode(raw)
    assert got == status
    assert body["type"] == "error"
    assert body["error"]["type"].endswith(("_error", "_too_large"))
    assert ("retry-after" in headers) == (status == 429)


async def test_a_wrong_key_is_refused(model: ScriptedModel) -> None:
    """As the real API does, on every path; a bearer token counts too."""
    assert (await ask(model, "hello", key="other"))[0] == 401
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{model.url}/v1/models") as response:
            assert response.status == 401
        good = {"authorization": "Bearer key"}
        async with client.get(f"{model.url}/v1/models", headers=good) as response:
            assert (await response.json())["data"]


async def test_a_failure_that_passes_is_counted_by_request(model: ScriptedModel) -> None:
    """The same request fails so many times, then succeeds."""
    got = [(await ask(model, "!fail 529 2 times\n!say 1 word"))[0] for _ in range(3)]
    assert got == [529, 529, 200]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cut_breaks_the_connection(model: ScriptedModel, stream: bool) -> None:
    """In the middle of the answer, so that the client sees that it is not whole."""
    with pytest.raises(aiohttp.ClientError):
        await ask(model, "!cut", stream=stream)


async def test_words_come_at_the_asked_pace(model: ScriptedModel) -> None:
    """Ten words at fifty per second take a fifth of a second."""
    started = time.monotonic()
    await ask(model, "!say 10 words at 50/s")
    assert 0.15 < time.monotonic() - started < 2


async def test_the_first_word_may_be_late() -> None:
    """The model's own pace holds where the prompt asks for none."""
    pace = Pace(first_token=0.2, words_per_second=100)
    async with ScriptedModel(pace=pace) as model:
        started = time.monotonic()
        await ask(model, "!say 10 words")
        assert time.monotonic() - started > 0.25


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"messages": 1}', b"\xff"])
async def test_a_bad_body_is_a_400(model: ScriptedModel, body: bytes) -> None:
    """In the API's shape."""
    async with (
        aiohttp.ClientSession(headers={"x-api-key": "key"}) as client,
        client.post(f"{model.url}/v1/messages", data=body) as response,
    ):
        assert response.status == 400
        assert (await response.json())["type"] == "error"


async def test_tokens_are_counted_and_requests_recorded(model: ScriptedModel) -> None:
    """A longer text has more tokens; each request is kept for the test that asks."""
    counts = []
    async with aiohttp.ClientSession(headers={"x-api-key": "key"}) as client:
        for size in (10, 1000):
            body = {"model": "m", "messages": [{"role": "user", "content": "x" * size}]}
            url = f"{model.url}/v1/messages/count_tokens?beta=true"
            async with client.post(url, json=body) as response:
                counts.append((await response.json())["input_tokens"])
    assert 0 < counts[0] < counts[1]
    assert model.requests[-1].path == "/v1/messages/count_tokens?beta=true"
    assert model.requests[-1].headers["x-api-key"] == "key"
    assert model.requests[-1].body["messages"][0]["content"] == "x" * 1000


async def test_it_serves_until_it_is_cancelled() -> None:
    """A port that is taken is an OSError."""
    async with ScriptedModel() as model:
        port = int(model.url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match="address"):
            await serve("127.0.0.1", port)
    task = asyncio.create_task(serve("127.0.0.1", port), name="demo-model")
    async with asyncio.timeout(5), aiohttp.ClientSession() as client:
        while True:
            with contextlib.suppress(aiohttp.ClientConnectorError):
                async with client.get(f"http://127.0.0.1:{port}/v1/models") as response:
                    assert response.status == 200
                    break
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
