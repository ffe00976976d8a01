"""The shim's end of the link: dials the slot's socket, and dials again whenever the link breaks.

Says `Hello`, is answered with `Welcome`, then sends what the outbox has and hands on the commands
that it has not seen before. What is said within one tick of the loop goes into one frame.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import WebSocketException

from orchestrator.protocol.commands import SandboxCommand, sandbox_command_codec
from orchestrator.protocol.link import (
    MAX_FRAME_BYTES,
    Batch,
    Hello,
    Numbered,
    Welcome,
    link_codec,
)
from orchestrator.protocol.sandbox_events import CommandFailed
from orchestrator.protocol.wire import MalformedFrame
from shim.outbox import EventOutbox

SOCKET = Path("/run/agent/link.sock")
URI = "ws://control-plane.internal/link"
"""Never resolved: the connection is the socket's."""
HANDSHAKE_SECONDS = 10.0
CLOSE_SECONDS = 1.0
BACKOFF_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Between attempts; the last one for as long as it takes. Half of it is left to chance."""
FRAME_BYTES = MAX_FRAME_BYTES // 2
"""Of event bodies in one frame; the numbers and commas between them need room too."""
FRAME_ITEMS = 5_000

log = logging.getLogger("shim.link")


class Link:
    """`run` never ends by itself. `on_command` must not block; `on_anew` says what a control plane
    that was started anew has to know."""

    def __init__(
        self,
        *,
        hello: Hello,
        outbox: EventOutbox,
        on_command: Callable[[SandboxCommand], None],
        on_anew: Callable[[], None] = lambda: None,
        socket: Path = SOCKET,
    ) -> None:
        self._hello = hello
        self._outbox = outbox
        self._on_command = on_command
        self._on_anew = on_anew
        self._socket = socket
        self._received = 0
        """The highest command number seen."""
        self._told = 0
        """The highest one acknowledged on this connection."""
        self._news = asyncio.Event()
        outbox.on_added = self._news.set

    async def run(self) -> None:
        attempt = 0
        while True:
            try:
                async with asyncio.timeout(HANDSHAKE_SECONDS):
                    connection = await self._dial()
                attempt = 0
                await self._serve(connection)
            except (OSError, WebSocketException, TimeoutError, MalformedFrame) as error:
                log.info("link.broke", extra={"reason": f"{type(error).__name__}: {error}"})
            pause = BACKOFF_SECONDS[min(attempt, len(BACKOFF_SECONDS) - 1)]
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
            attempt += 1

    async def _dial(self) -> ClientConnection:
        """A connection past the handshake, with what it did not get last time marked as unsent."""
        connection = await unix_connect(
            str(self._socket),
            URI,
            compression=None,
            max_size=MAX_FRAME_BYTES,
            ping_interval=None,
            close_timeout=CLOSE_SECONDS,
        )
        hello = msgspec.structs.replace(self._hello, received=self._received)
        await connection.send(link_codec.encode(hello))
        welcome = link_codec.decode(await connection.recv())
        if not isinstance(welcome, Welcome):
            await connection.close()
            raise MalformedFrame("The link was not welcomed.")
        self._outbox.acknowledge(welcome.acknowledged)
        self._outbox.rewind()
        if welcome.anew:
            self._on_anew()
        self._told = 0
        self._news.set()
        return connection

    async def _serve(self, connection: ClientConnection) -> None:
        sending = asyncio.create_task(self._send(connection), name="link-sender")
        try:
            async for frame in connection:
                self._take(frame)
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketException, OSError):
                await sending
            await connection.close()

    async def _send(self, connection: ClientConnection) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(0)  # what else is said in this tick goes along
            self._news.clear()
            for items in frames(self._outbox.take_unsent()):
                batch = Batch(items=items, acknowledged=self._received)
                await connection.send(link_codec.encode(batch))
                self._told = self._received
            if self._told < self._received:
                await connection.send(link_codec.encode(Batch(acknowledged=self._received)))
                self._told = self._received

    def _take(self, frame: str | bytes) -> None:
        message = link_codec.decode(frame)
        if not isinstance(message, Batch):
            return  # of a newer version, which says nothing that this one must know
        self._outbox.acknowledge(message.acknowledged)
        for item in message.items:
            if item.n > self._received:
                self._received = item.n
                self._obey(item)
        if message.items:
            self._news.set()

    def _obey(self, item: Numbered) -> None:
        try:
            command = sandbox_command_codec.decode(bytes(item.body))
        except MalformedFrame as error:
            self._outbox.say(CommandFailed(command="unknown", text=error.reason))
            return
        self._on_command(command)


def frames(items: list[Numbered]) -> Iterator[list[Numbered]]:
    """Items in order, as many to a frame as its bounds allow."""
    frame: list[Numbered] = []
    size = 0
    for item in items:
        length = len(bytes(item.body))
        if frame and (size + length > FRAME_BYTES or len(frame) >= FRAME_ITEMS):
            yield frame
            frame, size = [], 0
        frame.append(item)
        size += length
    if frame:
        yield frame
