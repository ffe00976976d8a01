"""A sandbox's files over its link: everything that a transfer says is checked here.

The shim shares its user with whatever the model runs, so each answer may be a lie: names, sizes,
order and counts are held to the protocol and to what was asked for. What breaks it breaks this one
transfer, visibly; nothing that came is put on any disk here.
"""

import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Never

from orchestrator.protocol.file_names import BadFileName, split_path
from orchestrator.protocol.transfers import (
    CHUNK_BYTES,
    Changed,
    Done,
    Entry,
    ListFiles,
    Measured,
    Omitted,
    Ready,
    ReceiveFile,
    Refused,
    SendFile,
    SendTree,
    Stored,
    TransferFrame,
)
from orchestrator.sandboxes.transfers import Transfer, TransferCut, Transfers
from orchestrator.sandboxes.tree_order import TreeOrder
from orchestrator.sessions.errors import RuleBroken
from orchestrator.sessions.files_errors import (
    ArchiveTooLarge,
    BadName,
    FileChanged,
    FileExists,
    InTheWay,
    NoRoom,
    NotADirectory,
    NotAFile,
    TransferBroken,
    UnknownFile,
)
from orchestrator.sessions.workspace import FileContent, Listing, Tree, TreeItem


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
            if not isinstance(await _header(transfer), Ready):
                raise TransferBroken("not_ready")
            try:
                sent = await transfer.send_content(chunks)
            except TransferCut as cut:
                raise await _reason_of(transfer, cut) from cut
            stored = await _header(transfer)
            if not isinstance(stored, Stored) or stored.size != sent:
                raise TransferBroken("not_stored")
        return sent


async def _header(transfer: Transfer) -> TransferFrame:
    frame = await transfer.receive()
    if isinstance(frame, bytes):
        raise TransferBroken("content_unasked")
    if isinstance(frame, Refused):
        _refuse(frame)
    return frame


async def _reason_of(transfer: Transfer, cut: TransferCut) -> RuleBroken:
    """A workspace that is full is said before the shim hangs up."""
    try:
        await _header(transfer)
    except RuleBroken as refusal:
        return refusal
    return cut


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
