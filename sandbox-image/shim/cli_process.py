"""Watches the CLI's process itself: a dead CLI says nothing until it is asked something."""

import asyncio
import contextlib
import os
from pathlib import Path


async def wait_for_exit() -> None:
    """Returns when one of the shim's child processes is gone. The CLI is the only one.

    Never returns where the kernel cannot tell: then the CLI's closed output is all there is.
    """
    watched = [descriptor for pid in _children() if (descriptor := _pidfd(pid)) is not None]
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        for descriptor in watched:
            loop.add_reader(descriptor, gone.set)
        await gone.wait()
    finally:
        for descriptor in watched:
            loop.remove_reader(descriptor)
            os.close(descriptor)


def _children() -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        for task in Path("/proc/self/task").iterdir():
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
