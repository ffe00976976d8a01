"""Puts what was unpacked into its place, and back again where that does not succeed.

Renames within one file system, each of them remembered. A stage is a directory in the root that it
is for; `new` in it has what comes, and `old` takes what goes.
"""

import contextlib
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class _Move(NamedTuple):
    source: Path
    target: Path
    mode: int | None
    """Of a directory that had to be opened for it, as it was."""


class Exchange:
    def __init__(self) -> None:
        self._moves: list[_Move] = []

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._undo()
            raise

    def everything(self, root: Path, stage: Path) -> None:
        """All that is in the root for all that is new. Raises OSError."""
        for there in list(root.iterdir()):
            if there != stage:
                self._move(there, stage / "old" / there.name)
        for new in list((stage / "new").iterdir()):
            self._move(new, root / new.name)

    def trees(self, root: Path, stage: Path, paths: Sequence[str]) -> None:
        """These directories, for what is new of them; what is beside them stays. Raises OSError."""
        for number, path in enumerate(paths):
            there, new = root / path, stage / "new" / path
            if there.is_dir():
                self._move(there, stage / "old" / str(number))
            if new.is_dir():
                there.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._move(new, there)

    def _move(self, source: Path, target: Path) -> None:
        """A directory is moved by who may write into it: its `..` changes."""
        mode = source.lstat().st_mode
        locked = stat.S_ISDIR(mode) and not mode & stat.S_IWUSR
        if locked:
            source.chmod(stat.S_IMODE(mode) | stat.S_IWUSR)
        source.rename(target)
        self._moves.append(_Move(source, target, stat.S_IMODE(mode) if locked else None))

    def _undo(self) -> None:
        """As far as it goes: one that fails is one thing that somebody else took away."""
        for move in reversed(self._moves):
            with contextlib.suppress(OSError):
                move.target.rename(move.source)
                if move.mode is not None:
                    move.source.chmod(move.mode)
        self._moves.clear()
