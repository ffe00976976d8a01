"""`CheckpointStore` on Piccolo. The archives themselves are blobs, elsewhere."""

from collections.abc import Collection
from typing import Any

import msgspec
from piccolo.columns import Column

from orchestrator.protocol.ids import SessionId
from orchestrator.sessions.ports import Checkpoint
from orchestrator.storage.database import Database

ASKED_AT_ONCE = 500
"""Names in one statement: databases bound the number of its parameters."""


class PiccoloCheckpointStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._table = database.tables.checkpoints

    async def add(self, checkpoint: Checkpoint) -> None:
        row = self._table(**msgspec.structs.asdict(checkpoint))
        await self._table.insert(row).run()

    async def update(self, checkpoint: Checkpoint) -> None:
        table = self._table
        this = (table.session == checkpoint.session) & (table.id == checkpoint.id)
        changed: dict[Column | str, Any] = {
            name: value
            for name, value in msgspec.structs.asdict(checkpoint).items()
            if name not in {"id", "session"}
        }
        await table.update(changed).where(this).run()

    async def get(self, session: SessionId, checkpoint_id: str) -> Checkpoint | None:
        table = self._table
        this = (table.session == session) & (table.id == checkpoint_id)
        row = await table.select().where(this).first().run()
        return Checkpoint(**row) if row else None

    async def page(self, session: SessionId, *, limit: int) -> list[Checkpoint]:
        table = self._table
        query = table.select().where(table.session == session).limit(limit)
        rows = await query.order_by(table.created_at, table.id, ascending=False).run()
        return [Checkpoint(**row) for row in rows]

    async def remove(self, session: SessionId, ids: Collection[str]) -> None:
        """Their blobs go next, and a power cut does not bring those back: nor shall it bring a row
        back, or take the one away for whose sake they go."""
        table = self._table

        async def in_one() -> None:
            for some in _in_pieces(ids):
                these = (table.session == session) & table.id.is_in(some)
                await table.delete().where(these).run()

        if ids:
            await self._database.write(in_one, flushed=True)

    async def blobs(self, digests: Collection[str]) -> set[str]:
        table, named = self._table, set[str]()
        for some in _in_pieces(digests):
            rows = await table.select(table.blob).where(table.blob.is_in(some)).run()
            named.update(row["blob"] for row in rows)
        return named


def _in_pieces(names: Collection[str]) -> list[list[str]]:
    known = list(names)
    return [known[at : at + ASKED_AT_ONCE] for at in range(0, len(known), ASKED_AT_ONCE)]
