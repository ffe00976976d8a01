"""`RefusedHostStore` on Piccolo."""

from typing import Any

import msgspec

from orchestrator.protocol.ids import ProfileName
from orchestrator.sessions.refused_hosts import RefusedHost
from orchestrator.storage.database import Database

_PIECE = 100
"""Rows in one statement: databases bound the number of its parameters."""


class PiccoloRefusedHostStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._table = database.tables.refused_hosts
        self._drops = database.tables.refused_host_drops

    async def load(self) -> tuple[list[RefusedHost], dict[ProfileName, int]]:
        rows = await self._table.select().order_by(self._table.last_at).run()
        drops = await self._drops.select().run()
        return (
            [_refused_host(row) for row in rows],
            {ProfileName(row["profile"]): row["times"] for row in drops},
        )

    async def save(
        self,
        *,
        changed: list[RefusedHost],
        gone: list[RefusedHost],
        dropped: dict[ProfileName, int],
    ) -> None:
        async def in_one() -> None:
            for host in gone:
                await self._remove(host)
            for start in range(0, len(changed), _PIECE):
                await self._keep(changed[start : start + _PIECE])
            for profile, count in dropped.items():
                await self._keep_count(profile, count)

        await self._database.write(in_one)

    async def _remove(self, host: RefusedHost) -> None:
        table = self._table
        same = (
            (table.profile == host.profile)
            & (table.host == host.host)
            & (table.port == host.port)
            & (table.tag == host.tag)
        )
        await table.delete().where(same).run()

    async def _keep(self, hosts: list[RefusedHost]) -> None:
        table = self._table
        rows = [table(**_row(host)) for host in hosts]
        await (
            table.insert(*rows)
            .on_conflict(
                (table.profile, table.host, table.port, table.tag),
                "DO UPDATE",
                [table.times, table.last_at],
            )
            .run()
        )

    async def _keep_count(self, profile: ProfileName, count: int) -> None:
        drops = self._drops
        await (
            drops.insert(drops(profile=profile, times=count))
            .on_conflict(drops.profile, "DO UPDATE", [drops.times])
            .run()
        )


def _row(host: RefusedHost) -> dict[str, Any]:
    """The column is not called `count`: tables have a method of that name."""
    fields = msgspec.structs.asdict(host)
    times = fields.pop("count")
    return fields | {"times": times}


def _refused_host(row: dict[str, Any]) -> RefusedHost:
    names = ("profile", "host", "port", "tag", "first_at", "last_at")
    return RefusedHost(count=row["times"], **{name: row[name] for name in names})
