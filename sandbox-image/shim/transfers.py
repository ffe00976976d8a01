"""Carries out transfers: dials a connection for each and sends or takes what was ordered.

What a transfer is, is in `orchestrator.protocol.transfers`. The files themselves are on a tmpfs, so
chunks are read and written where they are; what walks directories, packs and unpacks goes to a
thread.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import WebSocketException

from orchestrator.protocol.commands import OpenTransfer, SandboxCommand
from orchestrator.protocol.transfers import (
    CHUNK_BYTES,
    TRANSFERS_PATH,
    Changed,
    Done,
    Entry,
    ListFiles,
    Measured,
    Omitted,
    Ready,
    ReceiveCheckpoint,
    ReceiveFile,
    Refused,
    SendCheckpoint,
    SendFile,
    SendTree,
    Stored,
    TakeTranscript,
    TransferFrame,
    TransferRequest,
    transfer_codec,
)
from shim import files
from shim.checkpoint_transfers import (
    receive_checkpoint,
    say,
    send_checkpoint,
    take_transcript,
)
from shim.checkpoints import Checkpoints
from shim.contents import HOME, Roots
from shim.files import Unfit
from shim.link import SOCKET
from shim.transcript_answers import TranscriptTaker, nobody_asks

URI = f"ws://control-plane.internal{TRANSFERS_PATH}"
MOST = 8
"""Transfers at once. The control plane orders fewer."""
FRAMES_AHEAD = 2
DIAL_SECONDS = 10.0
CLOSE_SECONDS = 5.0
"""The control plane hangs up when it has what it wants."""

log = logging.getLogger("shim.transfers")


class Transfers:
    """`transcripts` is who asks for transcripts."""

    def __init__(
        self,
        *,
        workspace: str,
        home: str = HOME,
        socket: Path = SOCKET,
        transcripts: TranscriptTaker = nobody_asks,
    ) -> None:
        self._workspace = workspace
        self._socket = socket
        self._transcripts = transcripts
        self._checkpoints = Checkpoints(Roots(workspace=workspace, home=home))
        self._one_checkpoint = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def before(self, agent: Callable[[SandboxCommand], None]) -> Callable[[SandboxCommand], None]:
        """Takes the transfers out of the commands that an agent is given."""

        def receive(command: SandboxCommand) -> None:
            if isinstance(command, OpenTransfer):
                self.start(command)
            else:
                agent(command)

        return receive

    def start(self, order: OpenTransfer) -> None:
        if len(self._tasks) >= MOST:
            log.warning("transfer.refused")
            return
        task = asyncio.create_task(self._carry_out(order), name="transfer")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry_out(self, order: OpenTransfer) -> None:
        try:
            async with unix_connect(
                str(self._socket),
                URI + order.transfer_id,
                compression=None,
                max_size=CHUNK_BYTES,
                max_queue=FRAMES_AHEAD,
                ping_interval=None,
                open_timeout=DIAL_SECONDS,
                close_timeout=CLOSE_SECONDS,
            ) as connection:
                await self._carry_out_on(connection, order.request)
                await connection.wait_closed()
        except (OSError, WebSocketException, TimeoutError) as error:
            log.info("transfer.broke", extra={"reason": f"{type(error).__name__}: {error}"})

    async def _carry_out_on(self, connection: ClientConnection, request: TransferRequest) -> None:
        try:
            match request:
                case SendCheckpoint():
                    async with self._one_checkpoint:
                        await send_checkpoint(connection, self._checkpoints, request)
                case ReceiveCheckpoint():
                    async with self._one_checkpoint:
                        await receive_checkpoint(connection, self._checkpoints, request)
                case TakeTranscript():
                    await take_transcript(connection, self._transcripts, request)
                case _:
                    await Carrier(connection, self._workspace).carry_out(request)
        except Unfit as unfit:
            await say(connection, Refused(why=unfit.why))


class Carrier:
    """One transfer of a person's files, on its connection."""

    def __init__(self, connection: ClientConnection, workspace: str) -> None:
        self._connection = connection
        self._root = workspace

    async def carry_out(self, order: ListFiles | SendFile | SendTree | ReceiveFile) -> None:
        """Raises Unfit."""
        match order:
            case ListFiles():
                await self._list(order)
            case SendFile():
                await self._send_file(order.path)
            case SendTree():
                await self._send_tree(order)
            case ReceiveFile():
                await self._receive(order)
            case _:
                assert_never(order)

    async def _say(self, frame: TransferFrame) -> None:
        await say(self._connection, frame)

    async def _list(self, request: ListFiles) -> None:
        entries, omitted, truncated = await asyncio.to_thread(
            files.listed, self._root, request.path, most=request.most
        )
        for entry in entries:
            await self._say(entry)
        await self._say(Done(truncated=truncated, omitted=omitted))

    async def _send_file(self, path: str) -> None:
        with files.opened(self._root, path) as (file, entry):
            await self._say(entry)
            if await self._send_content(file, entry.size):
                await self._say(Done())

    async def _send_tree(self, request: SendTree) -> None:
        found = await asyncio.to_thread(
            files.tree, self._root, request.path, most=request.most_entries
        )
        size = sum(one.size for one in found if isinstance(one, Entry))
        if size > request.most_bytes:
            raise Unfit("too_much")
        await self._say(Measured(entries=len(found), size=size))
        for one in found:
            if isinstance(one, Entry) and one.kind == "file":
                await self._send_entry(one)
            else:
                await self._say(one)
        await self._say(Done())

    async def _send_entry(self, seen: Entry) -> None:
        try:
            with files.opened(self._root, seen.path) as (file, entry):
                await self._say(entry)
                await self._send_content(file, entry.size)
        except Unfit as unfit:
            closed = unfit.why == "failed"
            await self._say(Omitted(path=seen.path, why="unreadable" if closed else "gone"))

    async def _send_content(self, file: int, size: int) -> bool:
        """As much as was declared: what is written to the file meanwhile does not count. False
        where it became shorter."""
        left = size
        while left:
            chunk = _read_exactly(file, min(CHUNK_BYTES, left))
            if chunk is None:
                await self._say(Changed())
                return False
            left -= len(chunk)
            await self._connection.send(chunk)
        return True

    async def _receive(self, request: ReceiveFile) -> None:
        with files.new_file(
            self._root, request.path, size=request.size, overwrite=request.overwrite
        ) as file:
            await self._say(Ready())
            while isinstance(frame := await self._connection.recv(), bytes):
                file.write(frame)
            if not isinstance(transfer_codec.decode(frame), Done):
                raise Unfit("failed")
            file.finish()
            size = file.size
        await self._say(Stored(size=size))


def _read_exactly(file: int, size: int) -> bytes | None:
    """None where the file ends before that, or cannot be read on."""
    try:
        chunk = os.read(file, size)
        while len(chunk) < size and (more := os.read(file, size - len(chunk))):
            chunk += more
    except OSError:
        return None
    return chunk if len(chunk) == size else None
