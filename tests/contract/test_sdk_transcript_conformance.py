"""The Agent SDK's own suite for session stores: the shim's store over the link's frames, what the
rules make of them, and the stores in memory and in each database."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from claude_agent_sdk.testing import run_session_store_conformance
from shim.link import frames
from shim.outbox import EventOutbox
from shim.transcript_store import TranscriptStore

from orchestrator.protocol.ids import SandboxId, SessionId
from orchestrator.protocol.link import Batch, link_codec
from orchestrator.protocol.sandbox_events import sandbox_word_codec
from orchestrator.sessions.kept.transcripts import Transcripts
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.ports import ReceivedEvent
from orchestrator.storage.session_store import PiccoloSessionStore
from orchestrator.storage.transcript_store import PiccoloTranscriptStore
from orchestrator.testing.memory_transcripts import MemoryTranscriptStore
from orchestrator.testing.store_contract import RECORD, replace

NUMBERS = itertools.count(1)


class Wire:
    """The link between a shim's store and the rules', without its socket."""

    def __init__(self, kept: Any, session: SessionId) -> None:
        self.id = SandboxId(f"box-{session}")
        self.outbox = EventOutbox()
        self.store = TranscriptStore(self.outbox)
        self._news = asyncio.Event()
        self.outbox.on_added = self._news.set
        self._transcripts = Transcripts(
            session, store=kept, sandbox=self, branch=0, held=0, limits=SessionLimits()
        )

    async def give_transcript(self, ask_id: str, pieces: AsyncIterator[bytes] | None) -> None:
        sink = self.store.sink_for(ask_id)
        assert sink is not None
        if pieces is None:
            return sink.missing()
        async for piece in pieces:
            for start in range(0, len(piece), 7):  # cut anywhere
                sink.take(piece[start : start + 7])
        return sink.finish()

    async def carry(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            for items in frames(self.outbox.take_unsent()):
                frame = link_codec.decode(link_codec.encode(Batch(items=items)))
                assert isinstance(frame, Batch)
                for item in frame.items:
                    event = sandbox_word_codec.decode(bytes(item.body))
                    received = ReceivedEvent(n=item.n, event=event, body=bytes(item.body))
                    await self._transcripts.take(received)
                    self.outbox.acknowledge(self._transcripts.safe(item.n))


@contextlib.asynccontextmanager
async def wired(kept: Any) -> AsyncIterator[Any]:
    """Makes stores, each of a session of its own. The suite needs one for each contract."""
    async with asyncio.TaskGroup() as tasks:
        carrying = []

        async def make() -> TranscriptStore:
            wire = Wire(kept, SessionId(f"s{next(NUMBERS)}"))
            carrying.append(tasks.create_task(wire.carry()))
            return wire.store

        yield make
        for task in carrying:
            task.cancel()


async def test_the_suite_in_memory():
    """What the SDK expects of a store holds with the one in memory at the other end."""
    async with wired(MemoryTranscriptStore()) as make:
        await run_session_store_conformance(make)


@pytest.fixture
async def kept(database_place):
    async with database_place.open() as database:
        sessions = PiccoloSessionStore(database)
        first = next(NUMBERS)
        for number in range(first, first + 100):
            name = SessionId(f"s{number}")
            await sessions.add(replace(RECORD, id=name, idempotency_key=None))
        yield PiccoloTranscriptStore(database)


async def test_the_suite_in_each_database(kept):
    """What the SDK expects of a store holds with each database at the other end."""
    async with wired(kept) as make:
        await run_session_store_conformance(make)


@pytest.mark.parametrize(
    "text",
    ["x" * 3_000_000, "\U0001f600" * 900_000, '"\\\n\x00' * 300_000, "half \ud83d", ""],
    ids=["long", "wide", "escaped", "broken", "empty"],
)
async def test_whatever_is_in_a_line_comes_back(text):
    """Long, wide, escaped and broken texts are cut into pieces and come back as they were."""
    key = {"project_key": "-workspace", "session_id": "a1"}
    async with wired(MemoryTranscriptStore()) as make:
        store = await make()
        entries = [{"type": "user", "text": text}, {"type": "assistant"}]
        await store.append(key, entries)
        assert await store.load(key) == entries
