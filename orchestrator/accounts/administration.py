"""Who exists and what they may do: adding users, changing them, the links that let them in."""

import secrets
from collections.abc import Callable

from msgspec.structs import replace

from orchestrator.accounts.errors import (
    ChangedMeanwhile,
    LastAdmin,
    LinkVoid,
    NameTaken,
    NotOnYourself,
    UnknownUser,
)
from orchestrator.accounts.events import AccountEvent, AccountEventName, AccountsWatcher
from orchestrator.accounts.names import normalised
from orchestrator.accounts.opaque_tokens import OpaqueToken, mint, parse
from orchestrator.accounts.passwords import Passwords
from orchestrator.accounts.ports import (
    RefreshTokenStore,
    Role,
    SignInLink,
    SignInLinkStore,
    User,
    UserStore,
)
from orchestrator.accounts.standing import Standings
from orchestrator.protocol.ids import UserId


class Administration:
    def __init__(
        self,
        *,
        users: UserStore,
        tokens: RefreshTokenStore,
        links: SignInLinkStore,
        passwords: Passwords,
        standings: Standings,
        watcher: AccountsWatcher,
        time: Callable[[], float],
    ) -> None:
        self._users = users
        self._tokens = tokens
        self._links = links
        self._passwords = passwords
        self._standings = standings
        self._watcher = watcher
        self._time = time

    async def add(self, name: str, *, role: Role, password: str | None, by: UserId | None) -> User:
        """Raises BadName, NameTaken, WeakPassword."""
        name = normalised(name)
        hashed = None
        if password is not None:
            self._passwords.check_strength(password, name=name)
            hashed = await self._passwords.hash(password)
        user = User(
            id=UserId(secrets.token_hex(16)),
            name=name,
            role=role,
            created_at=self._time(),
            password_hash=hashed,
        )
        if not await self._users.add(user):
            raise NameTaken
        self._tell("user.added", user, by=by, detail=role)
        return user

    async def find(self, name: str) -> User:
        """Raises UnknownUser, BadName."""
        user = await self._users.by_name(normalised(name))
        if user is None:
            raise UnknownUser
        return user

    async def get(self, user_id: UserId) -> User:
        """Raises UnknownUser."""
        user = await self._users.get(user_id)
        if user is None:
            raise UnknownUser
        return user

    async def page(self, *, limit: int, after: str | None) -> list[User]:
        return await self._users.page(limit=limit, after=after)

    async def change(
        self, user_id: UserId, *, role: Role | None, disabled: bool | None, by: UserId | None
    ) -> User:
        """Raises UnknownUser, NotOnYourself, LastAdmin, ChangedMeanwhile. Ends the sign-ins of a
        user who is disabled; a new role shows in the tokens that are minted from then on."""
        user = await self.get(user_id)
        changed = replace(
            user,
            role=user.role if role is None else role,
            disabled=user.disabled if disabled is None else disabled,
        )
        if changed == user:
            return user
        if by == user.id:
            raise NotOnYourself
        await self._keep_an_admin(user, changed)
        changed = await self._write(changed)
        if changed.disabled:
            await self._shut_out(changed, reason="disabled")
        self._tell("user.changed", changed, by=by, detail=_change_of(user, changed))
        return changed

    async def set_password(self, user: User, password: str, *, by: UserId | None) -> User:
        """Ends every sign-in of the user. Raises WeakPassword, ChangedMeanwhile."""
        self._passwords.check_strength(password, name=user.name)
        hashed = await self._passwords.hash(password)
        changed = await self._write(replace(user, password_hash=hashed))
        await self._shut_out(changed, reason="password")
        self._tell("user.password_changed", changed, by=by)
        return changed

    async def create_link(
        self, user: User, *, lifetime: int, forget_password: bool, by: UserId | None
    ) -> tuple[OpaqueToken, float]:
        """The code for a link that signs the user in once, and when it expires."""
        if forget_password and user.password_hash is not None:
            user = await self._write(replace(user, password_hash=None))
            await self._shut_out(user, reason="password")
        now = self._time()
        token = mint()
        link = SignInLink(
            id=token.id,
            secret_hash=token.secret_hash,
            user=user.id,
            created_at=now,
            expires_at=now + lifetime,
        )
        await self._links.add(link)
        self._tell("sign_in_link.created", user, by=by)
        return token, link.expires_at

    async def redeem_link(self, code: str) -> User:
        """The user whom the link signs in. Raises LinkVoid."""
        token = parse(code)
        link = await self._links.get(token.id) if token else None
        if token is None or link is None or not token.proves(link.secret_hash):
            raise LinkVoid
        now = self._time()
        if now >= link.expires_at or not await self._links.use(link.id, at=now):
            raise LinkVoid
        user = await self._users.get(link.user)
        if user is None or user.disabled:
            raise LinkVoid
        return user

    async def _keep_an_admin(self, user: User, changed: User) -> None:
        was = user.role == "admin" and not user.disabled
        remains = changed.role == "admin" and not changed.disabled
        if was and not remains and await self._users.enabled_admins() <= 1:
            raise LastAdmin

    async def _write(self, user: User) -> User:
        newer = replace(user, version=user.version + 1)
        if not await self._users.replace(newer, expected_version=user.version):
            raise ChangedMeanwhile
        self._standings.forget(user.id)
        return newer

    async def _shut_out(self, user: User, *, reason: str) -> None:
        await self._tokens.revoke_all(user.id, reason=reason)
        await self._links.remove_of(user.id)
        self._standings.forget(user.id)

    def _tell(
        self, name: AccountEventName, user: User, *, by: UserId | None, detail: str = ""
    ) -> None:
        self._watcher.account_event(AccountEvent(name=name, user=user.id, by=by, detail=detail))


def _change_of(before: User, after: User) -> str:
    said = []
    if before.role != after.role:
        said.append(f"role {before.role} to {after.role}")
    if before.disabled != after.disabled:
        said.append("disabled" if after.disabled else "enabled")
    return ", ".join(said)
