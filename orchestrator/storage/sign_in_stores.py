"""`RefreshTokenStore` and `SignInLinkStore` on Piccolo. Hashes are stored in hexadecimal."""

from typing import Any

import msgspec
from piccolo.columns import Column
from piccolo.table import Table

from orchestrator.accounts.ports import RefreshToken, SignIn, SignInId, SignInLink
from orchestrator.protocol.ids import UserId
from orchestrator.storage.database import Database


class PiccoloRefreshTokenStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._sign_ins = database.tables.sign_ins
        self._tokens = database.tables.refresh_tokens

    async def begin(self, sign_in: SignIn, first: RefreshToken) -> None:
        async def both() -> None:
            await self._sign_ins.insert(self._sign_ins(**_columns(sign_in))).run()
            await self._tokens.insert(self._tokens(**_columns(first))).run()

        await self._database.write(both)

    async def token(self, token_id: str) -> RefreshToken | None:
        row = await self._tokens.select().where(self._tokens.id == token_id).first().run()
        return RefreshToken(**_fields(row)) if row else None

    async def sign_in(self, sign_in: SignInId) -> SignIn | None:
        row = await self._sign_ins.select().where(self._sign_ins.id == sign_in).first().run()
        return SignIn(**_fields(row)) if row else None

    async def rotate(self, token_id: str, *, used_at: float, successor: RefreshToken) -> bool:
        tokens, sign_ins = self._tokens, self._sign_ins
        standing = sign_ins.select(sign_ins.id).where(sign_ins.revoked.is_null())
        unused = (tokens.id == token_id) & tokens.used_at.is_null()
        changed: dict[Column | str, Any] = {
            tokens.used_at: used_at,
            tokens.successor: successor.id,
        }

        async def hand_over() -> bool:
            query = tokens.update(changed).where(unused & tokens.sign_in.is_in(standing))
            if not await query.returning(tokens.id).run():
                return False
            await tokens.insert(tokens(**_columns(successor))).run()
            return True

        return await self._database.write(hand_over)

    async def revoke(self, sign_in: SignInId, *, reason: str) -> bool:
        table = self._sign_ins
        standing = (table.id == sign_in) & table.revoked.is_null()
        changed: dict[Column | str, Any] = {table.revoked: reason}
        return bool(await table.update(changed).where(standing).returning(table.id).run())

    async def revoke_all(self, user: UserId, *, reason: str) -> list[SignInId]:
        table = self._sign_ins
        standing = (table.user_id == user) & table.revoked.is_null()
        changed: dict[Column | str, Any] = {table.revoked: reason}
        rows = await table.update(changed).where(standing).returning(table.id).run()
        return [SignInId(row["id"]) for row in rows]

    async def remove_expired(self, *, before: float) -> int:
        return await _remove_expired(self._sign_ins, self._sign_ins.expires_at, before=before)


class PiccoloSignInLinkStore:
    def __init__(self, database: Database) -> None:
        self._table = database.tables.sign_in_links

    async def add(self, link: SignInLink) -> None:
        await self._table.insert(self._table(**_columns(link))).run()

    async def get(self, link_id: str) -> SignInLink | None:
        row = await self._table.select().where(self._table.id == link_id).first().run()
        return SignInLink(**_fields(row)) if row else None

    async def use(self, link_id: str, *, at: float) -> bool:
        table = self._table
        unused = (table.id == link_id) & table.used_at.is_null()
        changed: dict[Column | str, Any] = {table.used_at: at}
        return bool(await table.update(changed).where(unused).returning(table.id).run())

    async def remove_of(self, user: UserId) -> None:
        await self._table.delete().where(self._table.user_id == user).run()

    async def remove_expired(self, *, before: float) -> int:
        return await _remove_expired(self._table, self._table.expires_at, before=before)


async def _remove_expired(table: type[Table], expires_at: Column, *, before: float) -> int:
    """Rows that hang on the removed ones go with them, by their foreign keys."""
    query = table.delete().where(expires_at < before)
    return len(await query.returning(expires_at).run())


def _columns(record: SignIn | RefreshToken | SignInLink) -> dict[str, Any]:
    columns = msgspec.structs.asdict(record)
    if "user" in columns:
        columns["user_id"] = columns.pop("user")  # `user` is a word of SQL
    if "secret_hash" in columns:
        columns["secret_hash"] = columns["secret_hash"].hex()
    return columns


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    fields = dict(row)
    if "user_id" in fields:
        fields["user"] = fields.pop("user_id")
    if "secret_hash" in fields:
        fields["secret_hash"] = bytes.fromhex(fields["secret_hash"])
    return fields
