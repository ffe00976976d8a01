"""A workspace in memory, for tests of whatever stands above sandboxes. It keeps to the contract of
`Workspace`; what a lying sandbox does is shown on the link, where it is found out."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator

import msgspec

from orchestrator.protocol.transfers import CHUNK_BYTES, Entry, Omitted
from orchestrator.sessions.errors import CheckpointTooLarge
from orchestrator.sessions.files.errors import (
    ArchiveTooLarge,
    FileChanged,
    FileExists,
    InTheWay,
    NoRoom,
    NotADirectory,
    NotAFile,
    TransferBroken,
    UnknownFile,
)
from orchestrator.sessions.profiles import CheckpointRules
from orchestrator.sessions.workspace import (
    FileContent,
    Listing,
    Packed,
    PackedWorkspace,
    Tree,
    TreeItem,
)


class FakeWorkspace:
    """`files` maps paths to content; directories are there by what is in them. A path in `links`
    leads to what it names, and is never followed. `room` is what fits in altogether. With `breaks`
    every content ends after its first chunk: the sandbox went away."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.links: dict[str, str] = {}
        self.omitted: list[Omitted] = []
        self.changing: set[str] = set()
        """Files that become shorter while they are read."""
        self.room = 1 << 30
        self.breaks = False
        self.is_gone = False
        self.is_frozen = False
        self.restored = 0
        """How often files were put back."""
        self.open = 0
        """Transfers at this moment."""

    async def list_files(self, path: str, *, most: int) -> Listing:
        self._look(path)
        below = [one for one in self._entries() if _parent(one.path) == path]
        return Listing(entries=below[:most], truncated=len(below) > most)

    @contextlib.asynccontextmanager
    async def read_file(self, path: str) -> AsyncIterator[FileContent]:
        if path in self.links or path in self._directories():
            raise NotAFile
        if path not in self.files:
            raise UnknownFile
        with self._transfer():
            yield self._content(path)

    @contextlib.asynccontextmanager
    async def read_tree(
        self, path: str, *, most_entries: int, most_bytes: int
    ) -> AsyncIterator[Tree]:
        self._look(path)
        prefix = f"{path}/" if path else ""
        below = [one for one in self._entries() if one.path.startswith(prefix)]
        size = sum(one.size for one in below)
        if len(below) > most_entries or size > most_bytes:
            raise ArchiveTooLarge
        with self._transfer():
            yield Tree(entries=len(below), size=size, items=self._items(below))

    async def write_file(
        self, path: str, chunks: AsyncIterator[bytes], *, size: int | None, overwrite: bool
    ) -> int:
        if path in self._directories() or path in self.links:
            raise InTheWay
        if path in self.files and not overwrite:
            raise FileExists
        if (size or 0) > self.room:
            raise NoRoom
        content = bytearray()
        with self._transfer():
            async for chunk in chunks:
                content += chunk
                if len(content) > self.room:
                    raise NoRoom
        self.files[path] = bytes(content)
        return len(content)

    @contextlib.asynccontextmanager
    async def take_checkpoint(
        self, rules: CheckpointRules, *, unless: str
    ) -> AsyncIterator[PackedWorkspace | None]:
        with self._transfer():
            files = {path: data for path, data in self.files.items() if is_kept(path, rules)}
            size = sum(len(data) for data in files.values())
            if size > rules.max_bytes or len(files) > rules.max_entries:
                raise CheckpointTooLarge
            archive = msgspec.msgpack.encode((files, self.links))
            fingerprint = hashlib.sha256(archive).hexdigest()
            packed = Packed(
                fingerprint=fingerprint,
                entries=len(files) + len(self.links),
                size=size,
                omitted=len(self.omitted),
            )
            chunks = self._chunks("", archive)
            yield None if unless == fingerprint else FakePackedWorkspace(packed, chunks)

    async def restore_checkpoint(
        self, chunks: AsyncIterator[bytes], *, size: int, rules: CheckpointRules
    ) -> None:
        with self._transfer():
            archive = b"".join([chunk async for chunk in chunks])
            if len(archive) != size:
                raise TransferBroken("size")
            files, links = msgspec.msgpack.decode(
                archive, type=tuple[dict[str, bytes], dict[str, str]]
            )
            unpacked = sum(len(data) for data in files.values())
            if unpacked > rules.max_bytes or len(files) > rules.max_entries:
                raise CheckpointTooLarge
            if unpacked > self.room:
                raise NoRoom
            self.files, self.links = files, links
            self.restored += 1

    @contextlib.contextmanager
    def _transfer(self) -> Iterator[None]:
        if self.is_gone or self.is_frozen:
            raise TransferBroken("gone")
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    def _look(self, path: str) -> None:
        if self.is_gone or self.is_frozen:
            raise TransferBroken("gone")
        if path in self.files or path in self.links:
            raise NotADirectory
        if path and path not in self._directories():
            raise UnknownFile

    def _directories(self) -> set[str]:
        found = set()
        for path in [*self.files, *self.links]:
            while path := _parent(path):
                found.add(path)
        return found

    def _entries(self) -> list[Entry]:
        entries = [
            *(Entry(path=path, kind="directory") for path in self._directories()),
            *(Entry(path=path, kind="symlink", target=to) for path, to in self.links.items()),
            *(Entry(path=path, kind="file", size=len(data)) for path, data in self.files.items()),
        ]
        return sorted(entries, key=lambda entry: entry.path.split("/"))

    async def _items(self, entries: list[Entry]) -> AsyncIterator[TreeItem]:
        for entry in entries:
            yield self._content(entry.path) if entry.kind == "file" else entry
        for omitted in self.omitted:
            yield omitted

    def _content(self, path: str) -> FileContent:
        data = self.files[path]
        return FileContent(
            entry=Entry(path=path, kind="file", size=len(data)), chunks=self._chunks(path, data)
        )

    async def _chunks(self, path: str, data: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(data), CHUNK_BYTES):
            if start and path in self.changing:
                raise FileChanged("changed")
            if start and self.breaks:
                raise TransferBroken("cut")
            yield data[start : start + CHUNK_BYTES]


class FakePackedWorkspace:
    def __init__(self, packed: Packed, chunks: AsyncIterator[bytes]) -> None:
        self._packed = packed
        self._chunks = chunks
        self._is_read = False

    @property
    def chunks(self) -> AsyncIterator[bytes]:
        return self._read()

    @property
    def packed(self) -> Packed:
        if not self._is_read:
            raise TransferBroken("not read to its end")
        return self._packed

    async def _read(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            yield chunk
        self._is_read = True


def is_kept(path: str, rules: CheckpointRules) -> bool:
    """Of the patterns, those that name a directory anywhere; enough for a fake."""
    return not any(f"{name}/" in rules.excludes for name in path.split("/")[:-1])


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
