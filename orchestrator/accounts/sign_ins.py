"""Sign-ins and their refresh tokens: begin, rotate, end, and notice when a token is used twice.

Each refresh token is used once. The one just before the newest may come again for a few seconds
(two tabs at once): that mints nothing. Any other second use means that somebody has a copy: the
whole sign-in ends. A wrong secret proves nothing and spoils nothing.
"""

import secrets

from orchestrator.accounts.errors import RefreshSuperseded, SignInOver
from orchestrator.accounts.events import AccountEvent, AccountsWatcher
from orchestrator.accounts.opaque_tokens import OpaqueToken, mint, parse
from orchestrator.accounts.ports import RefreshToken, RefreshTokenStore, SignIn, SignInId, User
from orchestrator.accounts.settings import AccountsSettings

MAX_DEVICE_LENGTH = 200


class SignIns:
    def __init__(
        self, store: RefreshTokenStore, settings: AccountsSettings, *, watcher: AccountsWatcher
    ) -> None:
        self._store = store
        self._settings = settings
        self._watcher = watcher

    async def begin(
        self, user: User, *, device: str, now: float
    ) -> tuple[SignIn, OpaqueToken, float]:
        """A new sign-in, its first refresh token, and when that expires."""
        sign_in = SignIn(
            id=SignInId(secrets.token_hex(16)),
            user=user.id,
            device=device[:MAX_DEVICE_LENGTH],
            created_at=now,
            expires_at=now + self._settings.sign_in_lifetime,
        )
        token, record = self._generation(sign_in, parent=None, now=now)
        await self._store.begin(sign_in, record)
        return sign_in, token, record.expires_at

    async def rotate(
        self, text: str, *, address: str, now: float
    ) -> tuple[SignIn, OpaqueToken, float]:
        """The next refresh token. Raises SignInOver, RefreshSuperseded."""
        record = await self._genuine(text)
        sign_in = await self._store.sign_in(record.sign_in)
        if sign_in is None or sign_in.revoked or now >= record.expires_at:
            raise SignInOver
        if record.used_at is not None:
            await self._used_again(record, sign_in, address=address, now=now)
        token, successor = self._generation(sign_in, parent=record.id, now=now)
        if not await self._store.rotate(record.id, used_at=now, successor=successor):
            await self._lost_race(record.id, sign_in, address=address, now=now)
        return sign_in, token, successor.expires_at

    async def owner_of(self, text: str) -> SignIn | None:
        """The sign-in that a genuine refresh token belongs to, in whatever state."""
        try:
            record = await self._genuine(text)
        except SignInOver:
            return None
        return await self._store.sign_in(record.sign_in)

    async def end(self, sign_in: SignInId, *, reason: str) -> bool:
        return await self._store.revoke(sign_in, reason=reason)

    async def _genuine(self, text: str) -> RefreshToken:
        token = parse(text)
        record = await self._store.token(token.id) if token else None
        if token is None or record is None or not token.proves(record.secret_hash):
            raise SignInOver
        return record

    async def _lost_race(self, token_id: str, sign_in: SignIn, *, address: str, now: float) -> None:
        """Somebody else rotated or revoked between our look and our step."""
        record = await self._store.token(token_id)
        if record is None or record.used_at is None:
            raise SignInOver
        await self._used_again(record, sign_in, address=address, now=now)

    async def _used_again(
        self, record: RefreshToken, sign_in: SignIn, *, address: str, now: float
    ) -> None:
        """Always raises."""
        newest = await self._store.token(record.successor) if record.successor else None
        age = now - (record.used_at or 0.0)
        if newest is not None and newest.used_at is None and age <= self._settings.refresh_grace:
            raise RefreshSuperseded
        if await self._store.revoke(sign_in.id, reason="reuse"):
            self._watcher.account_event(
                AccountEvent(
                    name="sign_in.reuse_detected",
                    user=sign_in.user,
                    sign_in=sign_in.id,
                    address=address,
                )
            )
        raise SignInOver

    def _generation(
        self, sign_in: SignIn, *, parent: str | None, now: float
    ) -> tuple[OpaqueToken, RefreshToken]:
        token = mint()
        record = RefreshToken(
            id=token.id,
            secret_hash=token.secret_hash,
            sign_in=sign_in.id,
            issued_at=now,
            expires_at=min(now + self._settings.refresh_lifetime, sign_in.expires_at),
            parent=parent,
        )
        return token, record
