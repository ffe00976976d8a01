"""The egress proxy on a real socket: what passes, what does not, and what is told of it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.gateway.egress.streams import StreamBroken
from orchestrator.protocol.ids import SessionId
from orchestrator.sessions.profiles import Egress, EgressRule

from .egress_world import SESSION, SLOT, World, everything, opened_world, profile, request, until


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened_world(tmp_path) as opened:
        yield opened


async def test_https_passes_unopened(world: World) -> None:
    """The client sees the host's own certificate; its name is looked up once."""
    await world.host("ok.test")
    await world.open_proxy()
    assert b"GET /x?y=1\nHost: ok.test" in await world.fetch(
        "ok.test:443", request("ok.test", "/x?y=1")
    )
    assert world.network.looked_up == ["ok.test"]
    assert len(world.network.called) == 1
    with pytest.raises(StreamBroken, match="certificate"):
        await world.tls("ok.test:443", trust=_another_authority())
    assert world.watcher.told == []


def _another_authority() -> bytes:
    from orchestrator.gateway.egress.authority import Authority

    return Authority(frozenset({"ok.test"})).certificate


async def test_plain_http_passes_where_the_port_is_allowed(world: World) -> None:
    """As a request of the proxy's own: the host it was vetted for, nothing between neighbours."""
    await world.host("plain.test", port=80, tls=False)
    await world.open_proxy()
    answer = await world.say(
        b"POST http://plain.test/p?q HTTP/1.1\r\nHost: evil.test\r\nConnection: X-Hop, close\r\n"
        b"X-Hop: 1\r\nProxy-Authorization: x\r\nTE: trailers\r\nUpgrade: h2c\r\nX-Kept: 2\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nTrailer: x\r\n\r\n"
        b"GET http://evil.test/ HTTP/1.1\r\n\r\n"
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in head.lower()
    assert body.startswith(b"POST /p?q\nHost: plain.test\n")
    assert body.endswith(b"\n\nabcde")
    for dropped in (b"evil.test", b"X-Hop", b"Proxy-", b"TE:", b"Upgrade", b"Trailer", b"ext"):
        assert dropped.lower() not in body.lower()
    assert b"x-kept: 2" in body.lower()
    assert len(world.requests) == 1


async def test_before_the_claim_everything_is_refused(world: World) -> None:
    """But for the certificates, which hold nothing secret; nobody is told, for there is nobody."""
    await world.host("ok.test")
    proxy = await world.open_proxy(admitted=False)
    assert (await world.get("http://casemate.internal/ca.pem")).count(b"BEGIN CERTIFICATE") == 2
    for target in ("ok.test:443", "evil.test:443", "127.0.0.1:80"):
        answer, _ = await world.connect(target)
        assert answer.startswith(b"HTTP/1.1 403 ")
    assert (await world.get("http://plain.test/")).startswith(b"HTTP/1.1 403 ")
    assert world.network.looked_up == []
    proxy.admit(SLOT, session_id=SESSION, profile=profile(world.egress))
    assert b"GET /" in await world.fetch("ok.test:443", request("ok.test"))
    with pytest.raises(RuntimeError):
        proxy.admit(SLOT, session_id=SessionId("other"), profile=profile(world.egress))
    await proxy.close(SLOT)
    with pytest.raises(OSError, match="refused"):
        await world.dial()


@pytest.mark.parametrize(
    ("target", "status", "tag"),
    [
        ("evil.test:443", 403, "host_not_allowed"),
        ("ok.test.evil.test:443", 403, "host_not_allowed"),
        ("evilok.test:443", 403, "host_not_allowed"),
        ("wild.test:443", 403, "host_not_allowed"),
        ("ok.test:80", 403, "port_not_allowed"),
        ("127.1:443", 400, "bad_address"),
        ("2130706433:443", 400, "bad_address"),
        ("0x7f.1:443", 400, "bad_address"),
        ("[::1]:443", 400, "bad_address"),
        ("::ffff:127.0.0.1:443", 400, "bad_address"),
        ("localhost:443", 400, "bad_address"),
        ("user@ok.test:443", 400, "bad_address"),
        ("ok.test.:443", 400, "bad_address"),
        ("ok.test", 400, "bad_address"),
        ("ok.test:443/", 400, "bad_address"),
        ("ok.test%00:443", 400, "bad_address"),
        ("unknown.wild.test:443", 502, "unresolved"),
        ("flaky.test:443", 502, "unreachable"),
    ],
)
async def test_what_is_not_allowed_is_said_plainly(
    world: World, target: str, status: int, tag: str
) -> None:
    """To the sandbox, in the status line too, and to the session's people."""
    world.known.names["flaky.test"] = ["93.184.215.99"]
    await world.open_proxy()
    answer, stream = await world.connect(target)
    answer += await everything(stream)
    assert answer.startswith(f"HTTP/1.1 {status} blocked: ".encode())
    assert answer.count(b"blocked: ") == 2
    assert [event.tag for event in world.watcher.refused] == [tag]
    assert world.watcher.refused[0].host in target


@pytest.mark.parametrize(
    "raw",
    [
        b"CONNECT ok.test\x00:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT \xc3\xb6k.test:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT ok.test:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: ok.test\r\n\r\n",
        b"GET https://ok.test/ HTTP/1.1\r\nHost: ok.test\r\n\r\n",
        b"GET HTTP://plain.test/ HTTP/1.1\r\nHost: plain.test\r\n\r\n",
        b"GET http://plain.test?x HTTP/1.1\r\nHost: plain.test\r\n\r\n",
        b"GET http://plain.test/#x HTTP/1.1\r\nHost: plain.test\r\n\r\n",
        b"GET http://user@plain.test/ HTTP/1.1\r\nHost: plain.test\r\n\r\n",
        b"GET http://plain.test\\@evil.test/ HTTP/1.1\r\nHost: plain.test\r\n\r\n",
        b"GET http://plain.test/ HTTP/1.1\r\nHost: plain.test\nX: y\r\n\r\n",
        b"POST http://plain.test/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n0",
        b"POST http://plain.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx",
        b"\x16\x03\x01\x00\x05hello\r\n\r\n",
        b"x" * 40_000,
    ],
)
async def test_requests_that_are_not_clear_are_refused(world: World, raw: bytes) -> None:
    """None of them reaches a host or the resolver."""
    await world.host("plain.test", port=80, tls=False)
    await world.open_proxy()
    assert (await world.say(raw)).startswith(b"HTTP/1.1 400 blocked")
    assert world.network.looked_up == []
    assert world.requests == []


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.1.2.3"],
        ["169.254.169.254"],
        ["127.0.0.1"],
        ["::ffff:169.254.169.254"],
        ["::1"],
        ["64:ff9b::7f00:1"],
        ["93.184.215.0", "192.168.0.1"],
    ],
)
async def test_names_that_lead_inside_are_blocked(world: World, addresses: list[str]) -> None:
    """Even one such address among good ones; nothing is called."""
    await world.host("ok.test")
    world.known.names["ok.test"] = addresses
    await world.open_proxy()
    answer, _ = await world.connect("ok.test:443")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert world.watcher.told == [("ok.test", 443, "private_address")]
    assert world.network.called == []


async def test_a_private_mirror_needs_a_word(world: World) -> None:
    """With `private` a name may lead into the operator's network, never to the machine itself."""
    await world.host("ok.test")
    world.known.host("ok.test", "10.1.2.3", {443: _port(world)})
    await world.open_proxy(Egress(allow=(EgressRule(host="ok.test", private=True),)))
    assert b"GET /" in await world.fetch("ok.test:443", request("ok.test"))
    world.known.names["ok.test"] = ["127.0.0.1"]
    answer, _ = await world.connect("ok.test:443")
    assert answer.startswith(b"HTTP/1.1 403 ")


def _port(world: World) -> int:
    return next(iter(world.known.places.values()))


async def test_the_next_address_is_tried(world: World) -> None:
    """Where the first does not answer; all were vetted before."""
    await world.host("ok.test")
    world.known.names["ok.test"].insert(0, "93.184.215.200")
    await world.open_proxy()
    assert b"GET /" in await world.fetch("ok.test:443", request("ok.test"))
    assert world.network.called == ["93.184.215.200:443", "93.184.215.0:443"]


def _hello(name: str | None) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    ("first", "tag"),
    [
        (_hello("evil.test"), "sni_mismatch"),
        (_hello("git.test"), "sni_mismatch"),
        (_hello(None), "sni_mismatch"),
        (b"GET / HTTP/1.1\r\nHost: ok.test\r\n\r\n", "no_tls"),
        (b"SSH-2.0-OpenSSH\r\n", "no_tls"),
        (b"\x16\x03\x01\xff\xff", "no_tls"),
    ],
)
async def test_a_tunnel_is_for_its_host_alone(world: World, first: bytes, tag: str) -> None:
    """Another name, none, or no TLS at all: it is cut, and not a byte of it reaches the host."""
    received = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read())
        writer.close()

    await world.raw_host("ok.test", listen)
    await world.open_proxy()
    _, stream = await world.connect("ok.test:443")
    await stream.write(first)
    assert b"HTTP" not in await everything(stream)
    assert world.watcher.told == [("ok.test", 443, tag)]
    assert received == b""


async def test_a_hello_may_follow_at_once_and_in_pieces(world: World) -> None:
    """Together with CONNECT, or cut anywhere: the host gets it whole."""
    received: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read())
        writer.close()

    await world.raw_host("ok.test", listen)
    await world.open_proxy()
    hello = _hello("ok.test")
    first = b"CONNECT ok.test:443 HTTP/1.1\r\nHost: a\r\n\r\n" + hello[:7]
    stream = await world.dial()
    await stream.write(first)
    assert (await stream.read()).startswith(b"HTTP/1.1 200 ")
    for piece in (hello[7:100], hello[100:], b"more"):
        await stream.write(piece)
    await stream.end()
    assert await everything(stream) == b""
    assert received == [hello + b"more"]


async def test_a_second_connect_in_a_tunnel_is_no_tls(world: World) -> None:
    """Requests behind one another open no second tunnel."""
    await world.host("ok.test")
    await world.open_proxy()
    answer = await world.say(b"CONNECT ok.test:443 HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
    assert answer.count(b"HTTP/1.1") == 1
    assert world.watcher.told == [("ok.test", 443, "no_tls")]


async def test_redirects_are_passed_on(world: World) -> None:
    """The proxy follows none: where they lead is asked for anew, or not allowed."""

    async def redirect(_: object) -> object:
        from aiohttp import web

        return web.Response(status=302, headers={"Location": "http://169.254.169.254/"})

    await world.host("plain.test", redirect, port=80, tls=False)  # type: ignore[arg-type]
    await world.open_proxy()
    answer = await world.get("http://plain.test/")
    assert answer.startswith(b"HTTP/1.1 302 ")
    assert world.network.looked_up == ["plain.test"]


async def test_refusals_do_not_flood(world: World) -> None:
    """A loop is told once, then counted; what was counted is told at the latest with the end."""
    proxy = await world.open_proxy()
    for _ in range(20):
        await world.connect("evil.test:443")
    assert [event.count for event in world.watcher.refused] == [1]
    await proxy.close(SLOT)
    await until(lambda: len(world.watcher.refused) == 2)
    assert [event.count for event in world.watcher.refused] == [1, 19]
