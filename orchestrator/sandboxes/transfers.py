"""Transfers on one slot's link: ordered here, dialled by the shim, and held to what was ordered.

For: connections of transfers, their limits of number, time and pace, and the frames on them. Not
for what the frames mean together (`link_workspace`).
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable

import structlog
from websockets.exceptions import ConnectionClosed

from orchestrator.protocol.commands import OpenTransfer
from orchestrator.protocol.transfers import (
    CHUNK_BYTES,
    MAX_HEADER_BYTES,
    Done,
    ReceiveCheckpoint,
    SendCheckpoint,
    TakeTranscript,
    TransferFrame,
    TransferRequest,
    transfer_codec,
)
from orchestrator.protocol.wire import MalformedFrame
from orchestrator.sandboxes.background import BackgroundTasks
from orchestrator.sandboxes.errors import LinkViolated
from orchestrator.sandboxes.link_listener import GuardedConnection, Handler, receive_any
from orchestrator.sandboxes.settings import LinkSettings
from orchestrator.sessions.files.errors import TooManyTransfers, TransferBroken

HEADER_COST = 64
"""Bytes that a header counts towards a transfer's progress."""

_log = structlog.get_logger(__name__)


class TransferCut(TransferBroken):
    """The connection is gone."""


class Transfer:
    """One connection. Every method raises TransferBroken once it is cut or misused."""

    def __init__(self, connection: GuardedConnection) -> None:
        self._connection = connection
        self.moved = 0
        """Bytes, either way."""

    async def receive(self) -> TransferFrame | bytes:
        """The next frame: a header, or a chunk."""
        try:
            frame = await receive_any(self._connection)
            self.moved += max(len(frame), HEADER_COST)
            if isinstance(frame, bytes):
                return frame
            if len(frame) > MAX_HEADER_BYTES:
                raise TransferBroken("header_too_long")
            return transfer_codec.decode(frame)
        except ConnectionClosed as closed:
            raise TransferCut("cut") from closed
        except (LinkViolated, MalformedFrame) as violation:
            raise TransferBroken("malformed") from violation

    async def send_content(self, chunks: AsyncIterator[bytes]) -> int:
        """All of it, then that it is all. Returns the bytes sent."""
        sent = 0
        async for piece in chunks:
            for start in range(0, len(piece), CHUNK_BYTES):
                await self._send(piece[start : start + CHUNK_BYTES])
            sent += len(piece)
        await self._send(transfer_codec.encode(Done()))
        return sent

    async def _send(self, frame: str | bytes) -> None:
        try:
            await self._connection.send(frame)
        except ConnectionClosed as closed:
            raise TransferCut("cut") from closed
        self.moved += len(frame)

    def cut(self) -> None:
        self._connection.transport.abort()


class Transfers:
    """`order` sends a command to the shim."""

    def __init__(self, *, settings: LinkSettings, order: Callable[[OpenTransfer], None]) -> None:
        self._settings = settings
        self._order = order
        self._awaited: dict[str, asyncio.Future[GuardedConnection]] = {}
        self._open: dict[str, bool] = {}
        """Whether they are the control plane's own, by their ids."""
        self._is_over = False
        self._tasks = BackgroundTasks()

    @contextlib.asynccontextmanager
    async def open(self, request: TransferRequest) -> AsyncIterator[Transfer]:
        """A connection for this request; it is cut at the end. Raises TooManyTransfers,
        TransferBroken."""
        if self._is_over:
            raise TransferBroken("link_over")
        own = isinstance(request, SendCheckpoint | ReceiveCheckpoint | TakeTranscript)
        most = self._settings.own_transfers if own else self._settings.transfers
        if sum(one is own for one in self._open.values()) >= most:
            raise TooManyTransfers
        transfer_id = secrets.token_hex(16)
        self._open[transfer_id] = own
        try:
            transfer = Transfer(await self._dialled(transfer_id, request))
            watching = self._tasks.start(self._watch(transfer, transfer_id), name="transfer-watch")
            try:
                yield transfer
            finally:
                watching.cancel()
                transfer.cut()
        except TransferBroken as error:
            _log.warning("transfer.broke", request=type(request).__name__, reason=error.why)
            raise
        finally:
            self._open.pop(transfer_id, None)

    def take(self, transfer_id: str) -> Handler | None:
        """The handler of a connection that was awaited under this id, once."""
        awaited = self._awaited.pop(transfer_id, None)
        if awaited is None or awaited.done():
            return None

        async def hold(connection: GuardedConnection) -> None:
            if awaited.done():  # it came too late
                return
            awaited.set_result(connection)
            await connection.wait_closed()

        return hold

    def give_up(self) -> None:
        """The link is over: nobody dials any more. Idempotent."""
        self._is_over = True
        for awaited in self._awaited.values():
            if not awaited.done():
                awaited.set_exception(TransferBroken("link_over"))

    async def close(self) -> None:
        self.give_up()
        await self._tasks.close()

    async def _dialled(self, transfer_id: str, request: TransferRequest) -> GuardedConnection:
        awaited = asyncio.get_running_loop().create_future()
        self._awaited[transfer_id] = awaited
        try:
            self._order(OpenTransfer(transfer_id=transfer_id, request=request))
            async with asyncio.timeout(self._settings.transfer_dial_limit):
                connection: GuardedConnection = await awaited
        except TimeoutError as error:
            raise TransferBroken("not_dialled") from error
        except asyncio.CancelledError:
            if awaited.done() and not awaited.cancelled():
                awaited.result().transport.abort()
            raise
        finally:
            self._awaited.pop(transfer_id, None)
        return connection

    async def _watch(self, transfer: Transfer, transfer_id: str) -> None:
        """Cut a transfer that hardly moves, on whichever side, or goes on for too long. The place
        that it took is free then, even where its reader hangs."""
        patience, before = self._settings.transfer_patience, 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.transfer_limit):
                await asyncio.sleep(patience)
                while transfer.moved - before >= self._settings.transfer_progress:
                    before = transfer.moved
                    await asyncio.sleep(patience)
        transfer.cut()
        self._open.pop(transfer_id, None)
