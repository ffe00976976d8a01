"""Connects the agent anew with an earlier conversation of its session.

A conversation of which nothing is left begins anew: a session whose transcript was spoilt, or whose
first sandbox died before it wrote a line, shall not be shut out of every later sandbox.
"""

from collections.abc import Callable

import msgspec

from orchestrator.protocol.commands import PendingTool, ResumeAgent
from shim.agent_client import AgentClient, AgentClients, AgentUnavailable
from shim.files import Unfit
from shim.permissions import Permissions
from shim.stopping import stop_turn
from shim.transcript_files import NoSuchTranscript, TranscriptFiles
from shim.transcript_store import StoreUnavailable
from shim.turns import Turns

TAKE_UP_SECONDS = 3.0
"""A resumed CLI asks again what was pending while it still connects."""
NOT_FOUND = "No conversation found"
"""What the CLI says of a transcript that holds no message. Whatever else it says may be otherwise
the next time, so nothing is given up for it."""


class NotResumed(Exception):
    """The conversation is there and cannot be read; the agent is as before."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    anew: bool = False
    """Nothing was left of the conversation."""
    asks: bool = False
    """What was pending is asked again."""


class Resuming:
    """`new_client` makes the client that takes the place of the one before: with the command's
    choices, and the conversation that is named, if one is."""

    def __init__(
        self,
        *,
        files: TranscriptFiles,
        clients: AgentClients,
        permissions: Permissions,
        turns: Turns,
        new_client: Callable[[ResumeAgent, str | None], AgentClient],
        contained: bool,
    ) -> None:
        self._files = files
        self._clients = clients
        self._permissions = permissions
        self._turns = turns
        self._new_client = new_client
        self._contained = contained
        self._is_anew = False

    async def resume(self, command: ResumeAgent) -> Resumed:
        """Raises NotResumed; AgentUnavailable: then the sandbox has no agent any more."""
        self._is_anew = False
        try:
            await self._files.restore(command.agent_session_id)
            pending = command.pending if await self._can_put_off(command) else None
        except NoSuchTranscript:
            await self._clients.replace(self._new_client(command, None))
            return Resumed(anew=True)
        except (StoreUnavailable, Unfit, OSError) as error:
            raise NotResumed(f"The conversation could not be read: {error}") from error
        if pending is None:
            await self._replace_client(command)
            return Resumed(anew=self._is_anew)
        asks = await self._take_up(command, pending)
        return Resumed(anew=self._is_anew, asks=asks)

    async def _can_put_off(self, command: ResumeAgent) -> bool:
        pending = command.pending
        if pending is None:
            return False
        return await self._files.put_off(command.agent_session_id, pending.tool_use_id)

    async def _replace_client(self, command: ResumeAgent) -> None:
        """Raises AgentUnavailable."""

        def without(why: AgentUnavailable) -> AgentClient | None:
            self._is_anew = NOT_FOUND in why.sentence
            return self._new_client(command, None) if self._is_anew else None

        client = self._new_client(command, command.agent_session_id)
        await self._clients.replace(client, otherwise=without)

    async def _take_up(self, command: ResumeAgent, pending: PendingTool) -> bool:
        """Goes on with the turn whose answer was awaited. One that asks nothing is stopped, and
        what it asks too late does not run. Raises AgentUnavailable."""
        expected = self._permissions.expect(pending)
        turn = self._turns.take_up(pending.turn_id)
        await self._replace_client(command)
        if await expected.was_asked(seconds=TAKE_UP_SECONDS):
            return True
        await stop_turn(turn, self._clients.current, contained=self._contained)
        await self._turns.lose(turn, seconds=TAKE_UP_SECONDS)
        return False
