"""An egress proxy on a real unix socket, a few hosts on the loopback, and a client in the sandbox's
place."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from orchestrator.gateway.egress.authority import Authority
from orchestrator.gateway.egress.proxy import EgressProxy
from orchestrator.gateway.egress.rules import injected_hosts
from orchestrator.gateway.egress.settings import EgressSettings
from orchestrator.gateway.egress.streams import SocketStream, TlsStream
from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.control_events import EgressRefused
from orchestrator.protocol.ids import ProfileName, SessionId, SlotId
from orchestrator.sandboxes.slot_sockets import listen
from orchestrator.sessions.profiles import Egress, EgressRule, Injection, Profile
from orchestrator.testing.loopback_network import LoopbackMap, LoopbackNetwork

SLOT = SlotId("0" * 32)
SESSION = SessionId("session-1")
SECRET = "s3cret-token-0123456789"
PUBLIC = "93.184.215.14"
HOSTS = ("ok.test", "evil.test", "git.test", "plain.test", "a.wild.test", "flaky.test")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
RawHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class EgressWatcher:
    """Of a gateway, of which it hears one thing."""

    def __init__(self) -> None:
        self.refused: list[EgressRefused] = []

    def metered(self, *_: Any) -> None: ...
    def upstream_failed(self, *_: Any) -> None: ...
    def upstream_state(self, **_: Any) -> None: ...
    def egress_refused(
        self, session_id: SessionId, profile: ProfileName, event: EgressRefused
    ) -> None:
        assert (session_id, profile) == (SESSION, "test")
        self.refused.append(event)

    @property
    def told(self) -> list[tuple[str, int, str]]:
        return [(event.host, event.port, event.tag) for event in self.refused]


class World:
    """`certified` is who vouches for its hosts; `proxy` is opened by `open_proxy`."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.known = LoopbackMap()
        self.network = LoopbackNetwork(self.known)
        self.watcher = EgressWatcher()
        self.certified = Authority(frozenset(HOSTS), name="Test hosts")
        self.ca_file = folder / "hosts.pem"
        self.ca_file.write_bytes(self.certified.certificate)
        self.secret_file = folder / "token"
        self.secret_file.write_text(f"{SECRET}\n")
        self.socket = folder / "egress.sock"
        self.requests: list[web.BaseRequest] = []
        self._stack = stack

    async def host(
        self, name: str, handler: Handler | None = None, *, port: int = 443, tls: bool = True
    ) -> None:
        """An HTTP host that says what it was asked, unless the handler says something else."""

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            self.requests.append(request)
            return await (handler or self._echo)(request)

        runner = web.ServerRunner(web.Server(handle))
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        context = self.certified.context_for(name) if tls else None
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self._know(name, port, runner.addresses[0][1])

    async def raw_host(self, name: str, handler: RawHandler, *, port: int = 443) -> None:
        """A host that does what the handler does, without TLS of its own."""
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        self._stack.callback(server.close)
        self._know(name, port, server.sockets[0].getsockname()[1])

    def _know(self, name: str, port: int, real: int) -> None:
        self.known.host(name, f"93.184.215.{HOSTS.index(name)}", {port: real})

    async def _echo(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        lines = [f"{request.method} {request.raw_path}", *map(": ".join, request.headers.items())]
        return web.Response(text="\n".join([*lines, "", body.decode()]))

    @property
    def egress(self) -> Egress:
        """What the profile allows, unless a test says otherwise."""
        inject = Injection(secret_file=str(self.secret_file))
        return Egress(
            allow=(
                EgressRule(host="ok.test"),
                EgressRule(host="plain.test", ports=(80,)),
                EgressRule(host="*.wild.test"),
                EgressRule(host="git.test", inject=inject, ports=(80, 443)),
                EgressRule(host="flaky.test"),
            )
        )

    async def open_proxy(
        self, egress: Egress | None = None, *, admitted: bool = True, **settings: Any
    ) -> EgressProxy:
        allowed = egress or self.egress
        proxy = EgressProxy(
            EgressSettings(ca_bundle=self.ca_file, **settings),
            watcher=self.watcher,
            network=self.network,
            injected_hosts=lambda: injected_hosts(allowed),
        )
        await proxy.open(SLOT, listen(self.socket))
        self._stack.push_async_callback(proxy.close, SLOT)
        if admitted:
            proxy.admit(SLOT, session_id=SESSION, profile=profile(allowed))
        return proxy

    # --- the sandbox's side ----------------------------------------------------------------------

    async def dial(self) -> SocketStream:
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        stream = SocketStream(reader, writer)
        self._stack.callback(stream.abort)
        return stream

    async def say(self, request: bytes) -> bytes:
        """Everything that is answered to these bytes."""
        stream = await self.dial()
        await stream.write(request)
        answer = await everything(stream)
        stream.abort()
        return answer

    async def get(self, url: str, *headers: str) -> bytes:
        """Plain HTTP, as clients ask a proxy."""
        host = url.split("/")[2]
        lines = [f"GET {url} HTTP/1.1", f"Host: {host}", *headers, "", ""]
        return await self.say("\r\n".join(lines).encode())

    async def connect(self, target: str) -> tuple[bytes, SocketStream]:
        """The answer's head and the tunnel."""
        stream = await self.dial()
        await stream.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer and (piece := await stream.read()):
            answer += piece
        return answer, stream

    async def tls(self, target: str, *, name: str | None = None, trust: bytes = b"") -> TlsStream:
        """A tunnel with TLS in it, that trusts what sandboxes are told to trust."""
        answer, stream = await self.connect(target)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        pem = trust or (await self.get("http://casemate.internal/ca.pem")).partition(b"\r\n\r\n")[2]
        context = ssl.create_default_context(cadata=pem.decode())
        secured = TlsStream(stream, context, server_name=name or target.partition(":")[0])
        await secured.handshake()
        return secured

    async def fetch(self, target: str, request: bytes) -> bytes:
        """Everything that is answered to these bytes within TLS."""
        secured = await self.tls(target)
        await secured.write(request)
        answer = await everything(secured)
        secured.abort()
        return answer


def profile(egress: Egress) -> Profile:
    return Profile(
        name=ProfileName("test"), title="Test", agent=AgentSetup(model="m"), egress=egress
    )


def request(host: str, path: str = "/", *headers: str, method: str = "GET") -> bytes:
    """One that asks to be the last."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def everything(stream: SocketStream | TlsStream) -> bytes:
    """Until its end, which must come soon."""
    content = b""
    async with asyncio.timeout(10):
        while piece := await stream.read():
            content += piece
    return content


@asynccontextmanager
async def opened_world(folder: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(folder, stack)


async def until(condition: Callable[[], object], *, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
