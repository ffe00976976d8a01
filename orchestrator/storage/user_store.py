"""`UserStore` on Piccolo."""

from typing import Any

import msgspec
from piccolo.columns import Column

from orchestrator.accounts.ports import User
from orchestrator.protocol.ids import UserId
from orchestrator.storage.database import Database


class PiccoloUserStore:
    def __init__(self, database: Database) -> None:
        self._table = database.tables.users

    async def add(self, user: User) -> bool:
        row = self._table(**msgspec.structs.asdict(user))
        query = self._table.insert(row).on_conflict(action="DO NOTHING")
        return bool(await query.returning(self._table.id).run())

    async def get(self, user: UserId) -> User | None:
        row = await self._table.select().where(self._table.id == user).first().run()
        return _user(row) if row else None

    async def by_name(self, name: str) -> User | None:
        row = await self._table.select().where(self._table.name == name).first().run()
        return _user(row) if row else None

    async def page(self, *, limit: int, after: str | None) -> list[User]:
        query = self._table.select()
        if after is not None:
            query = query.where(self._table.name > after)
        rows = await query.order_by(self._table.name).limit(limit).run()
        return [_user(row) for row in rows]

    async def replace(self, user: User, *, expected_version: int) -> bool:
        changed: dict[Column | str, Any] = {
            name: value for name, value in msgspec.structs.asdict(user).items() if name != "id"
        }
        unchanged = (self._table.id == user.id) & (self._table.version == expected_version)
        query = self._table.update(changed).where(unchanged)
        return bool(await query.returning(self._table.id).run())

    async def note_sign_in(self, user: UserId, at: float) -> None:
        changed: dict[Column | str, Any] = {self._table.last_sign_in_at: at}
        await self._table.update(changed).where(self._table.id == user).run()

    async def enabled_admins(self) -> int:
        table = self._table
        enabled = (table.role == "admin") & table.disabled.eq(False)  # noqa: FBT003 - a value
        return int(await table.count().where(enabled).run())


def _user(row: dict[str, Any]) -> User:
    return User(**{**row, "disabled": bool(row["disabled"])})
