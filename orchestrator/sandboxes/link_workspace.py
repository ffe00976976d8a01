"""A sandbox's files over its link: everything that a transfer says is checked here.

The shim shares its user with whatever the model runs, so each answer may be a lie: names, sizes,
order and counts are held to the protocol and to what was asked for. What breaks it breaks this one
transfer, visibly; nothing that came is put on any disk here.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Never

from orchestrator.protocol.file_names import BadFileName, split_path
from orchestrator.protocol.transfers import (
    CHUNK_BYTES,
    Changed,
    Checkpointed,
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
    Unchanged,
)
from orchestrator.sandboxes.transfers import Transfer, TransferCut, Transfers
from orchestrator.sandboxes.tree_order import TreeOrder
from orchestrator.sessions.errors import CheckpointTooLarge
from orchestrator.sessions.files.errors import (
    ArchiveTooLarge,
    BadName,
    FileChanged,
    FileExists,
    FileRefused,
    InTheWay,
    NoRoom,
    NotADirectory,
    NotAFile,
    TransferBroken,
    UnknownFile,
)
from orchestrator.sessions.profiles import CheckpointRules
from orchestrator.sessions.workspace import FileContent, Listing, Packed, Tree, TreeItem

HEADER_BYTES = 4 << 10
"""Of an archive for each entry, on average at most, however badly it is compressed."""


class LinkWorkspace:
    """The `Workspace` behind one slot's link."""

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers

    async def list_files(self, path: str, *, most: int) -> Listing:
        entries: dict[str, Entry] = {}
        async with self._transfers.open(ListFiles(path=path, most=most)) as transfer:
            while not isinstance(frame := await _header(transfer), Done):
                if not isinstance(frame, Entry) or len(entries) >= most:
                    raise TransferBroken("listing")
                if frame.path in entries or _parent_of(frame) != path:
                    raise TransferBroken("listing_outside")
                entries[frame.path] = frame
        return Listing(
            entries=list(entries.values()), truncated=frame.truncated, omitted=frame.omitted
        )

    @contextlib.asynccontextmanager
    async def read_file(self, path: str) -> AsyncIterator[FileContent]:
        async with self._transfers.open(SendFile(path=path)) as transfer:
            entry = await _header(transfer)
            if not isinstance(entry, Entry) or entry.path != path or entry.kind != "file":
                raise TransferBroken("file")
            yield FileContent(entry=entry, chunks=_whole(transfer, entry.size))

    @contextlib.asynccontextmanager
    async def read_tree(
        self, path: str, *, most_entries: int, most_bytes: int
    ) -> AsyncIterator[Tree]:
        request = SendTree(path=path, most_entries=most_entries, most_bytes=most_bytes)
        async with AsyncExitStack() as stack:
            transfer = await stack.enter_async_context(self._transfers.open(request))
            measured = await _header(transfer)
            if not isinstance(measured, Measured):
                raise TransferBroken("tree")
            if measured.entries > most_entries or measured.size > most_bytes:
                raise ArchiveTooLarge
            yield Tree(
                entries=measured.entries,
                size=measured.size,
                items=_items(transfer, request),
            )

    async def write_file(
        self, path: str, chunks: AsyncIterator[bytes], *, size: int | None, overwrite: bool
    ) -> int:
        request = ReceiveFile(path=path, size=size, overwrite=overwrite)
        async with self._transfers.open(request) as transfer:
            return await _hand_over(transfer, chunks)

    @contextlib.asynccontextmanager
    async def take_checkpoint(
        self, rules: CheckpointRules, *, unless: str
    ) -> AsyncIterator["ArrivingCheckpoint | None"]:
        request = SendCheckpoint(
            excludes=list(rules.excludes),
            most_entries=rules.max_entries,
            most_bytes=rules.max_bytes,
            unless=unless,
        )
        async with self._transfers.open(request) as transfer:
            async with _of_checkpoints():
                begun = await _header(transfer)
            if isinstance(begun, Ready):
                yield ArrivingCheckpoint(transfer, rules)
            elif isinstance(begun, Unchanged) and unless:
                yield None
            else:
                raise TransferBroken("checkpoint")

    async def restore_checkpoint(
        self, chunks: AsyncIterator[bytes], *, size: int, rules: CheckpointRules
    ) -> None:
        request = ReceiveCheckpoint(
            size=size, most_entries=rules.max_entries, most_bytes=rules.max_bytes
        )
        async with self._transfers.open(request) as transfer, _of_checkpoints():
            if await _hand_over(transfer, chunks) != size:
                raise TransferBroken("checkpoint_size")

    async def give_transcript(self, ask_id: str, pieces: AsyncIterator[bytes] | None) -> None:
        """Answer a `TranscriptAsked`; None: there is nothing. Raises TransferBroken,
        TooManyTransfers, and what `pieces` raises."""
        request = TakeTranscript(ask_id=ask_id, found=pieces is not None)
        try:
            async with self._transfers.open(request) as transfer:
                await _hand_over(transfer, pieces if pieces is not None else _nothing())
        except FileRefused as refused:
            raise TransferBroken("transcript_refused") from refused


class ArrivingCheckpoint:
    """A checkpoint on its way out of a sandbox. It is read once."""

    def __init__(self, transfer: Transfer, rules: CheckpointRules) -> None:
        self._transfer = transfer
        self._rules = rules
        self._packed: Packed | None = None
        self.chunks = self._chunks()

    @property
    def packed(self) -> Packed:
        if self._packed is None:
            raise TransferBroken("checkpoint_unread")
        return self._packed

    async def _chunks(self) -> AsyncIterator[bytes]:
        """In pieces of exactly the protocol's size, the last one of the rest. Raises
        CheckpointTooLarge, TransferBroken."""
        left = self._rules.max_bytes + (self._rules.max_entries + 16) * HEADER_BYTES
        is_last = False
        async with _of_checkpoints():
            while isinstance(frame := await self._transfer.receive(), bytes):
                left -= len(frame)
                if left < 0:
                    raise CheckpointTooLarge
                if is_last or not 0 < len(frame) <= CHUNK_BYTES:
                    raise TransferBroken("content")
                is_last = len(frame) < CHUNK_BYTES
                yield frame
            self._packed = self._checked(frame)

    def _checked(self, frame: TransferFrame) -> Packed:
        if isinstance(frame, Refused):
            _refuse(frame)
        if not isinstance(frame, Checkpointed) or not frame.fingerprint:
            raise TransferBroken("checkpoint_end")
        if frame.entries > self._rules.max_entries or frame.size > self._rules.max_bytes:
            raise CheckpointTooLarge
        return Packed(
            fingerprint=frame.fingerprint,
            entries=frame.entries,
            size=frame.size,
            omitted=frame.omitted,
        )


@contextlib.asynccontextmanager
async def _of_checkpoints() -> AsyncIterator[None]:
    """What a refusal means for a checkpoint. Nobody named a file, so none can be wrong; only room
    may be short."""
    try:
        yield
    except ArchiveTooLarge as error:
        raise CheckpointTooLarge from error
    except NoRoom:
        raise
    except FileRefused as error:
        raise TransferBroken("checkpoint_refused") from error


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for piece in nothing:
        yield piece


async def _hand_over(transfer: Transfer, chunks: AsyncIterator[bytes]) -> int:
    """All of it, as soon as the sandbox is ready for it; the bytes that it took. A sandbox that
    refuses is heard in the middle, too: it does not read the rest."""
    if not isinstance(await _header(transfer), Ready):
        raise TransferBroken("not_ready")
    sending = asyncio.create_task(transfer.send_content(chunks), name="transfer-send")
    answer = asyncio.create_task(_header(transfer), name="transfer-answer")
    try:
        await asyncio.wait((sending, answer), return_when=asyncio.FIRST_COMPLETED)
        if answer.done() and not sending.done():
            answer.result()  # a refusal, or the end of the connection
            raise TransferBroken("answered_early")
        sent = await _sent(sending, answer)
        stored = await answer
    finally:
        await _stopped(sending, answer)
    if not isinstance(stored, Stored) or stored.size != sent:
        raise TransferBroken("not_stored")
    return sent


async def _sent(sending: asyncio.Task[int], answer: asyncio.Task[TransferFrame]) -> int:
    """A workspace that is full is said before the shim hangs up."""
    try:
        return await sending
    except TransferCut:
        await answer
        raise


async def _stopped(*tasks: "asyncio.Task[int] | asyncio.Task[TransferFrame]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _header(transfer: Transfer) -> TransferFrame:
    frame = await transfer.receive()
    if isinstance(frame, bytes):
        raise TransferBroken("content_unasked")
    if isinstance(frame, Refused):
        _refuse(frame)
    return frame


async def _content(transfer: Transfer, size: int) -> AsyncIterator[bytes]:
    """Exactly so many bytes, in chunks of exactly the protocol's size: nobody can make many tiny
    ones of it. Raises FileChanged where the sandbox says that the rest is gone."""
    left = size
    while left:
        frame = await transfer.receive()
        if isinstance(frame, Changed):
            raise FileChanged("changed")
        if not isinstance(frame, bytes) or len(frame) != min(CHUNK_BYTES, left):
            raise TransferBroken("content")
        left -= len(frame)
        yield frame


async def _whole(transfer: Transfer, size: int) -> AsyncIterator[bytes]:
    """The last chunk is held back until the sandbox said that it was the last: whoever counts the
    bytes would take the file for whole."""
    held = b""
    async for chunk in _content(transfer, size):
        if held:
            yield held
        held = chunk
    if not isinstance(await _header(transfer), Done):
        raise TransferBroken("file_end")
    if held:
        yield held


async def _items(transfer: Transfer, request: SendTree) -> AsyncIterator[TreeItem]:
    order, entries, size = TreeOrder(request.path), 0, 0
    while not isinstance(frame := await _header(transfer), Done):
        entries += 1
        if entries > request.most_entries:
            raise ArchiveTooLarge
        match frame:
            case Entry(kind="file"):
                order.check(frame)
                size += frame.size
                if size > request.most_bytes:
                    raise ArchiveTooLarge
                content = _content(transfer, frame.size)
                yield FileContent(entry=frame, chunks=content)
                with contextlib.suppress(FileChanged):  # told to the reader, if there was one
                    async for _ in content:
                        pass
            case Entry():
                order.check(frame)
                yield frame
            case Omitted():
                yield frame
            case _:
                raise TransferBroken("tree")


def _parent_of(entry: Entry) -> str:
    try:
        return "/".join(split_path(entry.path)[:-1])
    except BadFileName as error:
        raise TransferBroken("bad_name") from error


def _refuse(refused: Refused) -> Never:
    """In our words."""
    match refused.why:
        case "not_found":
            raise UnknownFile
        case "not_a_file":
            raise NotAFile
        case "not_a_directory":
            raise NotADirectory
        case "exists":
            raise FileExists
        case "in_the_way":
            raise InTheWay
        case "no_room":
            raise NoRoom
        case "too_much":
            raise ArchiveTooLarge
        case "bad_name":
            raise BadName
        case "failed":
            raise TransferBroken("refused")
