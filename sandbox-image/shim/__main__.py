"""Connects the agent, then dials the control plane: `python3 -m shim`."""

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from shim.deferred_imports import import_sdk

SETUP = Path("/run/agent/agent.json")
VERSION = Path(__file__).parents[1] / "version"
PR_SET_DUMPABLE = 4


def main() -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s %(message)s")
    close_to_the_tools()
    began = time.monotonic()
    import_sdk(whole=has_tool_servers(SETUP))
    from shim.service import serve  # after the SDK's light import
    from shim.turn_processes import INIT

    imported = int((time.monotonic() - began) * 1000)
    contained = os.getppid() == INIT  # the engine's init, which the image's containers have
    serving = serve(setup=SETUP, version=VERSION, import_ms=imported, contained=contained)
    asyncio.run(_until_told_to_stop(serving))


def has_tool_servers(setup: Path) -> bool:
    """Whether what they need is to be imported. A setup that cannot be read is told of later."""
    try:
        return bool(json.loads(setup.read_bytes())["mcp_servers"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def close_to_the_tools() -> None:
    """Processes of the same user (the agent's tools) cannot read this one's memory or files."""
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


async def _until_told_to_stop(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    main()
