"""Secrets that the egress proxy adds: they reach their host, and nobody else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from orchestrator.gateway.egress.streams import StreamBroken
from orchestrator.sessions.profiles import Egress, EgressRule, Injection

from .egress_world import PUBLIC, SECRET, World, everything, opened_world, request


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened_world(tmp_path) as opened:
        yield opened


async def test_the_secret_is_added_on_the_way(world: World) -> None:
    """In the place of the sandbox's own, whatever case it is written in, and on the right host."""
    await world.host("git.test", _quiet)
    await world.open_proxy()
    own = ("Authorization: mine", "AUTHORIZATION: Bearer mine", "Host-Override: x")
    answer = await world.fetch("git.test:443", request("evil.test", "/repo", *own))
    assert answer.startswith(b"HTTP/1.1 200 ")
    seen = world.requests[0].headers
    assert seen.getall("Authorization") == [f"Bearer {SECRET}"]
    assert seen.getall("Host") == ["git.test"]
    assert world.watcher.told == []


async def _quiet(_: web.BaseRequest) -> web.Response:
    return web.Response(text="ok")


async def test_one_tunnel_carries_many_requests(world: World) -> None:
    """One after another, each with the secret as it is then."""
    await world.host("git.test", _quiet)
    await world.open_proxy()
    tunnel = await world.tls("git.test:443")
    for number in range(3):
        world.secret_file.write_text(f"secret-{number}")
        body = b"x" * number
        await tunnel.write(
            b"POST / HTTP/1.1\r\nHost: git.test\r\nContent-Length: %d\r\n\r\n" % number + body
        )
        answer = b""
        while not answer.endswith(b"\r\n\r\nok"):
            answer += await tunnel.read()
    seen = [r.headers["Authorization"] for r in world.requests]
    assert seen == ["Bearer secret-0", "Bearer secret-1", "Bearer secret-2"]
    assert len(world.network.called) == 1


async def test_each_scheme_is_written_as_http_has_it(world: World) -> None:
    """Basic with its user, and a header of the operator's choice."""
    await world.host("git.test", _quiet)
    file = str(world.secret_file)
    basic = Injection(secret_file=file, scheme="basic", username="x-access-token")
    await world.open_proxy(Egress(allow=(EgressRule(host="git.test", inject=basic),)))
    await world.fetch("git.test:443", request("git.test"))
    from aiohttp import BasicAuth

    seen = BasicAuth.decode(world.requests[0].headers["Authorization"])
    assert (seen.login, seen.password) == ("x-access-token", SECRET)


async def test_what_the_host_repeats_is_masked(world: World) -> None:
    """In headers and the status line the secret does not come back."""

    async def repeat(req: web.BaseRequest) -> web.Response:
        said = req.headers["Authorization"]
        return web.Response(headers={"X-Echo": said, "Location": f"/?{said}"}, reason=said)

    await world.host("git.test", repeat)
    await world.open_proxy()
    answer = await world.fetch("git.test:443", request("git.test"))
    assert SECRET.encode() not in answer
    assert answer.count(b"[masked]") == 3


@pytest.mark.parametrize("content", [None, "", "two\nlines"])
async def test_without_the_secret_nothing_is_asked(world: World, content: str | None) -> None:
    """A file that is missing or strange is said to be; the host hears nothing."""
    await world.host("git.test", _quiet)
    await world.open_proxy()
    world.secret_file.unlink()
    if content is not None:
        world.secret_file.write_text(content)
    answer = await world.fetch("git.test:443", request("git.test"))
    assert answer.startswith(b"HTTP/1.1 502 blocked: git.test:443")
    assert world.watcher.told == [("git.test", 443, "secret_missing")]
    assert world.requests == []


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "TRACK", "PROPFIND"])
async def test_methods_that_would_repeat_it_are_refused(world: World, method: str) -> None:
    """TRACE and its like, and a tunnel in the tunnel."""
    await world.host("git.test", _quiet)
    await world.open_proxy()
    target = "git.test:443" if method == "CONNECT" else "/"
    answer = await world.fetch("git.test:443", request("git.test", target, method=method))
    assert answer.startswith(b"HTTP/1.1 405 blocked")
    assert world.requests == []


@pytest.mark.parametrize("target", ["http://evil.test/", "*", "evil.test:443"])
async def test_targets_in_an_opened_tunnel_are_paths(world: World, target: str) -> None:
    """An address in the place of a path leads nowhere."""
    await world.host("git.test", _quiet)
    await world.open_proxy()
    answer = await world.fetch("git.test:443", request("git.test", target))
    assert answer.startswith(b"HTTP/1.1 400 blocked")
    assert world.requests == []


async def test_a_secret_never_travels_in_the_clear(world: World) -> None:
    """Plain HTTP to its host is refused, with the port allowed."""
    await world.host("git.test", port=80, tls=False)
    await world.open_proxy()
    assert (await world.get("http://git.test/")).startswith(b"HTTP/1.1 403 blocked")
    assert world.watcher.told == [("git.test", 80, "needs_tls")]
    assert world.requests == []


async def test_a_host_that_is_another_gets_no_secret(world: World) -> None:
    """A certificate for another name, or of nobody's: the request is not sent."""
    await world.host("evil.test", _quiet)
    await world.open_proxy()
    world.known.names["git.test"] = world.known.names["evil.test"]
    answer = await world.fetch("git.test:443", request("git.test"))
    assert answer.startswith(b"HTTP/1.1 502 blocked")
    assert b"certificate" in answer
    assert world.watcher.told == [("git.test", 443, "unreachable")]
    assert world.requests == []


async def test_names_must_agree_here_too(world: World) -> None:
    """A tunnel to the host with another name in its TLS is cut before anything is opened."""
    await world.host("git.test", _quiet)
    await world.open_proxy()
    with pytest.raises(StreamBroken):
        await world.tls("git.test:443", name="ok.test")
    assert world.watcher.told == [("git.test", 443, "sni_mismatch")]


async def test_only_hosts_with_a_secret_are_opened(world: World) -> None:
    """The proxy's authority vouches for those and for no other: not even its own key could."""
    await world.host("git.test", _quiet)
    await world.host("ok.test", _quiet)
    proxy = await world.open_proxy()
    pem = (await world.get("http://casemate.internal/ca.pem")).partition(b"\r\n\r\n")[2]
    own = pem.removesuffix(world.certified.certificate)
    await world.tls("git.test:443", trust=own)
    with pytest.raises(StreamBroken, match="certificate"):
        await world.tls("ok.test:443", trust=own)
    stolen = proxy._current_authority()
    assert stolen is not None
    assert stolen.certificate == own
    with pytest.raises(StreamBroken, match="permitted subtree"):
        await _tls_with(world, stolen.context_for("ok.test"), trust=own)


async def _tls_with(world: World, context: Any, *, trust: bytes) -> None:
    """TLS to a host that shows a certificate of this context."""
    import ssl

    from orchestrator.gateway.egress.streams import SocketStream, TlsStream

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        stream = SocketStream(*await asyncio.open_connection("127.0.0.1", port))
        client = ssl.create_default_context(cadata=trust.decode())
        try:
            await TlsStream(stream, client, server_name="ok.test").handshake()
        finally:
            stream.abort()


async def test_a_sandbox_that_is_older_than_the_rule_is_told(world: World) -> None:
    """It was never told to trust the proxy for this host, and the tunnel stays closed."""
    await world.host("ok.test", _quiet)
    secret = Injection(secret_file=str(world.secret_file))
    proxy = await world.open_proxy(admitted=False)
    from .egress_world import SESSION, SLOT, profile

    later = Egress(allow=(EgressRule(host="ok.test", inject=secret),))
    proxy.admit(SLOT, session_id=SESSION, profile=profile(later))
    with pytest.raises(StreamBroken):
        await world.tls("ok.test:443")
    assert world.watcher.told == [("ok.test", 443, "secret_too_new")]


async def test_smuggling_into_an_opened_tunnel_is_refused(world: World) -> None:
    """Two lengths, or a length and chunks: there is one border between requests."""
    await world.host("git.test", _quiet)
    await world.open_proxy()
    for framing in (
        b"Content-Length: 3\r\nContent-Length: 30",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding : chunked",
        b"Content-Length: 3\r\n folded",
    ):
        raw = b"POST / HTTP/1.1\r\nHost: git.test\r\n" + framing + b"\r\n\r\n0\r\n\r\n"
        assert (await world.fetch("git.test:443", raw)).startswith(b"HTTP/1.1 400 blocked")
    assert world.requests == []


async def test_large_bodies_pass_both_ways(world: World) -> None:
    """As git sends them: in chunks, with a wish to be told to go on."""
    size = 3 << 20

    async def repeat(req: web.BaseRequest) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(req)
        async for piece in req.content.iter_any():
            await answer.write(piece)
        return answer

    await world.host("git.test", repeat)
    await world.open_proxy()
    tunnel = await world.tls("git.test:443")
    await tunnel.write(
        b"POST / HTTP/1.1\r\nHost: git.test\r\nExpect: 100-continue\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    assert (await tunnel.read()).startswith(b"HTTP/1.1 100 ")

    async def send() -> None:
        for _ in range(size >> 16):
            await tunnel.write(b"10000\r\n" + b"x" * (1 << 16) + b"\r\n")
        await tunnel.write(b"0\r\n\r\n")

    sending = asyncio.create_task(send())
    answer = await everything(tunnel)
    await sending
    assert answer.count(b"x") == size


async def test_an_early_answer_ends_the_exchange(world: World) -> None:
    """A host that has answered takes no more of the body, and the sandbox is not kept waiting."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 413 Too large\r\nContent-Length: 2\r\n\r\nno")
        await asyncio.Event().wait()

    await world.raw_host("plain.test", refuse, port=80)
    await world.open_proxy()
    head = b"POST http://plain.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
    answer = await world.say(head + b"x" * 100_000)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"no")


async def test_requests_in_a_tunnel_are_slowed_down(world: World) -> None:
    """Beyond the rate they wait, one behind the other."""
    await world.host("git.test", _quiet)
    await world.open_proxy(request_burst=1, requests_per_minute=60)
    tunnel = await world.tls("git.test:443")
    began = asyncio.get_running_loop().time()
    for _ in range(2):
        await tunnel.write(b"GET / HTTP/1.1\r\nHost: git.test\r\n\r\n")
        answer = b""
        while not answer.endswith(b"\r\n\r\nok"):
            answer += await tunnel.read()
    assert asyncio.get_running_loop().time() - began > 0.8


async def test_a_host_that_hangs_up_is_not_asked_twice(world: World) -> None:
    """Between requests its end is the tunnel's end; in the middle of an answer it is cut."""

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (await reader.readline()).strip():
            pass
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    context = world.certified.context_for("git.test")
    server = await asyncio.start_server(answer_once, "127.0.0.1", 0, ssl=context)
    async with server:
        world.known.host("git.test", PUBLIC, {443: server.sockets[0].getsockname()[1]})
        await world.open_proxy()
        tunnel = await world.tls("git.test:443")
        await tunnel.write(b"GET / HTTP/1.1\r\nHost: git.test\r\n\r\n")
        assert (await everything(tunnel)).endswith(b"ok")
    assert world.watcher.told == []


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 103 Early\r\n\r\n" * 100,
        b"",
    ],
)
async def test_a_host_that_speaks_no_http_is_told(world: World, answer: bytes) -> None:
    """What it says is not passed on."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (await reader.readline()).strip():
            pass
        writer.write(answer)
        writer.write_eof()
        await reader.read()
        writer.close()

    await world.raw_host("plain.test", say, port=80)
    await world.open_proxy()
    assert (await world.get("http://plain.test/")).startswith(b"HTTP/1.1 502 blocked")
    assert world.watcher.told == [("plain.test", 80, "bad_answer")]
