"""Going about in a tree whose names may be anything and change at any moment, never by a link.

For: checkpoints, which carry every name that a file system can hold. What a person names is reached
through `files`, which is stricter.
"""

import contextlib
import os
import re
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from shim import files

DEEPEST = 100
"""Directories within each other. A descriptor is open for each; what is deeper is not carried."""
OWN_NAME = re.compile(r"\.casemate-(?:restore-[0-9a-f]{32}|upload-[0-9a-f]{16})")
"""What the shim itself leaves in a directory while it works."""

Parts = tuple[str, ...]


class Descent:
    """Opens directories below a root, each relative to the one above it. Those on the way to the
    last one stay open: who goes through a tree in order opens each directory once."""

    def __init__(self, root: str) -> None:
        """Raises OSError."""
        self._root = os.open(root, files.DIRECTORY)
        self._names: list[str] = []
        self._open: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rise(to=0)
        os.close(self._root)

    def at(self, path: Sequence[str], *, make: bool = False) -> int:
        """A descriptor of this directory, good until the next call. Raises OSError: for links, too,
        and for what is deeper than `DEEPEST`."""
        if len(path) > DEEPEST:
            raise OSError("too deep")
        self._rise(to=_common(self._names, path))
        for name in path[len(self._names) :]:
            below = _enter(self._last, name, make=make)
            self._names.append(name)
            self._open.append(below)
        return self._last

    @property
    def _last(self) -> int:
        return self._open[-1] if self._open else self._root

    def _rise(self, *, to: int) -> None:
        while len(self._open) > to:
            self._names.pop()
            os.close(self._open.pop())


def _enter(descriptor: int, name: str, *, make: bool) -> int:
    try:
        return files.open_directory(descriptor, name)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=descriptor)
    return files.open_directory(descriptor, name)


def _common(names: Sequence[str], path: Sequence[str]) -> int:
    """How many names both begin with."""
    for number, (one, other) in enumerate(zip(names, path, strict=False)):
        if one != other:
            return number
    return min(len(names), len(path))
