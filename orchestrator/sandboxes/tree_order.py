"""Holds the entries of a tree to their order, in memory that does not grow with them. Pure.

Ascending paths, each after the directory that it is in: so no path comes twice, none is below a
file or a link, and none is outside of what was asked for.
"""

from orchestrator.protocol.file_names import BadFileName, split_path
from orchestrator.protocol.transfers import Entry
from orchestrator.sessions.files.errors import TransferBroken


class TreeOrder:
    def __init__(self, root: str) -> None:
        self._root = split_path(root)
        self._last: list[str] = []
        self._directory: list[str] = []
        """The parts of the directory that was entered last, below the root."""

    def check(self, entry: Entry) -> None:
        """Raises TransferBroken."""
        parts = self._below_root(entry.path)
        if parts <= self._last:
            raise TransferBroken("tree_disorder")
        parent = parts[:-1]
        if self._directory[: len(parent)] != parent:
            raise TransferBroken("tree_orphan")
        self._last = parts
        self._directory = parts if entry.kind == "directory" else parent

    def _below_root(self, path: str) -> list[str]:
        try:
            parts = split_path(path)
        except BadFileName as error:
            raise TransferBroken("bad_name") from error
        depth = len(self._root)
        if parts[:depth] != self._root or len(parts) == depth:
            raise TransferBroken("tree_outside")
        return parts[depth:]
