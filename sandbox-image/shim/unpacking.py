"""Puts a checkpoint's content back: unpacked beside its place, then exchanged with what is there.

Until all of it is on the file system nothing else was touched, and an exchange that fails half way
is undone: whatever goes wrong, what was there is there. What is in the archive was made in a
sandbox, so each entry is checked.
"""

import contextlib
import os
import secrets
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from shim import files
from shim.archive_stream import PIECE_BYTES, ArchiveStream
from shim.contents import Roots, Tree, home_tree_of, home_trees
from shim.descent import DEEPEST, Descent
from shim.exchange import Exchange
from shim.files import Unfit, translated

HEADER_BYTES = 8 * tarfile.BLOCKSIZE
"""Of an archive for each entry, on average at most: its own header and an extended one, with what
fills both and the content up to whole blocks."""
LONGEST_HEADER = 64 << 10
"""Of one entry: the longest path, twice, and room to spare."""
REMOVAL_SECONDS = 60.0
PAGE_BYTES = 4 << 10
"""What a tmpfs gives a file at a time."""
_ZEROS = bytes(PAGE_BYTES)


class Unpacked(NamedTuple):
    entries: int
    size: int


class _Directory(NamedTuple):
    tree: Tree
    path: list[str]
    mode: int
    modified_ns: int


def restore(
    more: Callable[[], bytes], roots: Roots, *, most_entries: int, most_bytes: int
) -> Unpacked:
    """`more` gives the next bytes of the archive, nothing at the end. Raises Unfit, and whatever
    `more` raises; then nothing was changed."""
    stream = ArchiveStream(more, most=most_bytes + (most_entries + 16) * HEADER_BYTES)
    with translated(), ExitStack() as stack:
        workspace = stack.enter_context(_stage(Path(roots.workspace)))
        home = stack.enter_context(_stage(Path(roots.home)))
        new = Roots(workspace=str(workspace / "new"), home=str(home / "new"))
        unpacker = Unpacker(new, most_entries=most_entries, most_bytes=most_bytes)
        unpacker.unpack(stream)
        exchange = Exchange()
        with exchange.undone_on_error():
            exchange.trees(Path(roots.home), home, _trees_in(roots.home, new.home))
            exchange.everything(Path(roots.workspace), workspace)
        unpacker.finish_directories(roots)
        return Unpacked(entries=unpacker.entries, size=unpacker.size)


def _trees_in(*homes: str) -> list[str]:
    found: set[str] = set()
    for home in homes:
        with Descent(home) as descent:
            found.update(home_trees(descent))
    return sorted(found)


@contextmanager
def _stage(root: Path) -> Iterator[Path]:
    """A directory beside what is there, with `new` and `old` in it; it goes with all that is in it
    then."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    stage = root / f".casemate-restore-{secrets.token_hex(16)}"
    stage.mkdir(0o700)
    try:
        for name in ("new", "old"):
            (stage / name).mkdir(0o700)
        yield stage
    finally:
        _remove(stage)


def _remove(path: Path) -> None:
    """However deep it is, and whatever modes its directories have. Neither follows links."""
    for command in (["chmod", "-R", "u+rwx", "--", str(path)], ["rm", "-rf", "--", str(path)]):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(  # noqa: S603 - two fixed programs, and a name of our own
                command,
                check=False,
                timeout=REMOVAL_SECONDS,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )


class Unpacker:
    """Writes what an archive holds below two roots. Raises Unfit, OSError."""

    def __init__(self, roots: Roots, *, most_entries: int, most_bytes: int) -> None:
        self._roots = roots
        self._most_entries = most_entries
        self._most_bytes = most_bytes
        self._directories: list[_Directory] = []
        self.entries = 0
        self.size = 0

    def unpack(self, stream: ArchiveStream) -> None:
        with ExitStack() as stack:
            self._into = {tree: stack.enter_context(self._descent(tree)) for tree in _TREES}
            self._from = {tree: stack.enter_context(self._descent(tree)) for tree in _TREES}
            try:
                for member in _members(stream):
                    self._count(member)
                    self._place(member, stream)
            except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
                raise Unfit("failed") from error
            stream.finish()

    def finish_directories(self, roots: Roots) -> None:
        """Modes and times last, from the innermost outwards: whatever is put into a directory
        changes them."""
        for tree in _TREES:
            with contextlib.suppress(OSError), Descent(roots.of(tree)) as descent:
                for one in reversed([one for one in self._directories if one.tree == tree]):
                    with contextlib.suppress(OSError):  # somebody else's hands are in there, too
                        directory = descent.at(one.path)
                        os.fchmod(directory, one.mode)
                        os.utime(directory, ns=(one.modified_ns, one.modified_ns))

    def _descent(self, tree: Tree) -> Descent:
        return Descent(self._roots.of(tree))

    def _count(self, member: tarfile.TarInfo) -> None:
        self.entries += 1
        self.size += max(0, member.size) if member.isreg() else 0
        if self.entries > self._most_entries or self.size > self._most_bytes:
            raise Unfit("too_much")

    def _place(self, member: tarfile.TarInfo, stream: ArchiveStream) -> None:
        tree, path = _checked(member.name)
        if member.isdir():
            self._into[tree].at(path, make=True)
            self._directories.append(_Directory(tree, path, member.mode & 0o777, _modified(member)))
            return
        *above, name = path
        directory = self._into[tree].at(above, make=True)
        if member.issym():
            os.symlink(member.linkname, name, dir_fd=directory)
            _set_time(name, directory, member)
        elif member.islnk():
            self._link(member, tree, name, directory)
        elif member.isreg() and not member.issparse():
            _write(member, name, directory, stream)
        else:
            raise Unfit("failed")

    def _link(self, member: tarfile.TarInfo, tree: Tree, name: str, directory: int) -> None:
        other, path = _checked(member.linkname)
        if other != tree:
            raise Unfit("failed")
        *above, first = path
        there = self._from[tree].at(above)
        if not stat.S_ISREG(os.stat(first, dir_fd=there, follow_symlinks=False).st_mode):
            raise Unfit("failed")
        os.link(first, name, src_dir_fd=there, dst_dir_fd=directory, follow_symlinks=False)


_TREES: tuple[Tree, Tree] = ("workspace", "home")


def _members(stream: ArchiveStream) -> Iterator[tarfile.TarInfo]:
    """Raises Unfit, and what `tarfile` raises for what is no archive."""
    stream.grant(LONGEST_HEADER)
    archive = tarfile.TarFile(
        fileobj=stream,  # type: ignore[arg-type]  # it reads, seeks forward and tells
        mode="r",
        encoding="utf-8",
        errors="surrogateescape",
    )
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
        yield member
        stream.grant(LONGEST_HEADER)
    if stream.last != bytes(tarfile.BLOCKSIZE):  # it takes a spoilt header for the end
        raise Unfit("failed")


def _checked(name: str) -> tuple[Tree, list[str]]:
    """Raises Unfit for a name that leads anywhere else, or to what a checkpoint does not hold."""
    tree, *path = name.split("/")
    if not path or len(path) > DEEPEST or any(part in {"", ".", ".."} for part in path):
        raise Unfit("bad_name")
    if tree == "workspace":
        return "workspace", path
    if tree == "home" and home_tree_of(path) is not None:
        return "home", path
    raise Unfit("bad_name")


def _write(member: tarfile.TarInfo, name: str, directory: int, stream: ArchiveStream) -> None:
    file = os.open(name, files.WRITE, 0o600, dir_fd=directory)
    try:
        left = member.size
        stream.grant(max(0, left))
        while left:
            piece = stream.read(min(PIECE_BYTES, left))
            if not piece:
                raise Unfit("failed")
            _put(file, piece)
            left -= len(piece)
        os.ftruncate(file, member.size)  # where it ends in a hole
        os.fchmod(file, member.mode & 0o777)
        os.utime(file, ns=(_modified(member), _modified(member)))
    finally:
        os.close(file)


def _put(file: int, piece: bytes) -> None:
    """Pages of zeros become holes: a sparse file takes no more room than it did."""
    if piece.find(_ZEROS) < 0:
        _write_all(file, memoryview(piece))
        return
    for start in range(0, len(piece), PAGE_BYTES):
        page = piece[start : start + PAGE_BYTES]
        if page.count(0) == len(page):
            os.lseek(file, len(page), os.SEEK_CUR)
        else:
            _write_all(file, memoryview(page))


def _write_all(file: int, rest: memoryview) -> None:
    while rest:
        rest = rest[os.write(file, rest) :]


def _set_time(name: str, directory: int, member: tarfile.TarInfo) -> None:
    times = (_modified(member), _modified(member))
    os.utime(name, ns=times, dir_fd=directory, follow_symlinks=False)


def _modified(member: tarfile.TarInfo) -> int:
    """Nanoseconds since 1970, exactly. Raises ValueError."""
    said = member.pax_headers.get("mtime")
    if said is None:
        return int(member.mtime) * 1_000_000_000
    sign = -1 if said.startswith("-") else 1
    seconds, _, decimals = said.lstrip("-").partition(".")
    return sign * (int(seconds) * 1_000_000_000 + int(decimals.ljust(9, "0")[:9] or "0"))
