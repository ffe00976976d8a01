"""`TranscriptStore` on Piccolo: what was said is kept once, and branches say what they hold of it.

A branch that begins at another one's position copies that one's list of texts, and no text. What
was replaced or deleted is not there any more in its branch, and stays for a branch that begins
before it. Nothing here parses a line.
"""

import io
import time
from asyncio import to_thread
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec

from orchestrator.protocol.ids import SandboxId, SessionId
from orchestrator.protocol.transcripts import TranscriptKey
from orchestrator.sessions.errors import StorageFailed
from orchestrator.sessions.ports import AgentSessionLine
from orchestrator.storage import transcript_queries as sql
from orchestrator.storage.database import Database

PIECE_BYTES = 512 << 10
"""Of one row and of one piece that is read; more only where a single line is longer."""
ON_LOOP_BYTES = 4 << 20
"""What is longer is taken apart in a thread: it takes tens of milliseconds."""
LISTED_ROWS = 1_000
"""Rows of the list of texts that are read at once."""


class Text(msgspec.Struct, frozen=True):
    """Where a text is, and its size in bytes."""

    id: int
    size: int


class PiccoloTranscriptStore:
    """`now` tells the seconds since 1970."""

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._texts = database.tables.transcript_texts
        self._batches = database.tables.transcript_batches
        self._now = now

    async def append(
        self,
        session: SessionId,
        key: TranscriptKey,
        lines: bytes,
        *,
        branch: int,
        sandbox: SandboxId,
        n: int,
        summary: bytes | None = None,
        replaces: bool = False,
    ) -> None:
        parts = in_parts(lines) if len(lines) <= ON_LOOP_BYTES else await to_thread(in_parts, lines)

        async def in_one() -> None:
            for number, part in enumerate(parts):
                told = summary if number == len(parts) - 1 else None
                text = await self._add_text(
                    session, part, sandbox=sandbox, n=n, part=number, summary=told
                )
                if text is None:
                    return
                if replaces and number == 0:
                    await self._remove(session, key, branch, gone=text.id, below=False)
                await self._add_batch(session, key, branch, text, summarised=told is not None)

        await self._write(session, in_one)

    async def last_n(self, session: SessionId, sandbox: SandboxId) -> int:
        rows = await self._texts.raw(sql.LAST_N, session, sandbox).run()
        return int(rows[0]["n"] or 0)

    async def load(
        self, session: SessionId, key: TranscriptKey, *, branch: int
    ) -> AsyncIterator[bytes]:
        place = (session, branch, key.project, key.agent_session, key.subpath)
        after = 0
        while True:
            rows = await self._batches.raw(sql.LIST_TEXTS, *place, after, LISTED_ROWS).run()
            texts = [Text(row["text_id"], row["size"]) for row in rows]
            for piece in in_pieces(texts):
                yield await self._read(place, piece)
            if len(texts) < LISTED_ROWS:
                return
            after = texts[-1].id

    async def agent_sessions(
        self, session: SessionId, project: str, *, branch: int
    ) -> list[AgentSessionLine]:
        rows = await self._batches.raw(sql.LIST_AGENT_SESSIONS, session, branch, project).run()
        return [
            AgentSessionLine(
                agent_session=row["agent_session"],
                mtime=row["mtime"],
                summary=await self._summary(row["summarised"]),
            )
            for row in rows
        ]

    async def subpaths(self, session: SessionId, key: TranscriptKey, *, branch: int) -> list[str]:
        place = (session, branch, key.project, key.agent_session)
        rows = await self._batches.raw(sql.LIST_SUBPATHS, *place).run()
        return [row["subpath"] for row in rows]

    async def delete(self, session: SessionId, key: TranscriptKey, *, branch: int) -> None:
        async def in_one() -> None:
            mark = await self._add_text(session, b"")
            if mark is not None:
                await self._remove(session, key, branch, gone=mark.id, below=not key.subpath)
                await self._add_batch(session, key, branch, mark, gone=mark.id)

        await self._write(session, in_one)

    async def size(self, session: SessionId) -> int:
        """With the summaries, and with what is in no branch any more: it is on the disk."""
        rows = await self._texts.raw(sql.SIZE, session).run()
        return int(rows[0]["size"] or 0)

    async def conversation_bytes(
        self, session: SessionId, agent_session: str, *, branch: int
    ) -> int:
        place = (session, branch, agent_session)
        rows = await self._batches.raw(sql.CONVERSATION_SIZE, *place).run()
        return int(rows[0]["size"])

    async def position(self, session: SessionId, *, branch: int) -> int:
        rows = await self._batches.raw(sql.POSITION, session, branch).run()
        return int(rows[0]["id"] or 0)

    async def fork(self, session: SessionId, *, branch: int, position: int, into: int) -> None:
        table = self._batches

        async def in_one() -> None:
            there = (table.session == session) & (table.branch == into)
            await table.delete().where(there).run()
            copied = (into, position, session, branch, position)
            await table.raw(sql.COPY_BATCHES, *copied).run()

        await self._write(session, in_one)

    async def _write(
        self, session: SessionId, work: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """Of one session one after the other, also with what goes on although its requester is
        gone: the numbers of texts are the order in which they came, and no lower one comes late."""
        await self._database.write(work, in_turn=f"transcripts {session}")

    async def _add_text(
        self,
        session: SessionId,
        text: bytes,
        *,
        sandbox: SandboxId | None = None,
        n: int | None = None,
        part: int = 0,
        summary: bytes | None = None,
    ) -> Text | None:
        """None: it is there already."""
        size = len(text) + len(summary or b"")
        values = (session, sandbox, n, part, size, summary, text)
        rows = await self._texts.raw(sql.ADD_TEXT, *values).run()
        return Text(rows[0]["id"], len(text)) if rows else None

    async def _add_batch(
        self,
        session: SessionId,
        key: TranscriptKey,
        branch: int,
        text: Text,
        *,
        summarised: bool = False,
        gone: int | None = None,
    ) -> None:
        values = (session, branch, key.project, key.agent_session, key.subpath)
        mtime = int(self._now() * 1000)
        more = (text.id, text.size, mtime, summarised, gone)
        await self._batches.raw(sql.ADD_BATCH, *values, *more).run()

    async def _remove(
        self, session: SessionId, key: TranscriptKey, branch: int, *, gone: int, below: bool
    ) -> None:
        """`below`: whatever its subpath."""
        place = (session, branch, key.project, key.agent_session)
        if below:
            await self._batches.raw(sql.REMOVE_ALL, gone, *place).run()
        else:
            await self._batches.raw(sql.REMOVE, gone, *place, key.subpath).run()

    async def _read(self, place: tuple[Any, ...], texts: list[Text]) -> bytes:
        rows = await self._batches.raw(sql.READ_TEXTS, *place, texts[0].id, texts[-1].id).run()
        if len(rows) != len(texts):
            raise StorageFailed("The transcript changed while it was read.")
        return b"".join(row["text"] for row in rows)

    async def _summary(self, text_id: int | None) -> bytes | None:
        if text_id is None:
            return None
        rows = await self._texts.raw(sql.READ_SUMMARY, text_id).run()
        return bytes(rows[0]["summary"]) if rows else None


def in_parts(lines: bytes) -> list[bytes]:
    """Whole lines together, in about `PIECE_BYTES`; one part at least."""
    if len(lines) <= PIECE_BYTES:
        return [lines]
    parts: list[bytes] = []
    begin, stream = 0, io.BytesIO(lines)
    for line in stream:
        end = stream.tell()
        if begin < end - len(line) and end - begin > PIECE_BYTES:
            parts.append(lines[begin : end - len(line)])
            begin = end - len(line)
    return [*parts, lines[begin:]]


def in_pieces(texts: list[Text]) -> list[list[Text]]:
    """Those that are read together."""
    pieces: list[list[Text]] = []
    size = 0
    for text in texts:
        if not pieces or size + text.size > PIECE_BYTES:
            pieces.append([])
            size = 0
        pieces[-1].append(text)
        size += text.size
    return pieces
