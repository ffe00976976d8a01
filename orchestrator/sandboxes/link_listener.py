"""The WebSocket server on one slot's link socket, guarded against whatever may dial it.

Anything in the sandbox can open this socket. So connections are counted, and accepted at a bounded
pace; frames are bounded in size and in pieces, control frames in number; and what a peer does not
read does not pile up here. A connection at the address of a transfer that was ordered is handed to
it and takes no place of the others; one at the address of any other transfer is refused.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from orchestrator.protocol.link import MAX_FRAME_BYTES
from orchestrator.protocol.transfers import CHUNK_BYTES, TRANSFERS_PATH
from orchestrator.sandboxes.arrivals import DialPace
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
ACCEPT_PAUSE = 0.2
"""Seconds before the next try where the machine has no descriptor left."""


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


Handler = Callable[[GuardedConnection], Awaitable[None]]


class LinkListener:
    """Listens on one socket. `handle` is called for each connection whose handshake is done;
    `transfer` gives the handler of a transfer that waits for its connection, once.

    To the library this is the server that a connection belongs to. Its own one accepts as fast as
    anybody dials, and a loop of dialling and hanging up would cost a processor here.
    """

    def __init__(
        self,
        *,
        settings: LinkSettings,
        handle: Handler,
        transfer: Callable[[str], Handler | None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._handle = handle
        self._transfer = transfer
        self._pace = DialPace(settings)
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._transports: set[asyncio.BaseTransport] = set()
        self._transferring: set[asyncio.BaseTransport] = set()
        self.handler_tasks: set[asyncio.Task[None]] = set()

    async def open(self, listening: socket.socket) -> None:
        self._listening = listening
        self._accepting = asyncio.create_task(self._accept(listening), name="link-accept")

    async def close(self) -> None:
        """Idempotent. Connections are cut, not closed politely: their peers may be hostile."""
        accepting, self._accepting = self._accepting, None
        if accepting is None or self._listening is None:
            return
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)
        self._listening.close()
        for transport in [*self._transports, *self._transferring]:
            _abort(transport)
        if self.handler_tasks:
            await asyncio.wait(self.handler_tasks, timeout=CLOSE_LIMIT)

    # --- connections come ------------------------------------------------------------------------

    async def _accept(self, listening: socket.socket) -> None:
        """What is not accepted yet waits in the kernel's bounded queue, at its dialler's cost."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._pace.next(now=loop.time()))
            try:
                peer, _ = await loop.sock_accept(listening)
            except OSError:
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            if len(self._transports) >= self._settings.connections:
                peer.close()
                continue
            with contextlib.suppress(OSError):
                await loop.connect_accepted_socket(self._connection, peer)

    def _connection(self) -> GuardedConnection:
        listener = self

        class CountedConnection(GuardedConnection):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                listener._transports.add(transport)
                super().connection_made(transport)

            def connection_lost(self, exc: Exception | None) -> None:
                listener._transports.discard(self.transport)
                listener._transferring.discard(self.transport)
                super().connection_lost(exc)

        return CountedConnection(
            ServerProtocol(max_size=MAX_FRAME_BYTES, logger=_silent_logger()),
            self,  # type: ignore[arg-type]  # it needs the three members below, no more
            ping_interval=None,  # a link that is held back cannot answer; `ShimLink` knows when
            close_timeout=CLOSE_LIMIT,
            max_queue=FRAMES_AHEAD,
        )

    # --- what a connection asks of its server ---------------------------------------------------

    def is_serving(self) -> bool:
        return self._accepting is not None

    async def handler(self, connection: GuardedConnection) -> None:
        """One connection, from its handshake to its end."""
        chosen = self._handle

        def choose(_: ServerConnection, request: Request) -> Response | None:
            nonlocal chosen
            if not request.path.startswith(TRANSFERS_PATH):
                return None
            transfer = self._transfer(request.path.removeprefix(TRANSFERS_PATH))
            if transfer is None:
                return connection.respond(404, "")
            chosen = transfer
            self._set_apart(connection)
            return None

        try:
            async with asyncio.timeout(HANDSHAKE_LIMIT):
                await connection.handshake(choose, server_header=None)
            if connection.protocol.state is State.OPEN:
                async with connection:
                    await chosen(connection)
        except (TimeoutError, OSError, WebSocketException):
            pass  # whoever waits for this connection is told by its end
        finally:
            connection.transport.abort()
            self.handler_tasks.discard(_current_task())

    def _set_apart(self, connection: GuardedConnection) -> None:
        """A transfer takes none of the link's places: it was ordered, and those are counted."""
        connection.protocol.max_message_size = CHUNK_BYTES
        self._transports.discard(connection.transport)
        self._transferring.add(connection.transport)


def _abort(transport: asyncio.BaseTransport) -> None:
    cast("asyncio.Transport", transport).abort()  # uvloop's are none of asyncio's classes


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def _silent_logger() -> logging.Logger:
    """The library logs each bad handshake with a traceback: a way to fill the operator's disk."""
    logger = logging.Logger("sandbox-link", level=logging.CRITICAL + 1)  # noqa: LOG001
    logger.addHandler(logging.NullHandler())
    return logger


async def receive(connection: GuardedConnection) -> str:
    """The next frame. Raises LinkViolated for one in too many pieces, ConnectionClosed."""
    message = await receive_any(connection)
    if not isinstance(message, str):
        raise malformed()
    return message


async def receive_any(connection: GuardedConnection) -> str | bytes:
    """The next frame, text or binary. Raises LinkViolated for one in too many pieces,
    ConnectionClosed."""
    pieces: list[Any] = []
    async for piece in connection.recv_streaming():
        if len(pieces) >= MOST_PIECES:
            raise malformed()
        pieces.append(piece)
    if len(pieces) == 1:
        return pieces[0]  # type: ignore[no-any-return]  # not copied: it may be long
    return "".join(pieces) if isinstance(pieces[0], str) else b"".join(pieces)


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
