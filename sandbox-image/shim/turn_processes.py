"""Finds and ends what a turn began: the processes of its tools, however far they have moved away.

A tool's process can leave its parent, its group and its session, but not the container. So what a
turn began is what was not there when it began and came from the CLI, or has lost its parents. Tool
servers are the shim's, and stay with what they begin; so does what came in from outside.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

PROC = Path("/proc")
ROUNDS = 50
"""What is killed may have begun more meanwhile. Process numbers are limited, so this ends."""
PAUSE = 0.02
"""Seconds between rounds: the dead have to be gone."""
EMPTY_LOOKS = 3
"""In a row, to be believed: what forks and ends all the time is missed by a look now and then."""
INIT = 1
"""Where orphans go. Only in a container of one's own are they nobody else's."""
OUTSIDE = 0
"""The parent of what was not begun in the container."""


class Process(msgspec.Struct, frozen=True):
    pid: int
    parent: int
    began: int
    """In the kernel's ticks: tells a process from a later one with its number."""
    is_dead: bool = False


Identity = tuple[int, int]


def running(proc: Path = PROC) -> dict[int, Process]:
    """All that there are."""
    found: dict[int, Process] = {}
    for entry in os.listdir(proc):  # noqa: PTH208 - names alone: this is read at each turn's begin
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                process = _parsed((proc / entry / "stat").read_text())
                found[process.pid] = process
    return found


def identities(processes: Iterable[Process]) -> frozenset[Identity]:
    return frozenset((process.pid, process.began) for process in processes)


def begun_since(
    before: Collection[Identity], now: dict[int, Process], *, roots: Collection[int]
) -> list[Process]:
    """Those in `now` that came from `roots` after `before` was seen. Pure."""
    old = {pid for pid, process in now.items() if (pid, process.began) in before}
    return [
        process
        for pid, process in now.items()
        if pid not in old and not process.is_dead and _began_at(process, now, old) in roots
    ]


def _began_at(process: Process, now: dict[int, Process], old: Collection[int]) -> int:
    """Where its way up leads, over new processes alone."""
    seen = {process.pid}
    parent = process.parent
    while parent not in old and parent in now and parent not in seen:
        seen.add(parent)
        parent = now[parent].parent
    return OUTSIDE if parent in seen else parent


async def kill_begun_since(
    before: Collection[Identity], *, roots: Collection[int], proc: Path = PROC
) -> int:
    """Returns how many there were. They get no say: a person said stop."""
    killed: set[Identity] = set()
    empty = 0
    for _ in range(ROUNDS):
        found = begun_since(before, running(proc), roots=roots)
        empty = 0 if found else empty + 1
        if empty >= EMPTY_LOOKS:
            break
        for process in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL)
        killed |= identities(found)
        await asyncio.sleep(PAUSE)
    return len(killed)


def _parsed(stat: str) -> Process:
    """`pid (name) state parent ...`; the name may hold anything."""
    pid, _, rest = stat.partition(" (")
    fields = rest.rpartition(") ")[2].split()
    return Process(
        pid=int(pid), parent=int(fields[1]), began=int(fields[19]), is_dead=fields[0] in "ZX"
    )
