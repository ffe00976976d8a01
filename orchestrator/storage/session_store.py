"""`SessionStore` on Piccolo."""

from typing import Any

import msgspec
from piccolo.columns import Column
from piccolo.columns.combination import WhereRaw

from orchestrator.protocol.chat import Ending
from orchestrator.protocol.event_parts import Usage
from orchestrator.protocol.ids import SessionId, UserId
from orchestrator.sessions.ports import SessionRecord
from orchestrator.sessions.view.states import OVER
from orchestrator.storage.database import Database

WITHOUT_SANDBOX = sorted(OVER | {"hibernated"})


class PiccoloSessionStore:
    def __init__(self, database: Database) -> None:
        self._table = database.tables.sessions

    async def add(self, record: SessionRecord) -> None:
        await self._table.insert(self._table(**values(record))).run()

    async def get(self, session: SessionId) -> SessionRecord | None:
        row = await self._table.select().where(self._table.id == session).first().run()
        return record_of(row) if row else None

    async def by_idempotency_key(self, owner: UserId, key: str) -> SessionRecord | None:
        mine = (self._table.owner == owner) & (self._table.idempotency_key == key)
        row = await self._table.select().where(mine).first().run()
        return record_of(row) if row else None

    async def update(self, record: SessionRecord) -> None:
        changed: dict[Column | str, Any] = {
            name: value for name, value in values(record).items() if name != "id"
        }
        await self._table.update(changed).where(self._table.id == record.id).run()

    async def remove(self, session: SessionId) -> None:
        """Its events, transcripts and checkpoints go with it, by their foreign keys."""
        await self._table.delete().where(self._table.id == session).run()

    async def page(
        self, owner: UserId, *, limit: int, before: tuple[str, SessionId] | None
    ) -> list[SessionRecord]:
        query = self._table.select().where(self._table.owner == owner)
        if before is not None:
            query = query.where(WhereRaw("(created_at, id) < ({}, {})", *before))
        query = query.order_by(self._table.created_at, self._table.id, ascending=False)
        return [record_of(row) for row in await query.limit(limit).run()]

    async def open_of(self, owner: UserId) -> int:
        still_open = (self._table.owner == owner) & self._table.state.not_in(sorted(OVER))
        return int(await self._table.count().where(still_open).run())

    async def unfinished(self) -> list[SessionRecord]:
        query = self._table.select().where(self._table.state.not_in(WITHOUT_SANDBOX))
        return [record_of(row) for row in await query.run()]

    async def hibernated(self) -> int:
        asleep = self._table.state == "hibernated"
        return int(await self._table.count().where(asleep).run())

    async def hibernated_before(self, when: str, *, limit: int = 100) -> list[SessionRecord]:
        table = self._table
        asleep = (table.state == "hibernated") & (table.updated_at < when)
        query = table.select().where(asleep).order_by(table.updated_at, table.id).limit(limit)
        return [record_of(row) for row in await query.run()]


def values(record: SessionRecord) -> dict[str, Any]:
    """The record as columns."""
    columns = msgspec.structs.asdict(record)
    columns["usage"] = msgspec.json.encode(record.usage).decode()
    columns["ending"] = msgspec.json.encode(record.ending).decode() if record.ending else None
    return columns


def record_of(row: dict[str, Any]) -> SessionRecord:
    ending = row["ending"]
    return SessionRecord(
        **{
            **row,
            "usage": msgspec.json.decode(row["usage"], type=Usage),
            "ending": msgspec.json.decode(ending, type=Ending) if ending else None,
        }
    )
