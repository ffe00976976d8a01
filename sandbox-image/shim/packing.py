"""Packs what a checkpoint holds: a tar archive (POSIX), compressed with zstandard.

The same files give the same bytes. Every file is opened anew and never by a link; what is written
to it meanwhile may be in the archive or not, and what it lost is filled with zeros and counted.
"""

import os
import stat
import tarfile
from collections.abc import Iterator

from backports.zstd import CompressionParameter, ZstdCompressor

from orchestrator.protocol.transfers import CHUNK_BYTES
from shim import files
from shim.contents import Contents, Found, Roots, Tree
from shim.descent import Descent

READ_BYTES = 256 << 10
LEVEL = 3
"""zstandard's own default."""


class Packing:
    """`chunks` has the archive in pieces of `CHUNK_BYTES`, the last one shorter; the numbers are
    those of the archive once all of it was read. Blocks, so it belongs into a thread."""

    def __init__(self, contents: Contents, roots: Roots) -> None:
        self._found = contents.found
        self._roots = roots
        self._first_names: dict[tuple[Tree, int], str] = {}
        self.entries = 0
        self.size = 0
        self.omitted = contents.omitted

    def chunks(self) -> Iterator[bytes]:
        compressor = ZstdCompressor(
            options={
                CompressionParameter.compression_level: LEVEL,
                CompressionParameter.checksum_flag: 1,
            }
        )
        ready = bytearray()
        for piece in self._archive():
            ready += compressor.compress(piece)
            while len(ready) >= CHUNK_BYTES:
                yield bytes(ready[:CHUNK_BYTES])
                del ready[:CHUNK_BYTES]
        ready += compressor.flush()
        for start in range(0, len(ready), CHUNK_BYTES):
            yield bytes(ready[start : start + CHUNK_BYTES])

    def _archive(self) -> Iterator[bytes]:
        with Descent(self._roots.workspace) as workspace:
            yield from self._tree("workspace", workspace)
        if any(one.tree == "home" for one in self._found):
            with Descent(self._roots.home) as home:
                yield from self._tree("home", home)
        yield bytes(2 * tarfile.BLOCKSIZE)

    def _tree(self, tree: Tree, descent: Descent) -> Iterator[bytes]:
        for one in self._found:
            if one.tree == tree:
                yield from self._entry(one, descent)

    def _entry(self, one: Found, descent: Descent) -> Iterator[bytes]:
        if stat.S_ISREG(one.mode):
            yield from self._file(one, descent)
            return
        self.entries += 1
        if stat.S_ISDIR(one.mode):
            yield _header(one, tarfile.DIRTYPE)
        else:
            yield _header(one, tarfile.SYMTYPE, link=one.target)

    def _file(self, one: Found, descent: Descent) -> Iterator[bytes]:
        first = self._first_names.get((one.tree, one.inode)) if one.links > 1 else None
        if first is not None:
            self.entries += 1
            yield _header(one._replace(size=0), tarfile.LNKTYPE, link=f"{one.tree}/{first}")
            return
        file = self._opened(one, descent)
        if file is None:
            return
        try:
            yield from self._content(one, file)
        finally:
            os.close(file)

    def _opened(self, one: Found, descent: Descent) -> int | None:
        """None where it is not there any more or cannot be read; the latter is counted."""
        *above, name = one.path.split("/")
        try:
            directory = descent.at(above)
            seen = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if not stat.S_ISREG(seen.st_mode):
                return None
            return os.open(name, files.READ, dir_fd=directory)
        except FileNotFoundError:
            return None
        except OSError:
            self.omitted += 1
            return None

    def _content(self, one: Found, file: int) -> Iterator[bytes]:
        """As much of it as there was when it was looked at: that is what was counted."""
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return
        if one.links > 1:
            self._first_names[one.tree, one.inode] = one.path
        self.entries += 1
        self.size += one.size
        yield _header(one, tarfile.REGTYPE)
        left = one.size
        while left:
            piece = _read(file, min(READ_BYTES, left))
            if not piece:
                self.omitted += 1
                break
            left -= len(piece)
            yield piece
        yield from _zeros(left + -one.size % tarfile.BLOCKSIZE)


def _header(one: Found, kind: bytes, *, link: str = "") -> bytes:
    info = tarfile.TarInfo(f"{one.tree}/{one.path}")
    info.type, info.linkname, info.size = kind, link, one.size
    info.mode = stat.S_IMODE(one.mode) & 0o777
    seconds, rest = divmod(one.modified_ns, 1_000_000_000)
    info.mtime = seconds
    if rest or seconds < 0:
        info.pax_headers = {"mtime": _exactly(one.modified_ns)}
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _exactly(nanoseconds: int) -> str:
    """Seconds as decimals; a float would lose the last three digits."""
    sign, whole = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    return f"{sign}{whole // 1_000_000_000}.{whole % 1_000_000_000:09d}"


def _read(file: int, size: int) -> bytes:
    try:
        return os.read(file, size)
    except OSError:
        return b""


def _zeros(size: int) -> Iterator[bytes]:
    while size > 0:
        piece = min(size, READ_BYTES)
        yield bytes(piece)
        size -= piece
