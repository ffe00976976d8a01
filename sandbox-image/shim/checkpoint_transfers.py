"""The transfers of checkpoints and transcripts, each on its connection.

Packing and unpacking go on in a thread, one piece at a time, and wait there for the connection: no
more than a few pieces are in memory, and the link is served meanwhile.
"""

import asyncio
from collections.abc import Iterator

from websockets.asyncio.client import ClientConnection

from orchestrator.protocol.transfers import (
    Checkpointed,
    Done,
    Ready,
    ReceiveCheckpoint,
    SendCheckpoint,
    Stored,
    TakeTranscript,
    TransferFrame,
    Unchanged,
    transfer_codec,
)
from shim.checkpoints import Checkpoints
from shim.files import Unfit
from shim.transcript_answers import TranscriptSink, TranscriptTaker

PIECE_SECONDS = 60.0
"""For the next piece of a checkpoint that is put back; the control plane is less patient."""


async def say(connection: ClientConnection, frame: TransferFrame) -> None:
    await connection.send(transfer_codec.encode(frame))


async def send_checkpoint(
    connection: ClientConnection, checkpoints: Checkpoints, order: SendCheckpoint
) -> None:
    """Raises Unfit."""
    prepared = await asyncio.to_thread(checkpoints.prepare, order)
    if prepared is None:
        await say(connection, Unchanged())
        return
    await say(connection, Ready())
    chunks = prepared.packing.chunks()
    while chunk := await asyncio.to_thread(_next, chunks):
        await connection.send(chunk)
    checkpoints.sent(prepared)
    done = Checkpointed(
        fingerprint=prepared.fingerprint.portable,
        entries=prepared.packing.entries,
        size=prepared.packing.size,
        omitted=prepared.packing.omitted,
    )
    await say(connection, done)


def _next(chunks: Iterator[bytes]) -> bytes:
    return next(chunks, b"")


async def receive_checkpoint(
    connection: ClientConnection, checkpoints: Checkpoints, order: ReceiveCheckpoint
) -> None:
    """Raises Unfit; then the files are as they were."""
    await say(connection, Ready())
    arriving = _Arriving(connection, most=order.size)
    await asyncio.to_thread(checkpoints.restore, order, arriving.more)
    await say(connection, Stored(size=arriving.size))


class _Arriving:
    """An archive's bytes, fetched by a thread from the loop that has the connection."""

    def __init__(self, connection: ClientConnection, *, most: int) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._most = most
        self._is_over = False
        self.size = 0

    def more(self) -> bytes:
        """Nothing once all of it came. Raises Unfit, ConnectionClosed, TimeoutError."""
        if self._is_over:
            return b""
        future = asyncio.run_coroutine_threadsafe(self._receive(), self._loop)
        try:
            return future.result(PIECE_SECONDS)
        except TimeoutError:
            future.cancel()
            raise

    async def _receive(self) -> bytes:
        frame = await self._connection.recv()
        if isinstance(frame, str):
            _end(frame)
            self._is_over = True
            return b""
        self.size += len(frame)
        if self.size > self._most:
            raise Unfit("too_much")
        return frame


async def take_transcript(
    connection: ClientConnection, transcripts: TranscriptTaker, order: TakeTranscript
) -> None:
    """Raises Unfit: `not_found` for an answer that nobody asked for."""
    sink = transcripts(order.ask_id)
    if sink is None:
        raise Unfit("not_found")
    try:
        await say(connection, Ready())
        size = await _pour(connection, sink, most=None if order.found else 0)
    except BaseException:
        sink.fail()
        raise
    if order.found:
        sink.finish()
    else:
        sink.missing()
    await say(connection, Stored(size=size))


async def _pour(connection: ClientConnection, sink: TranscriptSink, *, most: int | None) -> int:
    size = 0
    while isinstance(frame := await connection.recv(), bytes):
        size += len(frame)
        if most is not None and size > most:
            raise Unfit("failed")
        sink.take(frame)
    _end(frame)
    return size


def _end(frame: str) -> None:
    if not isinstance(transfer_codec.decode(frame), Done):
        raise Unfit("failed")
