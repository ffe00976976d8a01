"""A sandbox's files as the rules see them: what they ask of it, and what they get.

Whoever implements `Workspace` has checked what comes out of it: names (`protocol.file_names`),
declared sizes, order and counts. What a sandbox says of its files is still only its own word.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from orchestrator.protocol.transfers import Entry, Omitted
from orchestrator.sessions.profiles import CheckpointRules


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    entries: list[Entry]
    truncated: bool = False
    """There is more in the directory than was asked for."""
    omitted: int = 0
    """Entries whose names are not carried."""


class FileContent(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly `entry.size` bytes in `chunks`, or it raises FileChanged or TransferBroken."""

    entry: Entry
    chunks: AsyncIterator[bytes]


TreeItem = FileContent | Entry | Omitted
"""A file with its content, a directory or symlink, or what is there and is not carried."""


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """`items` in ascending order of their paths' parts, each path once, a directory before what is
    in it. Content that is not read is skipped when the next item is asked for."""

    entries: int
    size: int
    """Bytes, like `entries` as it was before the first item."""
    items: AsyncIterator[TreeItem]


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """What the sandbox said of a checkpoint that it packed; known once all was read."""

    fingerprint: str
    entries: int
    size: int
    """Bytes, unpacked."""
    omitted: int


class PackedWorkspace(Protocol):
    @property
    def chunks(self) -> AsyncIterator[bytes]: ...
    @property
    def packed(self) -> Packed:
        """Only after the last chunk."""


class Workspace(Protocol):
    """The files of one sandbox. Each call is a transfer of its own, and a slow reader slows that
    one alone. All raise TransferBroken, TooManyTransfers and what the method names."""

    async def list_files(self, path: str, *, most: int) -> Listing:
        """Raises UnknownFile, NotADirectory."""

    def read_file(self, path: str) -> AbstractAsyncContextManager[FileContent]:
        """Raises UnknownFile, NotAFile."""

    def read_tree(
        self, path: str, *, most_entries: int, most_bytes: int
    ) -> AbstractAsyncContextManager[Tree]:
        """Raises UnknownFile, NotADirectory, and ArchiveTooLarge, at first or in the middle."""

    async def write_file(
        self, path: str, chunks: AsyncIterator[bytes], *, size: int | None, overwrite: bool
    ) -> int:
        """The bytes written; nothing is left of a file that was not finished. `chunks` is not read
        before the sandbox is ready for it, and what it raises ends the transfer. Raises FileExists,
        InTheWay, NoRoom."""

    def take_checkpoint(
        self, rules: CheckpointRules, *, unless: str
    ) -> AbstractAsyncContextManager[PackedWorkspace | None]:
        """A zstandard tar of it, made in the sandbox and never unpacked outside one; None where
        `unless` is still its fingerprint. Raises CheckpointTooLarge."""

    async def restore_checkpoint(
        self, chunks: AsyncIterator[bytes], *, size: int, rules: CheckpointRules
    ) -> None:
        """Raises NoRoom, CheckpointTooLarge."""
