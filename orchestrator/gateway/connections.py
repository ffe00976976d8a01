"""Taking connections on a slot's socket: paced, counted, and no longer than they are of use.

Whatever runs in a sandbox can dial as fast as it likes. What is not taken waits in the kernel's own
short queue and costs the control plane nothing.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from orchestrator.gateway.headers import SERVER

_log = structlog.get_logger(__name__)

_KEEPALIVE = 75.0
_LINGERING = 2.0
"""Seconds in which a refused body is still read, so that the refusal arrives before the end."""
_PARSED_AT_ONCE = 2 << 10
"""Bytes. The smallest chunks cost some microseconds each, and nothing else runs meanwhile."""
_RETRY = 1.0
"""Seconds before connections are taken again after the system had no room for one."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Pace:
    """`burst` at once, `per_second` on average."""

    def __init__(
        self, *, per_second: float, burst: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 1 / per_second
        self._ahead = (burst - 1) * self._interval
        self._now = now
        self._next = now() - self._ahead

    def delay(self) -> float:
        """Seconds until the next one may come; it is counted as if it came then."""
        now = self._now()
        at = max(self._next, now - self._ahead)
        self._next = at + self._interval
        return max(0.0, at - now)


async def take_connections(
    listening: socket.socket, protocol: Callable[[], asyncio.Protocol], *, pace: Pace
) -> None:
    """Until cancelled, or until the socket is closed."""
    loop = asyncio.get_running_loop()
    while listening.fileno() != -1:
        await asyncio.sleep(pace.delay())
        try:
            connection, _ = await loop.sock_accept(listening)
            await loop.connect_accepted_socket(protocol, connection)
        except OSError as error:
            _log.warning("gateway_connection.not_taken", reason=error.strerror)
            await asyncio.sleep(_RETRY)


class _ServerLog(logging.LoggerAdapter[logging.Logger]):
    """Nothing of requests that are no HTTP: the library would log each with a traceback and with
    the sandbox's own words, a way to fill the operator's disk."""

    def exception(self, msg: object, *args: object, exc_info: Any = True, **more: Any) -> None:
        if not isinstance(exc_info, HttpProcessingError | web.RequestPayloadError):
            super().exception(msg, *args, exc_info=exc_info, **more)


class Connection(web.RequestHandler):
    """Hung up on where a request's head is not complete in time; read no further where it announces
    a body in chunks, which is refused."""

    def __init__(self, server: web.Server, *, head_timeout: float, **options: Any) -> None:
        super().__init__(server, **options)
        self._head_timeout = head_timeout
        self._heads = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._is_deaf = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), _PARSED_AT_ONCE):
            if self._is_deaf:
                return
            super().data_received(data[start : start + _PARSED_AT_ONCE])
            self._stop_listening_to_chunks()
        if self._request_count != self._heads:
            self._heads = self._request_count
            self._stop_waiting()
        elif self._is_idle and self._head_timer is None:
            self._await_head()  # the first bytes of the next head
        self._tell_broken_body()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The library's own refusals, without its name and its versions."""
        response = super().handle_error(request, status, exc, message)
        response.headers["server"] = SERVER
        return response

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    @property
    def _is_idle(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def _await_head(self) -> None:
        self._head_timer = self._loop.call_later(self._head_timeout, self._give_up_head)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up_head(self) -> None:
        self._head_timer = None
        if self._is_idle:
            self.force_close()

    def _stop_listening_to_chunks(self) -> None:
        """Before the request is judged: by then its chunks would have been parsed."""
        if any(getattr(message, "chunked", False) for message, _ in self._messages):
            self._is_deaf = True
            if self.transport is not None:
                self.transport.pause_reading()

    def _tell_broken_body(self) -> None:
        """The library puts a body's fault behind the request that waits for the body, which would
        wait on."""
        request = self._current_request
        if request is not None and self._messages and not request.content.is_eof():
            message, _ = self._messages[-1]
            error = getattr(message, "exc", None)
            if error is not None:
                request.content.set_exception(web.RequestPayloadError(str(error)))


class SlotServer(web.Server):
    """Hangs up at once on connections beyond its bound."""

    def __init__(self, handler: Handler, *, max_connections: int, head_timeout: float) -> None:
        super().__init__(handler, handler_cancellation=True)
        self._max_connections = max_connections
        self._head_timeout = head_timeout
        self._server_log = _ServerLog(logging.getLogger(__name__), {})

    def __call__(self) -> Connection:
        return Connection(
            self,
            head_timeout=self._head_timeout,
            loop=asyncio.get_running_loop(),
            access_log=None,
            keepalive_timeout=_KEEPALIVE,
            lingering_time=_LINGERING,
            logger=self._server_log,
        )

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self.connections) > self._max_connections:
            transport.abort()
