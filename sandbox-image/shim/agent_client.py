"""The clients of the Agent SDK, each with its CLI, from connect to end. There is one at a time.

The client's messages are read all the time, not only in a turn: background tasks speak between
turns. The CLI's process is watched as well: a dead one says nothing until it is asked something.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from claude_agent_sdk import (
    ClaudeAgentOptions,
    ClaudeSDKClient,
    ClaudeSDKError,
    Message,
    ProcessError,
    Transport,
)
from claude_agent_sdk._errors import MessageParseError

from orchestrator.protocol.sandbox_events import AgentDied
from shim.cli_process import children, wait_for_exit

CONNECT_SECONDS = 90.0
"""The first start of all reads 380 MB from a cold disk."""
EPITAPH_SECONDS = 2.0
"""How long a dead CLI's last words and exit code may take."""
CLOSE_SECONDS = 3.0

log = logging.getLogger("shim.agent_client")


class AgentUnavailable(Exception):
    """The agent could not be connected; `sentence` says why."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class AgentClient:
    """`connect` once, then `life` until the CLI is gone or `close` was called."""

    def __init__(
        self,
        options: ClaudeAgentOptions,
        *,
        take: Callable[[Message], None],
        unreadable: Callable[[str], None],
        room: Callable[[], Awaitable[None]],
        last_words: Callable[[], list[str]],
        transport: Transport | None = None,
    ) -> None:
        self.sdk = ClaudeSDKClient(options, transport=transport)
        self._take = take
        self._unreadable = unreadable
        self._room = room
        self._last_words = last_words
        self.processes: set[int] = set()
        """The CLI's, by number."""

    async def connect(self) -> None:
        """Raises AgentUnavailable."""
        before = set(children())
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self.sdk.connect()
        except TimeoutError as error:
            raise AgentUnavailable("The agent did not start in time.") from error
        except Exception as error:
            last_words = " ".join(self._last_words()[-5:])
            raise AgentUnavailable(f"{error} {last_words}".strip()[:2000]) from error
        self.processes = set(children()) - before

    async def life(self) -> AgentDied:
        """Hands on what the agent says, until there is nobody to say anything."""
        reading = asyncio.create_task(self._read(), name="messages")
        watching = asyncio.create_task(wait_for_exit(self.processes), name="cli-process")
        try:
            await asyncio.wait({reading, watching}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({reading}, timeout=EPITAPH_SECONDS)
            return reading.result() if reading.done() else AgentDied(text="The CLI is gone.")
        finally:
            for task in (reading, watching):
                task.cancel()
            await asyncio.gather(reading, watching, return_exceptions=True)

    async def close(self) -> None:
        """Ends the CLI. What it does not end by then ends with the container."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.sdk.disconnect()
        except Exception as error:  # noqa: BLE001 - nothing more can be done about it
            log.warning("agent.not_closed", extra={"reason": str(error)})

    async def _read(self) -> AgentDied:
        while True:
            try:
                async for message in self.sdk.receive_messages():
                    await self._room()
                    self._take(message)
            except MessageParseError as error:  # the next one may be well
                self._unreadable(str(error))
            except ProcessError as error:
                return AgentDied(exit_code=error.exit_code, text=str(error))
            except ClaudeSDKError as error:
                return AgentDied(text=str(error))
            else:
                return AgentDied(exit_code=0, text="The CLI ended.")


class AgentClients:
    """The one that there is; another may take its place."""

    def __init__(self, first: AgentClient) -> None:
        self.current = first
        self._replacing: asyncio.Future[AgentDied | None] | None = None

    async def death(self) -> AgentDied:
        """Returns when there is none any more. One whose place another takes is not mourned."""
        while True:
            death: AgentDied | None = await self.current.life()
            if (replacing := self._replacing) is not None:
                death = await replacing
                if self._replacing is replacing:
                    self._replacing = None
            if death is not None:
                return death

    async def replace(
        self,
        client: AgentClient,
        *,
        otherwise: Callable[[AgentUnavailable], AgentClient | None] = lambda _why: None,
    ) -> None:
        """`otherwise`: who takes the place where this one cannot. Raises AgentUnavailable: then
        there is no client any more."""
        replacing = self._replacing = asyncio.get_running_loop().create_future()
        try:
            await self._put(client, otherwise)
        except AgentUnavailable as error:
            replacing.set_result(AgentDied(text=error.sentence))
            raise
        finally:
            if not replacing.done():
                replacing.set_result(None)

    async def _put(
        self, client: AgentClient, otherwise: Callable[[AgentUnavailable], AgentClient | None]
    ) -> None:
        await self.current.close()
        self.current = client
        try:
            await client.connect()
        except AgentUnavailable as error:
            if (another := otherwise(error)) is None:
                raise
            await client.close()
            self.current = another
            await another.connect()
