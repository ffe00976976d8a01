"""`Files`: what people may do with the files of their sessions' workspaces.

For: who may, how much and how many at once. Content passes through and is never kept here. Not for
what a sandbox may answer: that is held to its word behind `Workspace`.
"""

import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import msgspec

from orchestrator.protocol.control_events import FileUploaded
from orchestrator.protocol.file_names import BadFileName, split_path
from orchestrator.protocol.ids import SessionId
from orchestrator.sessions.files.archive import Archive
from orchestrator.sessions.files.errors import (
    BadName,
    FileTooLarge,
    TransferBroken,
    UploadsSpent,
)
from orchestrator.sessions.files.limits import FileLimits
from orchestrator.sessions.files.transfer_places import TransferPlaces
from orchestrator.sessions.live_session import LiveSession
from orchestrator.sessions.ports import Actor
from orchestrator.sessions.workspace import Listing


class Download:
    """Bytes on their way to a person. Whoever gets it closes it."""

    def __init__(
        self, *, name: str, size: int | None, chunks: AsyncIterator[bytes], stack: AsyncExitStack
    ) -> None:
        self.name = name
        self.size = size
        """Where it is known before."""
        self.chunks = chunks
        """Raises TransferBroken or ArchiveTooLarge where it ends before it is whole."""
        self._stack = stack

    async def close(self) -> None:
        """Idempotent."""
        await self._stack.aclose()


class Uploaded(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    size: int
    """Bytes."""


class Files:
    """`find` gives a session that is this actor's, and raises UnknownSession or SessionOver."""

    def __init__(
        self,
        find: Callable[[Actor, SessionId], Awaitable[LiveSession]],
        *,
        limits: FileLimits,
    ) -> None:
        self._find = find
        self._limits = limits
        self.places = TransferPlaces(limits)
        self._uploaded: weakref.WeakKeyDictionary[LiveSession, int] = weakref.WeakKeyDictionary()

    async def list_files(self, actor: Actor, session_id: SessionId, path: str) -> Listing:
        """Directories first, each sort by name."""
        session = await self._find(actor, session_id)
        _checked(path)
        listing = await session.workspace.list_files(path, most=self._limits.listed_entries)
        listing.entries.sort(key=lambda entry: (entry.kind != "directory", entry.path))
        return listing

    async def download(self, actor: Actor, session_id: SessionId, path: str) -> Download:
        async with AsyncExitStack() as stack:
            session = await self._find(actor, session_id)
            name = _file_name(path)
            stack.enter_context(self.places.taken(actor, session_id))
            content = await stack.enter_async_context(session.workspace.read_file(path))
            if content.entry.size > self._limits.download_bytes:
                raise FileTooLarge
            return Download(
                name=name, size=content.entry.size, chunks=content.chunks, stack=stack.pop_all()
            )

    async def archive(self, actor: Actor, session_id: SessionId, path: str) -> Download:
        """A directory (empty: the whole workspace) as a zip archive."""
        async with AsyncExitStack() as stack:
            session = await self._find(actor, session_id)
            names = _checked(path)
            stack.enter_context(self.places.taken(actor, session_id))
            tree = await stack.enter_async_context(
                session.workspace.read_tree(
                    path,
                    most_entries=self._limits.archive_entries,
                    most_bytes=self._limits.archive_bytes,
                )
            )
            return Download(
                name=f"{names[-1] if names else 'workspace'}.zip",
                size=None,
                chunks=Archive(root=path).packed(tree.items),
                stack=stack.pop_all(),
            )

    async def upload(
        self,
        actor: Actor,
        session_id: SessionId,
        path: str,
        chunks: AsyncIterator[bytes],
        *,
        size: int | None,
        overwrite: bool,
    ) -> Uploaded:
        """`size` where it is declared; `chunks` has to keep to it. Everybody who follows the
        session is told."""
        session = await self._find(actor, session_id)
        _file_name(path)
        self._refuse_too_large(session, size or 0, before=0)
        with self.places.taken(actor, session_id):
            counted = _Counted()
            try:
                written = await session.workspace.write_file(
                    path,
                    self._bounded(session, chunks, size=size, counted=counted),
                    size=size,
                    overwrite=overwrite,
                )
            except BaseException:
                self._uploaded[session] = self._uploaded.get(session, 0) - counted.size
                raise
            await session.note(FileUploaded(path=path, size=written, by=actor.name))
        return Uploaded(path=path, size=written)

    async def _bounded(
        self,
        session: LiveSession,
        chunks: AsyncIterator[bytes],
        *,
        size: int | None,
        counted: "_Counted",
    ) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            self._refuse_too_large(session, len(chunk), before=counted.size)
            counted.size += len(chunk)
            self._uploaded[session] = self._uploaded.get(session, 0) + len(chunk)
            yield chunk
        if size is not None and counted.size != size:
            raise TransferBroken("upload_cut")

    def _refuse_too_large(self, session: LiveSession, more: int, *, before: int) -> None:
        if before + more > self._limits.upload_bytes:
            raise FileTooLarge
        if self._uploaded.get(session, 0) + more > self._limits.session_upload_bytes:
            raise UploadsSpent


class _Counted:
    """How much of one upload has passed."""

    size = 0


def _checked(path: str) -> list[str]:
    try:
        return split_path(path)
    except BadFileName as error:
        raise BadName(error.reason) from error


def _file_name(path: str) -> str:
    names = _checked(path)
    if not names:
        raise BadName("The path of a file is missing.")
    return names[-1]
