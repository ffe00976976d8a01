"""The WebSocket server on one slot's link socket, guarded against whatever may dial it.

Anything in the sandbox can open this socket. So connections are counted, frames bounded in size and
in pieces, control frames in number, and what a peer does not read does not pile up here.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, unix_serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode, Frame, Opcode

from orchestrator.protocol.link import MAX_FRAME_BYTES
from orchestrator.sandboxes.errors import LinkViolated
from orchestrator.sandboxes.settings import LinkSettings

FRAMES_AHEAD = 4
"""Frames that are read before the last one was handled."""
MOST_PIECES = 64
"""Fragments of one message. A shim sends whole frames; endless empty pieces would fill memory."""
MOST_CONTROL_FRAMES = 200
"""Pings and pongs per second."""
MOST_UNSENT = 2 * MAX_FRAME_BYTES
HANDSHAKE_LIMIT = 5.0
CLOSE_LIMIT = 1.0


class GuardedConnection(ServerConnection):
    """A connection that ends itself when its peer floods it with what the library answers alone."""

    flooded = False
    _controls = 0
    _window = 0.0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.protocol.parser_exc is not None:  # the library would wait for the peer to hang up
            self.transport.abort()

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame) and event.opcode in (Opcode.PING, Opcode.PONG):
            self._count_control_frame()
        super().process_event(event)

    def _count_control_frame(self) -> None:
        now = self.loop.time()
        if now - self._window >= 1.0:
            self._window, self._controls = now, 0
        self._controls += 1
        unsent = self.transport.get_write_buffer_size()
        if self._controls > MOST_CONTROL_FRAMES or unsent > MOST_UNSENT:
            self.flooded = True
            self.transport.abort()


class LinkListener:
    """Listens on one socket. `handle` is called for each connection whose handshake is done."""

    def __init__(
        self,
        socket_path: Path,
        *,
        settings: LinkSettings,
        handle: Callable[[GuardedConnection], Awaitable[None]],
    ) -> None:
        self._path = socket_path
        self._settings = settings
        self._handle = handle
        self._server: Server | None = None
        self._transports: set[asyncio.Transport] = set()

    async def open(self) -> None:
        listener = self

        class CountedConnection(GuardedConnection):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                listener._admit(self.transport)

            def connection_lost(self, exc: Exception | None) -> None:
                listener._transports.discard(self.transport)
                super().connection_lost(exc)

        self._server = await unix_serve(
            self._accepted,
            str(self._path),
            create_connection=CountedConnection,
            max_size=MAX_FRAME_BYTES,
            max_queue=FRAMES_AHEAD,
            compression=None,
            ping_interval=None,  # a link that is held back cannot answer; `ShimLink` knows when
            open_timeout=HANDSHAKE_LIMIT,
            close_timeout=CLOSE_LIMIT,
            server_header=None,
            logger=_silent_logger(),
        )
        self._path.chmod(0o666)  # the slot's directory decides who may come in

    def _admit(self, transport: asyncio.Transport) -> None:
        self._transports.add(transport)
        if len(self._transports) > self._settings.connections:
            transport.abort()

    async def _accepted(self, connection: ServerConnection) -> None:
        assert isinstance(connection, GuardedConnection)
        await self._handle(connection)

    async def close(self) -> None:
        """Idempotent. Connections are cut, not closed politely: their peers may be hostile."""
        if self._server is None:
            return
        for transport in list(self._transports):
            transport.abort()
        self._server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT):
                await self._server.wait_closed()


def _silent_logger() -> logging.Logger:
    """The library logs each bad handshake with a traceback: a way to fill the operator's disk."""
    logger = logging.Logger("sandbox-link", level=logging.CRITICAL + 1)  # noqa: LOG001
    logger.addHandler(logging.NullHandler())
    return logger


async def receive(connection: GuardedConnection) -> str:
    """The next frame. Raises LinkViolated for one in too many pieces, ConnectionClosed."""
    pieces: list[str] = []
    async for piece in connection.recv_streaming():
        if not isinstance(piece, str) or len(pieces) >= MOST_PIECES:
            raise malformed()
        pieces.append(piece)
    return "".join(pieces)


def malformed() -> LinkViolated:
    return LinkViolated(
        "The sandbox sent something that is not of the protocol and was cut off.",
        tag="link_malformed",
    )


def violation_of(connection: GuardedConnection, closed: ConnectionClosed) -> LinkViolated | None:
    """Whether the library closed the connection because of what the peer sent."""
    if connection.flooded:
        return LinkViolated("The sandbox flooded its link and was cut off.", tag="link_flooded")
    if closed.sent is None or closed.rcvd_then_sent:
        return None
    match closed.sent.code:
        case CloseCode.MESSAGE_TOO_BIG:
            return LinkViolated(
                "The sandbox sent a frame that is too long and was cut off.", tag="link_oversize"
            )
        case CloseCode.PROTOCOL_ERROR | CloseCode.INVALID_DATA:
            return malformed()
        case _:
            return None
