"""`EventLog` on Piccolo."""

from collections.abc import AsyncIterator, Collection
from typing import Any

import msgspec

from orchestrator.protocol.chat import SequencedEvent
from orchestrator.protocol.ids import ClientId, SessionId
from orchestrator.sessions.errors import StorageFailed
from orchestrator.sessions.ports import LogEntry
from orchestrator.storage.database import Database
from orchestrator.storage.kept_engine import RowExists

MAX_ROWS = 1_000
"""Rows in one statement: databases bound the number of its parameters."""
PIECE_ROWS = 50
"""Events in one piece of `of_tags`: a prompt may have a megabyte."""

INSERT = "INSERT INTO events (session, seq, at, tag, body, client_id, sandbox_n) VALUES "
ROW = "({}, {}, {}, {}, {}, {}, {})"
SAID_BYTES = {
    "SQLite": "SELECT COALESCE(SUM(LENGTH(CAST(body AS BLOB))), 0) AS size FROM events "
    "WHERE session = {} AND sandbox_n IS NOT NULL",
    "PostgreSQL": "SELECT COALESCE(SUM(OCTET_LENGTH(body)), 0) AS size FROM events "
    "WHERE session = {} AND sandbox_n IS NOT NULL",
}
"""By the kind of database: neither says it in the other's words."""
LAST_N = (
    "SELECT COALESCE(MAX(sandbox_n), 0) AS n FROM events WHERE session = {} AND seq > ("
    "SELECT COALESCE(MAX(seq), 0) FROM events WHERE session = {} AND tag = 'sandbox_assigned')"
)


class PiccoloEventLog:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._table = database.tables.events

    async def append(self, session: SessionId, entries: list[LogEntry]) -> None:
        """May be repeated: where a server's answer was lost, so is whether it was done."""
        try:
            await self._append(session, entries)
        except RowExists:
            if not await self._holds(session, entries):
                raise

    async def _append(self, session: SessionId, entries: list[LogEntry]) -> None:
        if len(entries) <= MAX_ROWS:
            await self._insert(session, entries)  # one statement is a transaction by itself
            return

        async def in_pieces() -> None:
            for start in range(0, len(entries), MAX_ROWS):
                await self._insert(session, entries[start : start + MAX_ROWS])

        await self._database.write(in_pieces)

    async def read(
        self, session: SessionId, *, after: int = 0, before: int | None = None, limit: int = 500
    ) -> list[SequencedEvent]:
        table = self._table
        wanted = (table.session == session) & (table.seq > after)
        if before is not None:
            wanted = wanted & (table.seq < before)
        query = table.select(table.seq, table.at, table.body).where(wanted)
        rows = await query.order_by(table.seq, ascending=before is None).limit(limit).run()
        events = [_event(row) for row in rows]
        return events if before is None else events[::-1]

    async def of_tags(
        self, session: SessionId, tags: Collection[str]
    ) -> AsyncIterator[list[bytes]]:
        table, after = self._table, 0
        while tags:
            wanted = (table.session == session) & table.tag.is_in(list(tags)) & (table.seq > after)
            query = table.select(table.seq, table.body).where(wanted)
            rows = await query.order_by(table.seq).limit(PIECE_ROWS).run()
            if rows:
                after = rows[-1]["seq"]
                yield [row["body"].encode() for row in rows]
            if len(rows) < PIECE_ROWS:
                return

    async def last_sandbox_n(self, session: SessionId) -> int:
        rows = await self._table.raw(LAST_N, session, session).run()
        return int(rows[0]["n"])

    async def last_seq(self, session: SessionId) -> int:
        table = self._table
        query = table.select(table.seq).where(table.session == session)
        row = await query.order_by(table.seq, ascending=False).first().run()
        return int(row["seq"]) if row else 0

    async def said_bytes(self, session: SessionId) -> int:
        rows = await self._table.raw(SAID_BYTES[self._database.kind], session).run()
        return int(rows[0]["size"])

    async def has_prompt(self, session: SessionId, client_id: ClientId) -> bool:
        table = self._table
        sent = (table.session == session) & (table.client_id == client_id)
        return bool(await table.select(table.seq).where(sent).first().run())

    async def _holds(self, session: SessionId, entries: list[LogEntry]) -> bool:
        """Exactly these."""
        first, last = entries[0].seq, entries[-1].seq
        try:
            there = await self.read(session, after=first - 1, before=last + 1, limit=len(entries))
        except StorageFailed:  # in a transaction that is broken
            return False
        told = [(one.seq, one.at, bytes(one.event)) for one in there]
        return told == [(one.seq, one.at, bytes(one.body)) for one in entries]

    async def _insert(self, session: SessionId, entries: list[LogEntry]) -> None:
        """As one statement put together here: Piccolo's row objects cost seven times as much, and a
        sandbox decides how many events come at once."""
        values: list[Any] = []
        for entry in entries:
            body = entry.body.decode()
            values += [session, entry.seq, entry.at, entry.tag, body]
            values += [entry.client_id, entry.sandbox_n]
        await self._table.raw(INSERT + ", ".join([ROW] * len(entries)), *values).run()


def _event(row: dict[str, Any]) -> SequencedEvent:
    return SequencedEvent(seq=row["seq"], at=row["at"], event=msgspec.Raw(row["body"].encode()))
