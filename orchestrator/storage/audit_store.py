"""`AuditStore` on Piccolo. The table refuses every change of what is in it, by triggers."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from orchestrator.accounts.audit import AuditEntry, AuditFilter
from orchestrator.accounts.audit_chain import AuditRecord
from orchestrator.storage.database import Database

_BATCH = 500


class PiccoloAuditStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._table = database.tables.audit

    async def extend(
        self, make: Callable[[AuditRecord | None], list[AuditRecord]]
    ) -> AuditRecord | None:
        async def in_one() -> AuditRecord | None:
            last = await self.last()
            records = make(last)
            if not records:
                return last
            await self._table.insert(*(self._row(record) for record in records)).run()
            return records[-1]

        return await self._database.write(in_one, in_turn="casemate audit")

    async def last(self) -> AuditRecord | None:
        query = self._table.select().order_by(self._table.seq, ascending=False)
        row = await query.first().run()
        return _record(row) if row else None

    async def at(self, seq: int) -> AuditRecord | None:
        row = await self._table.select().where(self._table.seq == seq).first().run()
        return _record(row) if row else None

    async def page(
        self, *, before: int | None, limit: int, matching: AuditFilter
    ) -> list[AuditEntry]:
        query = self._table.select()
        if before is not None:
            query = query.where(self._table.seq < before)
        if matching.action is not None:
            query = query.where(self._table.action == matching.action)
        if matching.actor is not None:
            query = query.where(self._table.actor == matching.actor)
        rows = await query.order_by(self._table.seq, ascending=False).limit(limit).run()
        return [_record(row).entry for row in rows]

    async def records(self) -> AsyncIterator[list[AuditRecord]]:
        after = None
        while True:
            query = self._table.select().order_by(self._table.seq).limit(_BATCH)
            if after is not None:
                query = query.where(self._table.seq > after)
            rows = await query.run()
            if not rows:
                return
            after = rows[-1]["seq"]
            yield [_record(row) for row in rows]

    def _row(self, record: AuditRecord) -> Any:
        entry = record.entry
        return self._table(
            seq=entry.seq,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            object=entry.object,
            result=entry.result,
            address=entry.address,
            detail=entry.detail,
            prev=record.prev,
            hash=record.hash,
        )


def _record(row: dict[str, Any]) -> AuditRecord:
    """As it is in the table, whatever that is: the chain judges it."""
    names = ("seq", "at", "actor", "action", "object", "result", "address", "detail")
    entry = AuditEntry(**{name: row[name] for name in names})
    return AuditRecord(entry=entry, prev=str(row["prev"]), hash=str(row["hash"]))
