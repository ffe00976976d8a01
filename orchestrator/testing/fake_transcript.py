"""What a shim's session store does, in a `FakeSandbox`: it says batches of lines, and asks.

Lines are JSON, each closed by a line feed; nothing above a sandbox reads them.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import msgspec

from orchestrator.protocol.transcripts import TranscriptAsked, TranscriptKey, TranscriptPiece
from orchestrator.sessions.files.errors import TransferBroken

PROJECT = "-workspace"
PIECE_CHARS = 64


class FakeTranscript:
    """`answers` keeps what was given for each question, None where there was nothing."""

    def __init__(self, *, say: Callable[[TranscriptPiece | TranscriptAsked], None]) -> None:
        self._say = say
        self._ids = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[bytes | None]] = {}
        self.answers: dict[str, bytes | None] = {}

    def write(self, agent_session: str, *lines: dict[str, Any], subpath: str = "") -> None:
        """One batch, in pieces."""
        text = "".join(f"{msgspec.json.encode(line).decode()}\n" for line in lines)
        key = TranscriptKey(project=PROJECT, agent_session=agent_session, subpath=subpath)
        for start in range(0, len(text), PIECE_CHARS):
            end = start + PIECE_CHARS
            self._say(TranscriptPiece(key=key, text=text[start:end], more=end < len(text)))

    async def ask(
        self,
        what: Literal["load", "sessions", "summaries", "subkeys", "delete"],
        agent_session: str,
    ) -> bytes | None:
        ask_id = f"{next(self._ids):x}"
        answer = self.expect(ask_id)
        key = TranscriptKey(project=PROJECT, agent_session=agent_session)
        self._say(TranscriptAsked(ask_id=ask_id, what=what, key=key))
        return await answer

    def expect(self, ask_id: str) -> "asyncio.Future[bytes | None]":
        """As if it had been asked under this id."""
        self._waiting[ask_id] = asyncio.get_running_loop().create_future()
        return self._waiting[ask_id]

    async def give(self, ask_id: str, pieces: AsyncIterator[bytes] | None) -> None:
        """Raises TransferBroken for what was not asked."""
        waiting = self._waiting.pop(ask_id, None)
        if waiting is None:
            raise TransferBroken("not_found")
        answer = None if pieces is None else b"".join([piece async for piece in pieces])
        self.answers[ask_id] = answer
        if not waiting.done():
            waiting.set_result(answer)
