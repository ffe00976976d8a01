"""The profile's tool servers: the shim owns their processes and lends them to the CLI.

To the CLI they are servers inside the SDK's own process, which managed settings let through while
they forbid every other: nothing in the workspace can start one. What they need is imported only
where a profile has servers: it costs 0.8 s of a core and 49 MiB.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from claude_agent_sdk.types import McpServerConfig

from orchestrator.protocol.agent import McpServer
from orchestrator.protocol.sandbox_events import McpServerFailed, SandboxEvent
from shim import mcp_words as words
from shim.mcp_words import Failure

MAX_LAST_WORDS = 500
"""Characters of a server's standard error that people are shown."""


class ToolServers:
    """`start` before the client connects; `options` for each client."""

    def __init__(
        self,
        servers: Sequence[McpServer],
        *,
        say: Callable[[SandboxEvent], None],
        workspace: str,
    ) -> None:
        self._say = say
        self._news: dict[str, str] = {}
        self._servers = [self._made(server, workspace) for server in servers]
        self._started: list[Any] = []

    def __bool__(self) -> bool:
        return bool(self._servers)

    async def start(self) -> None:
        """All at once, each within its own time. One that does not start keeps nobody from
        starting: it is told, and its tools are not offered."""
        started = await asyncio.gather(*(server.start() for server in self._servers))
        self._started = [s for s, works in zip(self._servers, started, strict=True) if works]

    def options(self) -> dict[str, McpServerConfig]:
        """For one client of the SDK; another client needs its own."""
        if not self._started:
            return {}
        from shim.mcp_lending import lent

        return {server.name: lent(server) for server in self._started}

    def stop_calls(self) -> None:
        for server in self._servers:
            server.stop_calls()

    def news(self) -> list[str]:
        """What Claude was not told yet."""
        told, self._news = list(self._news.values()), {}
        return told

    async def close(self) -> None:
        await asyncio.gather(*(server.close() for server in self._servers))

    def _made(self, server: McpServer, workspace: str) -> Any:
        from shim.mcp_server import ToolServer

        return ToolServer(
            server, on_failure=self._failed, on_return=self._returned, workspace=workspace
        )

    def _failed(self, failure: Failure) -> None:
        text = failure.last_words[-MAX_LAST_WORDS:]
        self._say(McpServerFailed(server=failure.server, why=failure.why, text=text))
        self._news[failure.server] = words.news(failure)

    def _returned(self, name: str) -> None:
        self._news[name] = words.good_news(name)
