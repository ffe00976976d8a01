"""A tunnel to a host that gets a secret: opened here, so that the secret enters no sandbox.

Towards the sandbox the proxy is the host, with a certificate of its own authority; towards the host
it is a client that verifies. In between are HTTP/1.1 requests, one after another.
"""

import asyncio

import structlog

from orchestrator.gateway.egress import blocked
from orchestrator.gateway.egress.blocked import Blocked
from orchestrator.gateway.egress.host_names import host_header
from orchestrator.gateway.egress.http_exchange import Destination, Exchange
from orchestrator.gateway.egress.passage import Passage
from orchestrator.gateway.egress.reaching import Place, Surroundings
from orchestrator.gateway.egress.request_head import BadHead, ReceivedRequest, read_head
from orchestrator.gateway.egress.secret_files import SecretHeader, SecretMissing, read_secret
from orchestrator.gateway.egress.slot import EgressSlot
from orchestrator.gateway.egress.streams import (
    ByteStream,
    SocketStream,
    StreamBroken,
    TlsStream,
)

HTTPS_PORT = 443
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""With TRACE a host would repeat the secret; with CONNECT it would be a way to elsewhere."""

_log = structlog.get_logger(__name__)


class OpenedTunnel:
    """`reply` is where a refusal can be said at this moment, if anywhere."""

    def __init__(
        self,
        place: Place,
        *,
        sandbox: SocketStream,
        passage: Passage,
        slot: EgressSlot,
        around: Surroundings,
    ) -> None:
        self.reply: ByteStream | None = None
        self._place = place
        self._sandbox = sandbox
        self._passage = passage
        self._slot = slot
        self._around = around
        self._settings = around.settings

    async def serve(self, hello: bytes) -> None:
        """From the sandbox's first message until one side is done. Raises Blocked, StreamBroken."""
        sandbox = await self._open(hello)
        host = TlsStream(self._passage, self._around.trust, server_name=self._place.host)
        received = await self._head(sandbox, b"")
        if received is not None:
            await self._agree(host)
        while received is not None:
            rest = await self._exchange(received, sandbox, host)
            received = None if rest is None else await self._next(rest, sandbox, host)
        await sandbox.end()  # said only here: whoever is cut off earlier shall notice

    async def _open(self, hello: bytes) -> TlsStream:
        place = self._place
        authority = self._slot.authority
        if authority is None or place.rule.host.removeprefix("*.") not in authority.hosts:
            raise blocked.secret_too_new(place.host, place.port)
        sandbox = TlsStream(self._sandbox, authority.context_for(place.host), received=hello)
        try:
            async with asyncio.timeout(self._settings.head_timeout):
                await sandbox.handshake()
        except TimeoutError as error:
            raise blocked.too_slow(place.host, place.port, "TLS's second message") from error
        self.reply = sandbox
        return sandbox

    async def _agree(self, host: TlsStream) -> None:
        place = self._place
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                await host.handshake()
        except TimeoutError as error:
            raise blocked.unreachable(place.host, place.port, "TLS took too long") from error
        except StreamBroken as error:
            raise blocked.unreachable(place.host, place.port, str(error)) from error

    async def _head(self, sandbox: TlsStream, received: bytes) -> ReceivedRequest | None:
        try:
            async with asyncio.timeout(self._settings.head_timeout):
                return await read_head(sandbox, received, limit=self._settings.max_head_bytes)
        except TimeoutError as error:
            raise self._named(blocked.too_slow("", 0, "The request's head")) from error
        except BadHead as error:
            raise self._named(blocked.bad_request(str(error))) from error

    async def _next(
        self, rest: bytes, sandbox: TlsStream, host: TlsStream
    ) -> ReceivedRequest | None:
        """The next request, or None once either side is done: a host that hangs up between two
        requests is not asked again."""
        if not rest:
            reading = asyncio.create_task(sandbox.read(), name="egress-next-request")
            ending = asyncio.create_task(host.read(), name="egress-host-ends")
            try:
                await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
                rest = b"" if ending.done() else reading.result()
            finally:
                for task in (reading, ending):
                    task.cancel()
                await asyncio.gather(reading, ending, return_exceptions=True)
        return await self._head(sandbox, rest) if rest else None

    async def _exchange(
        self, received: ReceivedRequest, sandbox: TlsStream, host: TlsStream
    ) -> bytes | None:
        place = self._place
        if received.method not in METHODS:
            raise blocked.method_not_allowed(place.host, place.port)
        if not received.target.startswith("/"):
            raise self._named(blocked.bad_request("its target must begin with /"))
        await self._slot.slow_down()
        exchange = Exchange(
            received,
            Destination(
                host=place.host,
                port=place.port,
                host_header=host_header(place.host, place.port, default_port=HTTPS_PORT),
                target=received.target,
                secret=await self._secret(),
                max_head_bytes=self._settings.max_head_bytes,
            ),
            sandbox=sandbox,
            host=host,
        )
        try:
            return await exchange.run()
        finally:
            self.reply = None if exchange.has_begun else sandbox

    async def _secret(self) -> SecretHeader:
        place = self._place
        assert place.rule.inject is not None
        try:
            return await asyncio.to_thread(read_secret, place.rule.inject)
        except SecretMissing as error:
            _log.error("egress_secret.missing", host=place.host, reason=str(error))
            raise blocked.secret_missing(place.host, place.port) from error

    def _named(self, refused: Blocked) -> Blocked:
        """The same, said of this host."""
        return Blocked(
            self._place.host,
            self._place.port,
            tag=refused.tag,
            sentence=refused.sentence,
            status=refused.status,
        )
