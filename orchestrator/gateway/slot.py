"""One slot's end of the gateway: its socket, whom it was admitted for, its limits."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from orchestrator.gateway.limits import SlotLimits
from orchestrator.gateway.notices import Notices
from orchestrator.gateway.refusals import not_admitted
from orchestrator.protocol.ids import SessionId, SlotId

_SOCKET_MODE = 0o666
"""The slot's directory is what keeps others out."""

_CLOSING_TIMEOUT = 0.1
_KEEPALIVE = 75.0

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """The session that the slot was claimed for, and the models that it may use."""

    session_id: SessionId
    models: tuple[str, ...]
    notices: Notices


class _ServerLog(logging.LoggerAdapter[logging.Logger]):
    """Nothing of requests that are no HTTP: the library would log each with a traceback and with
    the sandbox's own words, a way to fill the operator's disk."""

    def exception(self, msg: object, *args: object, exc_info: Any = True, **more: Any) -> None:
        if not isinstance(exc_info, HttpProcessingError):
            super().exception(msg, *args, exc_info=exc_info, **more)


class _BoundedServer(web.Server):
    """Hangs up at once on connections beyond its bound."""

    def __init__(self, handler: Handler, *, max_connections: int) -> None:
        super().__init__(
            handler,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=_KEEPALIVE,
            logger=_ServerLog(logging.getLogger(__name__), {}),
        )
        self._max_connections = max_connections

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self.connections) > self._max_connections:
            transport.abort()


class Slot:
    def __init__(self, slot_id: SlotId, *, limits: SlotLimits) -> None:
        self.slot_id = slot_id
        self.limits = limits
        self._admission: Admission | None = None
        self._runner: web.ServerRunner | None = None
        self._path: Path | None = None

    def admit(self, admission: Admission) -> None:
        """Once: a slot is never used twice."""
        if self._admission is not None:
            raise RuntimeError("The slot was admitted before.")
        self._admission = admission

    @property
    def admission(self) -> Admission:
        """Raises Refused before the claim."""
        if self._admission is None:
            raise not_admitted()
        return self._admission

    async def listen(self, path: Path, handler: Handler) -> None:
        """Raises OSError."""
        server = _BoundedServer(handler, max_connections=self.limits.max_connections)
        self._runner = web.ServerRunner(server, shutdown_timeout=_CLOSING_TIMEOUT)
        self._path = path
        await self._runner.setup()
        try:
            await web.UnixSite(self._runner, path).start()
            path.chmod(_SOCKET_MODE)  # noqa: ASYNC240 - one system call on a local path
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Ends what is under way, at the upstream too, and removes the socket. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is None or self._path is None:
            return
        await runner.cleanup()
        self._path.unlink(missing_ok=True)
