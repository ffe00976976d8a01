"""What a checkpoint holds: the workspace, and the little of the home that is the session's.

Looked at without being opened. Not for its bytes (`packing`), nor for putting it back
(`unpacking`).
"""

import contextlib
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from shim.descent import DEEPEST, OWN_NAME, Descent
from shim.files import Unfit, translated

Tree = Literal["workspace", "home"]
HOME = "/home/agent"
_STATE = ".claude"
_TREES = ("tasks", "todos", "plans", "file-history")
_RESULTS = "tool-results"
"""The agent's lists, plans and earlier versions of files that it edited, and the results of tools
that were too long for the transcript: what an agent that goes on with a conversation asks for
beside the transcript itself. The rest of the home is caches, what is written anew at each start,
and places where programs keep credentials."""
HOME_MOST_BYTES = 16 << 20
HOME_MOST_ENTRIES = 2000
"""What is beyond either is left out and counted: a checkpoint shall not fail for it."""
RACY_NS = 20_000_000
"""A kernel's clock for files goes in steps of up to 10 ms: a change within the step in which a file
was looked at may not show."""


class Roots(NamedTuple):
    """Where the two trees are."""

    workspace: str
    home: str = HOME

    def of(self, tree: Tree) -> str:
        return self.home if tree == "home" else self.workspace


class Found(NamedTuple):
    """A file, a directory or a symlink, as it was when it was looked at."""

    tree: Tree
    path: str
    """Relative to the tree; any name that the file system can hold (`os.fsdecode`)."""
    mode: int
    size: int
    """Bytes of a file."""
    modified_ns: int
    changed_ns: int
    inode: int
    links: int
    """How many names a file has."""
    target: str
    """What a symlink says."""


class Fingerprint(NamedTuple):
    portable: str
    """The same for the same files in another sandbox."""
    exact: str
    """The same for files that nothing touched; of no use in another sandbox."""


class Contents(NamedTuple):
    found: list[Found]
    size: int
    """Bytes; a file with several names counts once."""
    omitted: int
    """Sockets, pipes, devices, what cannot be read, and what is too deep."""


def contents_of(
    roots: Roots, *, excludes: Sequence[str], most_entries: int, most_bytes: int
) -> Contents:
    """In the order of a walk, directories before what is in them. Raises Unfit: for more than that
    (`too_much`), and where the workspace cannot be read."""
    budget = _Budget(most_entries=most_entries, most_bytes=most_bytes)
    with translated(), Descent(roots.workspace) as descent:
        for one in _Walk("workspace", descent, budget, _matcher(excludes)).below(""):
            budget.count(one)
    with contextlib.suppress(OSError), Descent(roots.home) as descent:
        for one in _home(descent, budget):
            budget.count(one)
    return Contents(found=budget.found, size=budget.size, omitted=budget.omitted)


class _Budget:
    """Raises Unfit once there is more than asked for."""

    def __init__(self, *, most_entries: int, most_bytes: int) -> None:
        self.most_entries = most_entries
        self._most_bytes = most_bytes
        self._inodes: set[int] = set()
        self.found: list[Found] = []
        self.size = 0
        self.omitted = 0

    def count(self, one: Found) -> None:
        self.found.append(one)
        if one.links <= 1 or one.inode not in self._inodes:
            self.size += one.size
        if one.links > 1:
            self._inodes.add(one.inode)
        if len(self.found) > self.most_entries or self.size > self._most_bytes:
            raise Unfit("too_much")


def _matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a path (a directory's ends in a slash) is left out. Raises Unfit."""
    if not patterns:
        return lambda _path: False
    from pathspec import GitIgnoreSpec  # not before a checkpoint is asked for

    try:
        return GitIgnoreSpec.from_lines(patterns, backend="simple").match_file
    except ValueError as error:
        raise Unfit("failed") from error


class _Walk:
    """Through one tree. Not recursive: a tree may be deeper than a stack."""

    def __init__(
        self, tree: Tree, descent: Descent, budget: _Budget, excluded: Callable[[str], bool]
    ) -> None:
        self._tree = tree
        self._descent = descent
        self._budget = budget
        self._excluded = excluded

    def below(self, path: str) -> Iterator[Found]:
        """All of it. Raises OSError where the tree itself cannot be read."""
        waiting = self._children(path)
        while waiting:
            one = waiting.pop()
            yield one
            if stat.S_ISDIR(one.mode):
                waiting += self._children(one.path)

    def _children(self, path: str) -> list[Found]:
        """What is in a directory, in descending order."""
        parts = path.split("/") if path else []
        try:
            directory = self._descent.at(parts)
            names = _names(directory, most=self._budget.most_entries)
        except OSError:
            if not path:
                raise
            self._budget.omitted += 1
            return []
        if len(parts) >= DEEPEST:
            self._budget.omitted += len(names)
            return []
        prefix = f"{path}/" if path else ""
        looks = (self._look(directory, name, prefix + name) for name in names)
        return [one for one in looks if one is not None]

    def _look(self, directory: int, name: str, path: str) -> Found | None:
        """None for what is not carried; what ought to be is counted."""
        try:
            seen = os.stat(name, dir_fd=directory, follow_symlinks=False)
            is_directory = stat.S_ISDIR(seen.st_mode)
            if OWN_NAME.fullmatch(name) or self._excluded(f"{path}/" if is_directory else path):
                return None
            if is_directory or stat.S_ISREG(seen.st_mode):
                return _found(self._tree, path, seen, "")
            if stat.S_ISLNK(seen.st_mode):
                target = os.readlink(name, dir_fd=directory)
                return _found(self._tree, path, seen, target)
        except FileNotFoundError:  # gone meanwhile: there is nothing to be carried
            return None
        except OSError:
            pass
        self._budget.omitted += 1
        return None


def _names(directory: int, *, most: int) -> list[str]:
    """In descending order, as the order of the archive is ascending."""
    found: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if len(found) > most:
                raise Unfit("too_much")
            found.append(entry.name)
    return sorted(found, key=os.fsencode, reverse=True)


def _found(tree: Tree, path: str, seen: os.stat_result, target: str) -> Found:
    is_file = stat.S_ISREG(seen.st_mode)
    return Found(
        tree=tree,
        path=path,
        mode=seen.st_mode,
        size=seen.st_size if is_file else 0,
        modified_ns=seen.st_mtime_ns,
        changed_ns=seen.st_ctime_ns,
        inode=seen.st_ino,
        links=seen.st_nlink if is_file else 1,
        target=target,
    )


def home_tree_of(path: Sequence[str]) -> str | None:
    """The tree that something in the home belongs to; None for what a checkpoint does not hold."""
    match path:
        case [".claude", tree, *_] if tree in _TREES:
            return "/".join(path[:2])
        case [".claude", "projects", _, _, "tool-results", *_]:
            return "/".join(path[:5])
        case _:
            return None


def home_trees(descent: Descent) -> list[str]:
    """Those that are there."""
    found = [f"{_STATE}/{tree}" for tree in _TREES]
    projects = f"{_STATE}/projects"
    for project in _directories(descent, projects):
        found += [f"{session}/{_RESULTS}" for session in _directories(descent, project)]
    return [path for path in found if _is_directory(descent, path)]


def _directories(descent: Descent, path: str) -> list[str]:
    with contextlib.suppress(OSError):
        names = _names(descent.at(path.split("/")), most=HOME_MOST_ENTRIES)
        found = [f"{path}/{name}" for name in reversed(names)]
        return [one for one in found if _is_directory(descent, one)]
    return []


def _is_directory(descent: Descent, path: str) -> bool:
    with contextlib.suppress(OSError):
        descent.at(path.split("/"))
        return True
    return False


def _home(descent: Descent, budget: _Budget) -> Iterator[Found]:
    entries, size = 0, 0
    for path in home_trees(descent):
        for one in _home_tree(descent, path, budget):
            if entries + 1 > HOME_MOST_ENTRIES or size + one.size > HOME_MOST_BYTES:
                budget.omitted += 1
                continue
            entries, size = entries + 1, size + one.size
            yield one


def _home_tree(descent: Descent, path: str, budget: _Budget) -> Iterator[Found]:
    with contextlib.suppress(OSError):
        seen = os.fstat(descent.at(path.split("/")))
        yield _found("home", path, seen, "")
        yield from _Walk("home", descent, budget, lambda _path: False).below(path)


# --- whether anything changed ---------------------------------------------------------------------


def fingerprint_of(found: Sequence[Found], *, looked_at_ns: int) -> Fingerprint:
    """`looked_at_ns`: when the walk began. A file that was changed just then may be changed again
    without a trace, so the exact one is then like no other."""
    portable, exact = hashlib.sha256(), hashlib.sha256()
    newest = 0
    for one in found:
        is_directory = stat.S_ISDIR(one.mode)
        modified = 0 if is_directory else one.modified_ns  # each file that comes or goes shows
        line = f"{one.tree}/{one.path}\0{one.mode:o} {one.size} {modified}\0{one.target}\0"
        body = os.fsencode(line)
        portable.update(body)
        exact.update(body)
        if not is_directory:
            exact.update(f"{one.inode} {one.changed_ns}\0".encode())
            newest = max(newest, one.changed_ns)
    if newest > looked_at_ns - RACY_NS:
        exact.update(secrets.token_bytes(16))
    return Fingerprint(portable=portable.hexdigest(), exact=exact.hexdigest())


def settle() -> None:
    """Wait until a change would show."""
    time.sleep(RACY_NS / 1e9)
