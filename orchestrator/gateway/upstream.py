"""The connection to the model API: one client for all slots, a fixed URL, no redirects.

UpstreamFault      the fault that `failures` explains; raised instead of every aiohttp error
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from orchestrator.gateway.failures import Fault
from orchestrator.gateway.routes import Route
from orchestrator.gateway.settings import GatewaySettings

_READ_BUFFER = 1 << 16
_PIECE = 1 << 16


class UpstreamFault(Exception):
    """The upstream gave no answer, or no whole one."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault: Fault = fault


class Upstream:
    """An async context manager around the HTTP client."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._base = settings.upstream_url.rstrip("/")
        self._client: aiohttp.ClientSession | None = None
        if URL(self._base).scheme not in ("http", "https") or not URL(self._base).host:
            raise ValueError("The gateway's upstream_url has to begin with http:// or https://.")

    async def __aenter__(self) -> Self:
        settings = self._settings
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=_tls(settings.upstream_ca_bundle)),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=settings.connect_timeout, sock_read=settings.silence_timeout
            ),
            trust_env=False,
            read_bufsize=_READ_BUFFER,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    @asynccontextmanager
    async def send(
        self, route: Route, *, body: bytes | None, headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, its body not read yet. Leaving early closes the connection: the upstream
        stops. Raises UpstreamFault."""
        with _translated():
            try:
                response = await self._request(route, body, headers)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if isinstance(error, aiohttp.ClientConnectorError):
                    raise
                # A kept-alive connection that the upstream had closed tells nothing about it.
                response = await self._request(route, body, headers)
        async with response:
            yield response

    async def _request(
        self, route: Route, body: bytes | None, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        """The body goes out in pieces, so that a slow upstream costs no copy of it, and each has to
        be taken in time: the client's own limits begin when all is sent."""
        if self._client is None:
            raise RuntimeError("The gateway was not entered.")
        if body is not None:
            headers = headers | {"content-length": str(len(body))}
        silence = self._settings.silence_timeout
        async with asyncio.timeout(self._settings.connect_timeout + silence) as patience:
            return await self._client.request(
                route.method,
                URL(self._base + route.target, encoded=True),
                data=None if body is None else _in_pieces(body, patience, silence),
                headers=headers,
                allow_redirects=False,
                proxy=self._settings.upstream_proxy or None,
            )

    async def pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The answer's body as it comes, at most 128 KiB at a time. Raises UpstreamFault."""
        with _translated():
            async for piece in response.content.iter_any():
                yield piece


async def _in_pieces(
    body: bytes, patience: asyncio.Timeout, silence: float
) -> AsyncIterator[memoryview]:
    """Each piece that was taken puts the end of the patience off."""
    whole, loop = memoryview(body), asyncio.get_running_loop()
    for start in range(0, len(body), _PIECE):
        yield whole[start : start + _PIECE]
        with contextlib.suppress(RuntimeError):  # the answer came before the body's end
            patience.reschedule(loop.time() + silence)


def _tls(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file or None)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise UpstreamFault(fault_of(error)) from error


def fault_of(error: BaseException) -> Fault:
    return next((fault for kinds, fault in _FAULTS if isinstance(error, kinds)), "unreadable")


_FAULTS: tuple[tuple[tuple[type[BaseException], ...], Fault], ...] = (
    ((TimeoutError,), "timeout"),
    ((aiohttp.ClientConnectorDNSError,), "dns"),
    ((aiohttp.ClientSSLError, ssl.SSLError), "tls"),
    ((aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError), "proxy"),
    ((aiohttp.ClientConnectorError,), "unreachable"),
    ((aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, OSError), "cut"),
)
"""The first that fits; aiohttp's errors are each other's subclasses, so the order matters."""
