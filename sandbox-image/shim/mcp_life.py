"""The lives of one tool server: started once with the sandbox, again when it died, a bounded number
of times and ever later, then given up.
"""

import asyncio
import time
from collections.abc import Callable

from mcp import ClientSession
from mcp.shared.exceptions import MCPError
from mcp.types import Implementation, PaginatedRequestParams, Tool
from pydantic import ValidationError

from orchestrator.protocol.agent import McpServer
from shim.cli_process import SERVER_MARK
from shim.mcp_process import ServerProcess
from shim.mcp_results import TooManyTools, offered_tools
from shim.mcp_words import Failure, Why

RESTART_PAUSES = (1.0, 5.0, 25.0)
"""Seconds before each new start of a server that died; after the last one it is given up."""
HEALTHY_SECONDS = 600.0
"""A life that lasted so long makes up for the deaths before it."""
ALIVE_SECONDS = 2.0
"""What a server has to answer a ping in after a call was taken back: else it is started anew."""
MAX_PAGES = 10
ABOUT_US = Implementation(name="casemate", version="1")


class ServerLives:
    """`session` is there while it serves."""

    def __init__(
        self,
        server: McpServer,
        *,
        on_end: Callable[[Failure], None],
        on_return: Callable[[str], None],
        workspace: str,
        pauses: tuple[float, ...] = RESTART_PAUSES,
    ) -> None:
        self.session: ClientSession | None = None
        self.tools: list[Tool] = []
        """Those of its first life: the CLI asks once."""
        self.is_over = False
        self._server = server
        self._on_end = on_end
        self._on_return = on_return
        self._workspace = workspace
        self._pauses = pauses
        self._process: ServerProcess | None = None
        self._why: Why = "not_started"
        self._living: asyncio.Task[None] | None = None
        self._served = asyncio.Event()

    async def start(self) -> bool:
        """Within the server's own time; never raises. False: it does not serve this session."""
        self._living = asyncio.create_task(self._live(), name=f"tool-server-{self._server.name}")
        serving = asyncio.create_task(self._served.wait(), name="tool-server-served")
        await asyncio.wait({self._living, serving}, return_when=asyncio.FIRST_COMPLETED)
        serving.cancel()
        return self._served.is_set()

    async def close(self) -> None:
        if self._living is not None:
            self._living.cancel()
            await asyncio.gather(self._living, return_exceptions=True)

    async def end_if_stuck(self, session: ClientSession) -> None:
        """It does not react to a call that was taken back."""
        try:
            async with asyncio.timeout(ALIVE_SECONDS):
                await session.send_ping()
        except Exception:  # noqa: BLE001 - whatever it is, it is no answer
            if self.session is session and self._process is not None:
                self._why = "too_slow"
                self._process.kill()

    async def _live(self) -> None:
        deaths = 0
        while True:
            began = time.monotonic()
            words = await self._live_once()
            lived = time.monotonic() - began
            deaths = 1 if lived > HEALTHY_SECONDS else deaths + 1
            self.is_over = not self._served.is_set() or deaths > len(self._pauses)
            self._on_end(
                Failure(
                    server=self._server.name,
                    why=self._why,
                    last_words=words,
                    for_good=self.is_over,
                )
            )
            if self.is_over:
                return
            await asyncio.sleep(self._pauses[deaths - 1])

    async def _live_once(self) -> str:
        """Until it is over; its last words."""
        self._why = "died" if self._served.is_set() else "not_started"
        server = self._server
        env = {**server.env, SERVER_MARK: server.name}
        process = ServerProcess(server.command, server.args, env=env, workspace=self._workspace)
        words = ""
        try:
            async with (
                process,
                ClientSession(process.reads, process.writes, client_info=ABOUT_US) as session,
            ):
                await self._introduce(session, process)
                self._serve(session, process)
                await process.ended()
        except Exception as error:  # noqa: BLE001 - of foreign code: this life is over, and told
            words = _plain(error, seconds=server.start_seconds)
        finally:
            self.session = self._process = None
        if process.flooded:
            self._why = "too_much"
        return process.last_words or words

    async def _introduce(self, session: ClientSession, process: ServerProcess) -> None:
        """Raises TimeoutError, MCPError, TooManyTools, EOFError."""
        ended = asyncio.create_task(process.ended(), name="tool-server-ended")
        greeting = asyncio.create_task(_greeted(session), name="tool-server-greeted")
        try:
            async with asyncio.timeout(self._server.start_seconds):
                await asyncio.wait({ended, greeting}, return_when=asyncio.FIRST_COMPLETED)
            if not greeting.done():
                raise EOFError("It ended while it was started.")
            tools = greeting.result()
        finally:
            ended.cancel()
            greeting.cancel()
            await asyncio.gather(ended, greeting, return_exceptions=True)
        if not self._served.is_set():
            self.tools = tools

    def _serve(self, session: ClientSession, process: ServerProcess) -> None:
        self._process, self.session, self._why = process, session, "died"
        if self._served.is_set():
            self._on_return(self._server.name)
        self._served.set()


async def _greeted(session: ClientSession) -> list[Tool]:
    """Its tools. Raises MCPError, TooManyTools."""
    about = await session.initialize()
    if about.capabilities.tools is None:
        return []
    tools: list[Tool] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor))
        tools += page.tools
        cursor = page.next_cursor
        if not cursor:
            break
    return offered_tools(tools)


def _plain(error: BaseException, *, seconds: float) -> str:
    """Of what foreign code raised, in few words."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    match error:
        case TimeoutError():
            return f"It was not ready within {seconds:g} seconds."
        case TooManyTools():
            return "It offers more tools than a request can carry."
        case OSError():
            return f"It cannot be run: {error.strerror}."
        case MCPError() | ValidationError():
            return "It does not speak the protocol."
        case _:
            return str(error)[:200] or type(error).__name__
