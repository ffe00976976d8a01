"""A workspace while somebody uses it: its sandbox is thawed first, and not frozen or given up for
being idle before that is over. Each method is that of `Workspace`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.sessions.files.errors import TransferBroken
from orchestrator.sessions.profiles import CheckpointRules
from orchestrator.sessions.stays.stay import Stay
from orchestrator.sessions.workspace import (
    FileContent,
    Listing,
    PackedWorkspace,
    Tree,
    Workspace,
)


class WorkspaceInUse:
    def __init__(self, stay: Stay) -> None:
        self._stay = stay

    @property
    def _workspace(self) -> Workspace:
        return self._stay.sandbox.workspace

    async def list_files(self, path: str, *, most: int) -> Listing:
        async with self._stay.used():
            return await self._workspace.list_files(path, most=most)

    @asynccontextmanager
    async def read_file(self, path: str) -> AsyncIterator[FileContent]:
        async with self._stay.used(), self._workspace.read_file(path) as content:
            yield content

    @asynccontextmanager
    async def read_tree(
        self, path: str, *, most_entries: int, most_bytes: int
    ) -> AsyncIterator[Tree]:
        reading = self._workspace.read_tree(path, most_entries=most_entries, most_bytes=most_bytes)
        async with self._stay.used(), reading as tree:
            yield tree

    async def write_file(
        self, path: str, chunks: AsyncIterator[bytes], *, size: int | None, overwrite: bool
    ) -> int:
        async with self._stay.used():
            size = await self._workspace.write_file(path, chunks, size=size, overwrite=overwrite)
            if self._stay.left:
                raise TransferBroken("left")
            self._stay.written += 1
            return size

    @asynccontextmanager
    async def take_checkpoint(
        self, rules: CheckpointRules, *, unless: str
    ) -> AsyncIterator[PackedWorkspace | None]:
        async with self._stay.used(), self._workspace.take_checkpoint(rules, unless=unless) as made:
            yield made

    async def restore_checkpoint(
        self, chunks: AsyncIterator[bytes], *, size: int, rules: CheckpointRules
    ) -> None:
        async with self._stay.used():
            await self._workspace.restore_checkpoint(chunks, size=size, rules=rules)
