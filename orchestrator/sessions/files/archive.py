"""A tree of files as a zip archive, made while it is read: nothing is kept on a disk, and of each
file no more than a chunk is in memory.

What cannot be in it (links, devices, names that are not carried, files that changed meanwhile) is
listed in a text file at its end. Names and sizes were checked before they come here.
"""

import asyncio
import re
import stat
import time
import zipfile
import zlib
from collections.abc import AsyncIterator
from typing import IO

from orchestrator.protocol.file_names import visible
from orchestrator.protocol.transfers import Entry, Omitted
from orchestrator.sessions.files.errors import FileChanged
from orchestrator.sessions.workspace import FileContent, TreeItem

LEVEL = 1
"""The fastest: it takes most of what there is to gain, and a processor is dearer here."""
PIECE = 64 << 10
"""Bytes that are handed on together."""
ALONE = 16 << 10
"""Content that is longer is packed beside the event loop."""
SAMPLE, WORTH = 16 << 10, 0.95
"""A file whose beginning does not become at least this small is not packed."""
REPORT = "skipped.txt"
"""Behind as many `_` as no file of the workspace has."""
_LIKE_REPORT = re.compile(rf"_+{re.escape(REPORT)}", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:")
"""Beginning so, a path is no longer below the directory that Windows unpacks it into."""
MOST_REPORTED = 1000
FIRST_YEAR, LAST_YEAR = 1980, 2107
"""What the format can say."""
_WHY = {
    "name": "its name has characters that are not carried",
    "unreadable": "it cannot be read",
    "gone": "it was removed or replaced meanwhile",
    "symlink": "it is a link",
    "other": "it is not a plain file",
    "drive": "its name begins like a drive's",
}


class _Pieces:
    """What `zipfile` writes to; it cannot seek, so sizes follow their content."""

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self.size = 0

    def write(self, data: bytes) -> int:
        piece = bytes(data)
        self._written.append(piece)
        self.size += len(piece)
        return len(piece)

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """Nothing is held here at all."""

    def take(self) -> bytes:
        taken, self._written, self.size = b"".join(self._written), [], 0
        return taken


class Archive:
    """`root` is the directory that was asked for: names in the archive begin below it."""

    def __init__(self, *, root: str) -> None:
        self._skip = len(root) + 1 if root else 0
        self._pieces = _Pieces()
        self._zip = zipfile.ZipFile(self._pieces, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL)
        self._skipped: list[str] = []
        self._not_named = 0
        self._like_report: set[str] = set()

    async def packed(self, items: AsyncIterator[TreeItem]) -> AsyncIterator[bytes]:
        async for item in items:
            match item:
                case FileContent(entry=entry) | (Entry() as entry) if self._is_on_drive(entry):
                    self._note(entry.path, _WHY["drive"])
                case FileContent():
                    async for piece in self._file(item):
                        yield piece
                case Entry(kind="directory"):
                    self._zip.writestr(self._info(item), b"")
                case Entry():
                    self._note(item.path, _WHY[item.kind])
                case Omitted():
                    self._note(visible(item.path), _WHY[item.why])
            if self._pieces.size >= PIECE:
                yield self._pieces.take()
        self._close()
        yield self._pieces.take()

    async def _file(self, file: FileContent) -> AsyncIterator[bytes]:
        written, packing = 0, None
        try:
            async for chunk in file.chunks:
                if packing is None:
                    packing = self._begin(file.entry, chunk)
                if len(chunk) > ALONE:
                    await asyncio.to_thread(packing.write, chunk)
                else:
                    packing.write(chunk)
                written += len(chunk)
                if self._pieces.size >= PIECE:
                    yield self._pieces.take()
        except FileChanged:
            self._note(file.entry.path, f"it changed; its first {written} bytes are here")
        finally:
            (packing or self._begin(file.entry, b"")).close()

    def _begin(self, entry: Entry, first: bytes) -> IO[bytes]:
        info = self._info(entry)
        level = LEVEL if _shrinks(first[:SAMPLE]) else 0
        info._compresslevel = level  # type: ignore[attr-defined]  # noqa: SLF001 - no public way
        return self._zip.open(info, "w")

    def _info(self, entry: Entry) -> zipfile.ZipInfo:
        name = entry.path[self._skip :]
        if _LIKE_REPORT.fullmatch(top := name.partition("/")[0]):
            self._like_report.add(top.lower())
        is_directory = entry.kind == "directory"
        info = zipfile.ZipInfo(f"{name}/" if is_directory else name, _date(entry.modified_ms))
        info.compress_type = zipfile.ZIP_STORED if is_directory else zipfile.ZIP_DEFLATED
        info.file_size = entry.size
        mode = 0o755 if is_directory or entry.executable else 0o644
        kind = stat.S_IFDIR if is_directory else stat.S_IFREG
        info.create_system = 3  # Unix: the mode below counts
        info.external_attr = (kind | mode) << 16 | (0x10 if is_directory else 0)
        return info

    def _is_on_drive(self, entry: Entry) -> bool:
        return _DRIVE.match(entry.path, self._skip) is not None

    def _note(self, path: str, why: str) -> None:
        if len(self._skipped) < MOST_REPORTED:
            self._skipped.append(f"{path}: {why}")
        else:
            self._not_named += 1

    def _close(self) -> None:
        if self._not_named:
            self._skipped.append(f"... and {self._not_named} more")
        if self._skipped:
            lines = "Not in this archive, or not as a whole:\n" + "\n".join(self._skipped) + "\n"
            self._zip.writestr(self._report_name(), lines)
        self._zip.close()

    def _report_name(self) -> str:
        """What is in the workspace keeps its name, also where case is no difference."""
        name = f"_{REPORT}"
        while name in self._like_report:
            name = f"_{name}"
        return name


def _shrinks(sample: bytes) -> bool:
    """Packing what is packed already takes thirty times as long as copying it."""
    return len(zlib.compress(sample, LEVEL)) < len(sample) * WORTH


def _date(modified_ms: int) -> tuple[int, int, int, int, int, int]:
    year, *rest = time.gmtime(modified_ms / 1000)[:6]
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return (FIRST_YEAR, 1, 1, 0, 0, 0)
    month, day, hour, minute, second = rest
    return (year, month, day, hour, minute, second)
