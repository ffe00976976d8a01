"""What the sandbox and the session's people are told when the model API fails."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest
import structlog
from aiohttp import web

from orchestrator.testing.scripted_model import ScriptedModel

from .conftest import REAL_KEY, Door, RecordingWatcher, open_gateway, prompt


@pytest.mark.parametrize(
    ("status", "tag"),
    [
        (401, "upstream_key_refused"),
        (403, "upstream_forbidden"),
        (404, "upstream_model_unknown"),
        (429, "upstream_rate_limited"),
        (500, "upstream_error"),
        (503, "upstream_error"),
        (529, "upstream_overloaded"),
    ],
)
async def test_an_error_status_is_passed_and_explained(
    door: Door, watcher: RecordingWatcher, status: int, tag: str
) -> None:
    """The agent gets the status in the API's shape, the people a tag, a sentence and an advice."""
    got, headers, content = await door.post(prompt(f"!fail {status}", stream=True))
    assert got == status
    assert msgspec.json.decode(content)["type"] == "error"
    assert headers.get("retry-after") == ("1" if status == 429 else None)
    [(_, failure)] = watcher.failures
    assert (failure.tag, failure.status) == (tag, status)
    assert failure.sentence.endswith(".")
    assert failure.advice


async def test_the_request_own_faults_alarm_nobody(door: Door, watcher: RecordingWatcher) -> None:
    """A 400 is between the agent and its request."""
    assert (await door.post(prompt("!fail 400")))[0] == 400
    assert watcher.failures == []


async def test_a_failure_that_repeats_is_told_once(door: Door, watcher: RecordingWatcher) -> None:
    """Retries are one failure; another failure, or one after a success, is told again."""
    for text in ("!fail 529", "!fail 529", "!fail 529", "!fail 500", "hello", "!fail 500"):
        await door.post(prompt(text))
    assert watcher.tags == ["upstream_overloaded", "upstream_error", "upstream_error"]


async def test_a_cut_stream_is_cut_and_metered(door: Door, watcher: RecordingWatcher) -> None:
    """The agent sees a broken answer as broken; what had passed is counted."""
    with pytest.raises(aiohttp.ClientError):
        await door.post(prompt("!cut", stream=True))
    assert watcher.tags == ["upstream_cut"]
    [(_, metered)] = watcher.metered_events
    assert metered.usage.input_tokens > 0
    assert metered.usage.output_tokens >= 7


async def test_an_error_inside_a_stream_is_told(door: Door, watcher: RecordingWatcher) -> None:
    """A stream that turns into an error after a good start is passed on and explained."""
    status, _, content = await door.post(prompt("!say 5 words\n!fail 529", stream=True))
    assert status == 200
    assert b"overloaded_error" in content
    assert watcher.tags == ["upstream_overloaded"]


async def failing(path: Path, watcher: RecordingWatcher, url: str, **settings: object) -> int:
    async with open_gateway(path, watcher, url, **settings):
        status, _, content = await Door(path).post(prompt("hello"))
    error = msgspec.json.decode(content)["error"]
    assert error["message"]
    assert REAL_KEY not in str(error)
    return status


async def test_a_refused_connection(tmp_path: Path, watcher: RecordingWatcher) -> None:
    """Nothing listens: 502, and the people read that the API could not be reached."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        assert await failing(tmp_path / "gw.sock", watcher, url) == 502
    assert watcher.tags == ["upstream_unreachable"]


async def test_a_name_that_is_not_found(tmp_path: Path, watcher: RecordingWatcher) -> None:
    """A name that cannot exist: 502 and a tag of its own."""
    assert await failing(tmp_path / "gw.sock", watcher, "http://nowhere.invalid") == 502
    assert watcher.tags == ["upstream_not_found"]


async def test_no_tls_where_it_was_expected(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """https towards a server without TLS: 502 and a tag of its own."""
    url = model.url.replace("http://", "https://")
    assert await failing(tmp_path / "gw.sock", watcher, url) == 502
    assert watcher.tags == ["upstream_untrusted"]


async def test_an_upstream_that_says_nothing(tmp_path: Path, watcher: RecordingWatcher) -> None:
    """Accepted, then silent: 504 after the set time."""
    async with raw_upstream(b"") as url:
        status = await failing(tmp_path / "gw.sock", watcher, url, silence_timeout=0.2)
    assert status == 504
    assert watcher.tags == ["upstream_timeout"]


@pytest.mark.parametrize(
    ("answer", "tag"),
    [
        (b"HTTP/1.1 302 Found\r\nlocation: http://evil.example/\r\n\r\n", "upstream_redirected"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "upstream_unreadable"),
    ],
)
async def test_an_answer_of_another_kind(
    tmp_path: Path, watcher: RecordingWatcher, answer: bytes, tag: str
) -> None:
    """A redirect is not followed, noise is not passed on: 502 each."""
    async with raw_upstream(answer) as url:
        assert await failing(tmp_path / "gw.sock", watcher, url) == 502
    assert watcher.tags == [tag]


async def test_an_upstream_that_hangs_up_at_once(tmp_path: Path, watcher: RecordingWatcher) -> None:
    """Closed without a byte, and again at the second try: 502."""
    async with raw_upstream(b"", hang_up=True) as url:
        assert await failing(tmp_path / "gw.sock", watcher, url) == 502
    assert watcher.tags == ["upstream_cut"]


@asynccontextmanager
async def raw_upstream(answer: bytes, *, hang_up: bool = False) -> AsyncIterator[str]:
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if not hang_up:
            await done.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        done.set()
        server.close()
        await server.wait_closed()


async def test_only_harmless_headers_come_back(tmp_path: Path, watcher: RecordingWatcher) -> None:
    """Nothing of the account behind the key: no cookies, no ids, none of its shared limits."""
    answer = (
        b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\nanthropic-organization-id: org\r\n"
        b"anthropic-ratelimit-requests-remaining: 9\r\nrequest-id: req_1\r\n"
        b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    )
    async with raw_upstream(answer) as url, open_gateway(tmp_path / "gw.sock", watcher, url):
        _, headers, _ = await Door(tmp_path / "gw.sock").post(prompt("hello"))
    ours = {"content-type", "server", "transfer-encoding", "date", "content-length"}
    assert set(headers) <= ours


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (429, "Your organization (org: 3f0c0c4e-1d55-4b0e-9d5e-0123456789ab) has a limit."),
        (500, "Failed: req_011CSHoEeqs5C35K2UUqR7Fy of 3f0c0c4e-1d55-4b0e-9d5e-0123456789ab"),
        (400, "Bad. Request req_011CSHoEeqs5C35K2UUqR7Fy."),
    ],
)
async def test_an_error_tells_no_ids_of_the_account(
    tmp_path: Path, watcher: RecordingWatcher, status: int, message: str
) -> None:
    """Neither the organisation's id nor the request's stands in what the sandbox reads."""
    error = {
        "type": "error",
        "error": {"type": "x_error", "message": message},
        "request_id": "req_9",
    }
    body = msgspec.json.encode(error)
    head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    async with raw_upstream(head + body) as url, open_gateway(tmp_path / "gw.sock", watcher, url):
        got, _, content = await Door(tmp_path / "gw.sock").post(prompt("hello"))
    assert got == status
    assert b"req_" not in content
    assert b"3f0c0c4e" not in content


WHOLE = b'{"usage":{"input_tokens":3,"output_tokens":4}}'
SIZE = str(len(WHOLE)).encode()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: " + SIZE + b"\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\ncontent-length: " + SIZE + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\nlocation: http://evil.example/\r\n"
        b"content-length: " + SIZE + b"\r\n\r\n",
    ],
    ids=["continue", "early-hints", "cookie"],
)
async def test_an_answer_with_odd_company_passes_alone(
    tmp_path: Path, watcher: RecordingWatcher, answer: bytes
) -> None:
    """Interim answers and headers of the upstream's own stay outside; the answer itself passes."""
    async with (
        raw_upstream(answer + WHOLE) as url,
        open_gateway(tmp_path / "gw.sock", watcher, url),
    ):
        status, headers, content = await Door(tmp_path / "gw.sock").post(prompt("hello"))
    assert (status, content) == (200, WHOLE)
    assert not {"set-cookie", "location", "link"} & set(headers)
    assert watcher.metered_events[0][1].usage.output_tokens == 4


async def test_an_answer_that_is_compressed_all_the_same(
    tmp_path: Path, watcher: RecordingWatcher
) -> None:
    """It was asked for plain; compressed, it arrives plain and is counted."""
    packed = gzip.compress(WHOLE)
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(packed)}\r\n\r\n"
    async with (
        raw_upstream(head.encode() + packed) as url,
        open_gateway(tmp_path / "gw.sock", watcher, url),
    ):
        status, headers, content = await Door(tmp_path / "gw.sock").post(prompt("hello"))
    assert (status, content) == (200, WHOLE)
    assert "content-encoding" not in headers
    assert watcher.metered_events[0][1].usage.input_tokens == 3


@pytest.mark.parametrize("lie", [-5, 5])
async def test_an_answer_that_lies_about_its_length(
    tmp_path: Path, watcher: RecordingWatcher, lie: int
) -> None:
    """Announced too long it is broken, announced too short it is refused."""
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(WHOLE) + lie}\r\n\r\n".encode()
    path = tmp_path / "gw.sock"
    async with (
        raw_upstream(head + WHOLE, hang_up=True) as url,
        open_gateway(path, watcher, url),
    ):
        if lie > 0:
            with pytest.raises(aiohttp.ClientError):
                await Door(path).post(prompt("hello"))
            assert watcher.tags == ["upstream_cut"]
        else:
            assert (await Door(path).post(prompt("hello")))[0] == 502
            assert watcher.tags == ["upstream_unreadable"]


async def test_an_upstream_that_does_not_read(tmp_path: Path, watcher: RecordingWatcher) -> None:
    """A prompt that nobody takes is given up after the set silence, and its memory is free."""
    stuck = asyncio.Event()

    async def never_reads(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await stuck.wait()
        writer.close()

    server = await asyncio.start_server(never_reads, "127.0.0.1", 0, limit=1024)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    path = tmp_path / "gw.sock"
    async with open_gateway(path, watcher, url, silence_timeout=0.5) as gateway:
        status, _, _ = await Door(path).post(prompt("x" * (20 << 20)))
        assert gateway._bodies.held == 0
    stuck.set()
    server.close()
    await server.wait_closed()
    assert status == 504


async def test_an_upstream_that_repeats_the_key_does_not_give_it_away(
    tmp_path: Path, watcher: RecordingWatcher
) -> None:
    """An error about the key is told in the gateway's own words, never the upstream's."""

    async def echo(request: web.Request) -> web.Response:
        error = {"type": "authentication_error", "message": request.headers["x-api-key"]}
        return web.json_response({"type": "error", "error": error}, status=401)

    app = web.Application()
    app.router.add_post("/v1/messages", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    async with open_gateway(tmp_path / "gw.sock", watcher, f"http://127.0.0.1:{port}"):
        status, _, content = await Door(tmp_path / "gw.sock").post(prompt("hello"))
    await runner.cleanup()
    assert status == 401
    assert REAL_KEY.encode() not in content


async def test_the_key_is_in_no_log_and_no_repr(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """Neither good nor failed requests write it anywhere."""
    with structlog.testing.capture_logs() as logs:
        path = tmp_path / "gw.sock"
        async with open_gateway(path, watcher, model.url) as gateway:
            for text in ("hello", "!fail 401", "!fail 500"):
                await Door(path).post(prompt(text))
            held = [repr(vars(thing)) for thing in (gateway, gateway._proxy, gateway._upstream)]
    assert len(logs) >= 3
    assert REAL_KEY not in repr(logs) + "".join(held)


def test_a_strange_upstream_url_is_refused_at_once() -> None:
    """A URL that is not http(s) is an error of the settings, not of the first request."""
    from orchestrator.gateway.settings import GatewaySettings
    from orchestrator.gateway.upstream import Upstream

    for url in ("", "api.anthropic.com", "file:///etc/passwd", "unix:///x"):
        with pytest.raises(ValueError, match="upstream_url"):
            Upstream(GatewaySettings(upstream_url=url))
