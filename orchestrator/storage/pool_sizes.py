"""The sizes that an administrator gave the pools, kept over restarts."""

from orchestrator.protocol.ids import ProfileName
from orchestrator.storage.database import Database


class PiccoloPoolSizes:
    def __init__(self, database: Database) -> None:
        self._table = database.tables.pool_sizes

    async def get(self, profile: ProfileName) -> tuple[int, int] | None:
        """Minimum and maximum; none where nobody changed the defaults."""
        row = await self._table.select().where(self._table.profile == profile).first().run()
        return (row["min_size"], row["max_size"]) if row else None

    async def set(self, profile: ProfileName, *, min_size: int, max_size: int) -> None:
        table = self._table
        row = table(profile=profile, min_size=min_size, max_size=max_size)
        await (
            table.insert(row)
            .on_conflict(table.profile, "DO UPDATE", [table.min_size, table.max_size])
            .run()
        )
