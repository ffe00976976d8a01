"""Stops a turn with all that it began: the answer, tools, subagents, work in the background."""

import asyncio
import logging

from shim.agent_client import AgentClient
from shim.turn_processes import INIT, kill_begun_since
from shim.turns import Turn

CALL_SECONDS = 10.0
"""For what the CLI answers by itself."""

log = logging.getLogger("shim.stopping")


async def stop_turn(turn: Turn, client: AgentClient, *, contained: bool) -> None:
    """Never raises: what the CLI does not do is done without it. See `end_processes`."""
    try:
        async with asyncio.timeout(CALL_SECONDS):
            await client.sdk.interrupt()
            for task_id in sorted(turn.open_tasks):
                await client.sdk.stop_task(task_id)
    except Exception as error:  # noqa: BLE001 - nothing more can be done about it
        log.warning("interrupt.failed", extra={"reason": str(error)})
    await end_processes(turn, client, contained=contained)


async def end_processes(turn: Turn, client: AgentClient, *, contained: bool) -> None:
    """`contained`: there is a container around all this, so that orphans are the turn's, too.
    Without one they are somebody else's, and stay."""
    roots = {*client.processes, *([INIT] if contained else [])}
    killed = await kill_begun_since(turn.processes, roots=roots)
    if killed:
        log.info("processes.killed", extra={"count": killed})
