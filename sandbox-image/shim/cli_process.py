"""Watches the CLI's process itself: a dead CLI says nothing until it is asked something."""

import asyncio
import contextlib
import os
from collections.abc import Collection
from pathlib import Path

SERVER_MARK = "CASEMATE_MCP_SERVER"
"""In the environment of a profile's tool server: its name."""


async def wait_for_exit(processes: Collection[int]) -> None:
    """Returns when one of these child processes is gone.

    Never returns where the kernel cannot tell: then the CLI's closed output is all there is.
    """
    watched = [descriptor for pid in processes if (descriptor := _pidfd(pid)) is not None]
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


def children() -> list[int]:
    """The shim's own, but for tool servers, which come and go by themselves."""
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        for task in Path("/proc/self/task").iterdir():
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return [pid for pid in found if not _is_tool_server(pid)]


def _is_tool_server(pid: int) -> bool:
    try:
        return f"{SERVER_MARK}=".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
