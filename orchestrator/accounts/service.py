"""Accounts, as the API and the command line use them: who are you, may you in, who exists."""

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from orchestrator.accounts.access_tokens import AccessTokens
from orchestrator.accounts.administration import Administration
from orchestrator.accounts.errors import (
    AccountError,
    NotSignedIn,
    SignInOver,
    TooManyAttempts,
    WrongCredentials,
)
from orchestrator.accounts.events import AccountEvent, AccountEventName, AccountsWatcher
from orchestrator.accounts.names import normalised
from orchestrator.accounts.opaque_tokens import OpaqueToken
from orchestrator.accounts.passwords import Passwords
from orchestrator.accounts.ports import (
    RefreshTokenStore,
    Role,
    SignIn,
    SignInId,
    SignInLinkStore,
    User,
    UserStore,
)
from orchestrator.accounts.settings import AccountsSettings
from orchestrator.accounts.sign_ins import SignIns
from orchestrator.accounts.standing import Standings
from orchestrator.accounts.throttle import Throttle
from orchestrator.protocol.ids import UserId

TIDY_EVERY = 3600.0


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, as proven by an access token."""

    user: UserId
    name: str
    role: Role
    sign_in: SignInId
    version: int
    expires_at: float
    """Of the access token."""
    has_password: bool = True


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """What a client gets when it signs in or refreshes. Handle like a password."""

    principal: Principal
    access_token: str
    access_expires_at: float
    refresh_token: str
    refresh_expires_at: float

    def __repr__(self) -> str:
        return f"Admission(principal={self.principal!r})"


class CreatedLink(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    """Goes into the link; shown once."""
    expires_at: float

    def __repr__(self) -> str:
        return f"CreatedLink(expires_at={self.expires_at!r})"


class Accounts:
    """The facade. One per process: it owns the throttle and the limit on hashing."""

    def __init__(
        self,
        *,
        users: UserStore,
        tokens: RefreshTokenStore,
        links: SignInLinkStore,
        access_key: bytes,
        settings: AccountsSettings,
        watcher: AccountsWatcher,
        time: Callable[[], float],
    ) -> None:
        self._users, self._tokens, self._links = users, tokens, links
        self._settings = settings
        self._watcher = watcher
        self._time = time
        self._passwords = Passwords(settings)
        self._throttle = Throttle(settings)
        self._access = AccessTokens(access_key, lifetime=settings.access_lifetime)
        self._standings = Standings(users, tokens, age=settings.standing_age)
        self._sign_ins = SignIns(tokens, settings, watcher=watcher)
        self._tidied_at = 0.0
        self._administration = Administration(
            users=users,
            tokens=tokens,
            links=links,
            passwords=self._passwords,
            standings=self._standings,
            watcher=watcher,
            time=time,
        )

    # --- in and out ------------------------------------------------------------------------

    async def login(self, name: str, password: str, *, address: str, device: str) -> Admission:
        """Raises WrongCredentials, TooManyAttempts, SignInBusy. Takes as long for nobody's name."""
        account = _throttle_key(name)
        self._count_attempt(account, address)
        user = await self._user_called(name)
        right = await self._passwords.verify(user.password_hash if user else None, password)
        if user is None or not right or user.disabled:
            self._tell("sign_in.refused", user, address=address)
            raise WrongCredentials
        self._throttle.succeeded(account, address)
        user = await self._rehashed(user, password)
        return await self._admit(user, address=address, device=device, how="password")

    async def sign_in_with_link(self, code: str, *, address: str, device: str) -> Admission:
        """Raises LinkVoid, TooManyAttempts."""
        self._throttle.arrive(address, now=self._time(), most=self._settings.attempts_per_address)
        try:
            user = await self._administration.redeem_link(code)
        except AccountError:
            self._tell("sign_in.refused", None, address=address, detail="link")
            raise
        return await self._admit(user, address=address, device=device, how="link")

    async def refresh(self, token: str, *, address: str) -> Admission:
        """Raises SignInOver, RefreshSuperseded (go on with the newer token), TooManyAttempts."""
        now = self._time()
        self._throttle.arrive(address, now=now, most=self._settings.refreshes_per_address)
        try:
            sign_in, newer, expires_at = await self._sign_ins.rotate(
                token, address=address, now=now
            )
        except SignInOver:
            await self._forget_owner(token)
            raise
        user = await self._users.get(sign_in.user)
        if user is None or user.disabled:
            await self._sign_ins.end(sign_in.id, reason="disabled")
            raise SignInOver
        self._tell("sign_in.refreshed", user, sign_in=sign_in.id, address=address)
        return self._admission(user, sign_in, newer, expires_at)

    async def logout(self, sign_in: SignInId) -> None:
        """End the sign-in; its tokens are void at once. Idempotent."""
        found = await self._tokens.sign_in(sign_in)
        if found is None:
            return
        if await self._sign_ins.end(sign_in, reason="logout"):
            self._watcher.account_event(
                AccountEvent(name="sign_in.ended", user=found.user, sign_in=sign_in)
            )
        self._standings.forget(found.user)

    async def logout_with(self, refresh_token: str) -> None:
        """The same, for a client that has but its refresh token."""
        sign_in = await self._sign_ins.owner_of(refresh_token)
        if sign_in is not None:
            await self.logout(sign_in.id)

    async def authenticate(self, access_token: str) -> Principal:
        """Raises NotSignedIn. What another process changed shows within `standing_age`."""
        claims = self._access.verify(access_token, now=self._time())
        principal = await self._principal(claims.sub, claims.sid, claims.rv, float(claims.exp))
        if principal is None:
            raise NotSignedIn
        return principal

    async def still_welcome(self, principal: Principal) -> bool:
        """Whether the token behind it would still be accepted. Cheap: asked every few seconds."""
        if self._time() >= principal.expires_at:
            return False
        found = await self._principal(
            principal.user, principal.sign_in, principal.version, principal.expires_at
        )
        return found is not None

    # --- users -----------------------------------------------------------------------------

    async def add_user(
        self, name: str, *, role: Role, password: str | None = None, by: UserId | None = None
    ) -> User:
        """Raises BadName, NameTaken, WeakPassword, SignInBusy."""
        return await self._administration.add(name, role=role, password=password, by=by)

    async def find_user(self, name: str) -> User:
        """Raises UnknownUser, BadName."""
        return await self._administration.find(name)

    async def list_users(self, *, limit: int = 100, after: str | None = None) -> list[User]:
        """By name; `after` is the last name of the previous page."""
        return await self._administration.page(limit=limit, after=after)

    async def change_user(
        self,
        user: UserId,
        *,
        role: Role | None = None,
        disabled: bool | None = None,
        by: UserId | None = None,
    ) -> User:
        """Raises UnknownUser, NotOnYourself, LastAdmin, ChangedMeanwhile."""
        return await self._administration.change(user, role=role, disabled=disabled, by=by)

    async def disable_user(self, user: UserId, *, by: UserId | None = None) -> User:
        """Ends all the user's sign-ins. Raises as `change_user` does."""
        return await self.change_user(user, disabled=True, by=by)

    async def set_password(self, user: UserId, password: str, *, by: UserId | None = None) -> User:
        """Without asking for the old one; ends all sign-ins. Raises UnknownUser, WeakPassword."""
        found = await self._administration.get(user)
        return await self._administration.set_password(found, password, by=by)

    async def choose_password(
        self, principal: Principal, *, current: str | None, new: str, address: str, device: str
    ) -> Admission:
        """One's own. `current` is needed where there is one. Ends all other sign-ins and begins a
        new one. Raises WrongCredentials, WeakPassword, TooManyAttempts."""
        user = await self._administration.get(principal.user)
        if user.password_hash is not None:
            await self._prove(user, current or "", address=address)
        user = await self._administration.set_password(user, new, by=user.id)
        return await self._admit(user, address=address, device=device, how="password")

    async def create_sign_in_link(
        self, user: UserId, *, forget_password: bool = False, by: UserId | None = None
    ) -> CreatedLink:
        """For an invitation, or (with `forget_password`) for somebody who lost theirs."""
        found = await self._administration.get(user)
        token, expires_at = await self._administration.create_link(
            found, lifetime=self._settings.link_lifetime, forget_password=forget_password, by=by
        )
        return CreatedLink(code=str(token), expires_at=expires_at)

    # --- inside ----------------------------------------------------------------------------

    def _count_attempt(self, account: str, address: str) -> None:
        try:
            self._throttle.attempt(account, address, now=self._time())
        except TooManyAttempts:
            self._tell("sign_in.throttled", None, address=address)
            raise

    async def _prove(self, user: User, password: str, *, address: str) -> None:
        self._count_attempt(user.name, address)
        if not await self._passwords.verify(user.password_hash, password):
            self._tell("sign_in.refused", user, address=address)
            raise WrongCredentials
        self._throttle.succeeded(user.name, address)

    async def _user_called(self, name: str) -> User | None:
        try:
            return await self._users.by_name(normalised(name))
        except AccountError:
            return None

    async def _rehashed(self, user: User, password: str) -> User:
        """Bring an old hash to today's parameters. A lost race only means that it stays old."""
        stored = user.password_hash
        if stored is None or not self._passwords.needs_rehash(stored):
            return user
        newer = replace(user, password_hash=await self._passwords.hash(password))
        kept = await self._users.replace(newer, expected_version=user.version)
        return newer if kept else user

    async def _admit(self, user: User, *, address: str, device: str, how: str) -> Admission:
        now = self._time()
        await self._tidy(now)
        sign_in, token, expires_at = await self._sign_ins.begin(user, device=device, now=now)
        await self._unchanged_since(user, sign_in)
        await self._users.note_sign_in(user.id, now)
        self._tell("sign_in.succeeded", user, sign_in=sign_in.id, address=address, detail=how)
        return self._admission(user, sign_in, token, expires_at)

    async def _unchanged_since(self, user: User, sign_in: SignIn) -> None:
        """A sign-in that overtook a disabling or a new password shall not outlive it."""
        newest = await self._users.get(user.id)
        if newest is None or newest.version != user.version:
            await self._sign_ins.end(sign_in.id, reason="password")
            raise WrongCredentials

    def _admission(
        self, user: User, sign_in: SignIn, token: OpaqueToken, expires_at: float
    ) -> Admission:
        access_token, claims = self._access.mint(user, sign_in.id, now=self._time())
        return Admission(
            principal=_principal_of(user, sign_in.id, float(claims.exp)),
            access_token=access_token,
            access_expires_at=float(claims.exp),
            refresh_token=str(token),
            refresh_expires_at=expires_at,
        )

    async def _principal(
        self, user: UserId, sign_in: SignInId, version: int, expires_at: float
    ) -> Principal | None:
        now = self._time()
        standing = await self._standings.of(user, sign_in, now=now)
        if standing is None or not standing.welcome(now=now) or standing.user.version != version:
            return None
        return _principal_of(standing.user, sign_in, expires_at)

    async def _forget_owner(self, token: str) -> None:
        """A sign-in that ended just now, for reuse, shall not live on in the cache."""
        sign_in = await self._sign_ins.owner_of(token)
        if sign_in is not None:
            self._standings.forget(sign_in.user)

    async def _tidy(self, now: float) -> None:
        if now - self._tidied_at < TIDY_EVERY:
            return
        self._tidied_at = now
        await self._tokens.remove_expired(before=now)
        await self._links.remove_expired(before=now)

    def _tell(
        self,
        name: AccountEventName,
        user: User | None,
        *,
        sign_in: SignInId | None = None,
        address: str = "",
        detail: str = "",
    ) -> None:
        event = AccountEvent(
            name=name,
            user=user.id if user else None,
            sign_in=sign_in,
            address=address,
            detail=detail,
        )
        self._watcher.account_event(event)


def _principal_of(user: User, sign_in: SignInId, expires_at: float) -> Principal:
    return Principal(
        user=user.id,
        name=user.name,
        role=user.role,
        sign_in=sign_in,
        version=user.version,
        expires_at=expires_at,
        has_password=user.password_hash is not None,
    )


def _throttle_key(name: str) -> str:
    """Every spelling of a name that leads to the same user counts as one."""
    return name.strip().lower()[:64]
