"""The workspace's files, reached without ever following a link.

Whatever runs in the sandbox may change any part of a path at any moment. So a path is walked one
directory at a time, each opened relative to the one before and never through a symlink; a file is
looked at again after it was opened; and nothing is opened that could block.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.protocol.file_names import (
    MAX_DEPTH,
    BadFileName,
    check_name,
    split_path,
    visible,
)
from orchestrator.protocol.transfers import MAX_MILLISECONDS, Entry, Kind, Omitted, Refusal

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
NEW_FILE, NEW_DIRECTORY = 0o644, 0o755
PARTIAL = ".casemate-upload-"
"""How a file is called until it is whole."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EFBIG}


class Unfit(Exception):
    """Raised in place of every OSError."""

    def __init__(self, why: Refusal) -> None:
        super().__init__(why)
        self.why = why


class DirectoryGone(Unfit):
    """It was there a moment ago, or cannot be read."""


@contextmanager
def directory(root: str, path: str, *, make: bool = False) -> Iterator[int]:
    """A descriptor of the directory; with `make` those that are missing are made. Raises Unfit."""
    with translated():
        descriptor = os.open(root, DIRECTORY)
    try:
        for name in parts(path):
            with translated():
                below = _enter(descriptor, name, make=make)
                os.close(descriptor)
                descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _enter(descriptor: int, name: str, *, make: bool) -> int:
    try:
        return open_directory(descriptor, name)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, NEW_DIRECTORY, dir_fd=descriptor)
    return open_directory(descriptor, name)


def open_directory(descriptor: int, name: str) -> int:
    """A directory in another, never by a link. Raises OSError.

    gVisor follows a link in spite of O_NOFOLLOW where O_DIRECTORY is there too. So what was
    opened is held against what has the name."""
    opened = os.open(name, DIRECTORY, dir_fd=descriptor)
    with contextlib.suppress(OSError):
        named = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        if os.path.samestat(named, os.fstat(opened)):
            return opened
    os.close(opened)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def parts(path: str) -> list[str]:
    """Raises Unfit."""
    try:
        return split_path(path)
    except BadFileName as error:
        raise Unfit("bad_name") from error


def split(path: str) -> tuple[str, str]:
    """The directory that a file is in, and its name there. Raises Unfit."""
    if not (names := parts(path)):
        raise Unfit("not_a_file")
    return "/".join(names[:-1]), names[-1]


@contextmanager
def translated() -> Iterator[None]:
    """Raises Unfit for what the kernel refuses."""
    try:
        yield
    except OSError as error:
        raise Unfit(_reason(error)) from error


def _reason(error: OSError) -> Refusal:
    match error.errno:
        case errno.ENOENT:
            return "not_found"
        case errno.ENOTDIR | errno.ELOOP:
            return "not_a_directory"
        case errno.EEXIST:
            return "exists"
        case errno.EISDIR:
            return "in_the_way"
        case code if code in _NO_ROOM:
            return "no_room"
        case _:
            return "failed"


# --- looking -----------------------------------------------------------------------------------


def look(descriptor: int, name: str, *, path: str) -> Entry | Omitted:
    """What stands in a directory under this name, without opening it."""
    try:
        check_name(name)
        split_path(path)
    except BadFileName:
        return Omitted(path=visible(path), why="name")
    try:
        found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        return entry_of(found, path=path, target=_target(descriptor, name, found))
    except FileNotFoundError:
        return Omitted(path=visible(path), why="gone")
    except OSError:
        return Omitted(path=visible(path), why="unreadable")


def entry_of(found: os.stat_result, *, path: str, target: str = "") -> Entry:
    kind = kind_of(found.st_mode)
    return Entry(
        path=path,
        kind=kind,
        size=found.st_size if kind == "file" else 0,
        modified_ms=min(max(0, found.st_mtime_ns // 1_000_000), MAX_MILLISECONDS),
        executable=kind == "file" and bool(found.st_mode & stat.S_IXUSR),
        target=target,
    )


def kind_of(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "symlink" if stat.S_ISLNK(mode) else "other"


def _target(descriptor: int, name: str, found: os.stat_result) -> str:
    """What a symlink says; nothing where that cannot be said in text."""
    if not stat.S_ISLNK(found.st_mode):
        return ""
    target = os.readlink(name, dir_fd=descriptor)
    return target if target.isprintable() and len(target) <= MAX_DEPTH * 16 else ""


def names(descriptor: int, *, most: int) -> tuple[list[str], bool]:
    """The names in a directory, sorted, and whether there are more than `most`."""
    found: list[str] = []
    with translated(), os.scandir(descriptor) as entries:
        for entry in entries:
            if len(found) >= most:
                return sorted(found), True
            found.append(entry.name)
    return sorted(found), False


def listed(root: str, path: str, *, most: int) -> tuple[list[Entry], int, bool]:
    """What is in a directory, how much of it is not carried, and whether there is more. Raises
    Unfit."""
    with directory(root, path) as descriptor:
        found, truncated = names(descriptor, most=most)
        looks = [look(descriptor, name, path=_join(path, name)) for name in found]
    entries = [one for one in looks if isinstance(one, Entry)]
    return entries, len(looks) - len(entries), truncated


def tree(root: str, path: str, *, most: int) -> list[Entry | Omitted]:
    """All that is below a directory, in the order of the protocol. Raises Unfit, also for more
    than `most`."""
    found: list[Entry | Omitted] = []
    waiting = _children(root, path, most=most)
    while waiting:
        one = waiting.pop()
        found.append(one)
        if isinstance(one, Entry) and one.kind == "directory":
            with contextlib.suppress(DirectoryGone):
                waiting.extend(_children(root, one.path, most=most))
        if len(found) + len(waiting) > most:
            raise Unfit("too_much")
    return found


def _children(root: str, path: str, *, most: int) -> list[Entry | Omitted]:
    """In descending order. Raises Unfit for more than `most`, DirectoryGone."""
    try:
        with directory(root, path) as descriptor:
            found, truncated = names(descriptor, most=most)
            looks = [look(descriptor, name, path=_join(path, name)) for name in found]
    except Unfit as unfit:
        raise DirectoryGone(unfit.why) from unfit
    if truncated:
        raise Unfit("too_much")
    return looks[::-1]


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


# --- reading and writing -----------------------------------------------------------------------


@contextmanager
def opened(root: str, path: str) -> Iterator[tuple[int, Entry]]:
    """A plain file and what it is now. Raises Unfit."""
    parent, name = split(path)
    with directory(root, parent) as descriptor:
        with translated():
            if kind_of(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode) != "file":
                raise Unfit("not_a_file")
            file = os.open(name, READ, dir_fd=descriptor)
        try:
            entry = entry_of(os.fstat(file), path=path)
            if entry.kind != "file":
                raise Unfit("not_a_file")
            yield file, entry
        finally:
            os.close(file)


class NewFile:
    """A file that is written beside its place and put there once it is whole."""

    def __init__(self, descriptor: int, name: str, *, overwrite: bool) -> None:
        self._descriptor, self._name, self._overwrite = descriptor, name, overwrite
        self._partial = PARTIAL + secrets.token_hex(8)
        self._file = os.open(self._partial, WRITE, NEW_FILE, dir_fd=descriptor)
        self.size = 0

    def write(self, chunk: bytes) -> None:
        with translated():
            view = memoryview(chunk)
            while view:
                view = view[os.write(self._file, view) :]
        self.size += len(chunk)

    def finish(self) -> None:
        """Raises Unfit."""
        with translated():
            os.fchmod(self._file, NEW_FILE)
            if self._overwrite:
                in_the_way(self._descriptor, self._name, overwrite=True)
                self._rename()
            else:
                os.link(
                    self._partial,
                    self._name,
                    src_dir_fd=self._descriptor,
                    dst_dir_fd=self._descriptor,
                    follow_symlinks=False,
                )

    def _rename(self) -> None:
        os.rename(
            self._partial, self._name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor
        )

    def close(self) -> None:
        """What was not put into its place is gone."""
        os.close(self._file)
        with contextlib.suppress(OSError):
            os.unlink(self._partial, dir_fd=self._descriptor)


@contextmanager
def new_file(root: str, path: str, *, size: int | None, overwrite: bool) -> Iterator[NewFile]:
    """Raises Unfit: for what is there already, and where the room does not suffice."""
    parent, name = split(path)
    with directory(root, parent, make=True) as descriptor:
        with translated():
            in_the_way(descriptor, name, overwrite=overwrite)
            room = os.fstatvfs(descriptor)
            if size is not None and size > room.f_bavail * room.f_frsize:
                raise Unfit("no_room")
            file = NewFile(descriptor, name, overwrite=overwrite)
        try:
            yield file
        finally:
            file.close()


def in_the_way(descriptor: int, name: str, *, overwrite: bool) -> None:
    """Raises Unfit where a file of this name may not be put into the directory."""
    try:
        found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return
    if kind_of(found.st_mode) != "file":
        raise Unfit("in_the_way")
    if not overwrite:
        raise Unfit("exists")
