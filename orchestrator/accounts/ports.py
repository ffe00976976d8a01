"""What accounts are made of, and the stores that keep them. `app.py` says what stands behind those.

Times are Unix seconds (float). Secrets are never stored: SHA-256 of the random ones, argon2id of
passwords. A store method that can lose a race says so by its result, and has then changed nothing.
"""

from typing import Literal, NewType, Protocol

import msgspec

from orchestrator.protocol.ids import UserId

Role = Literal["admin", "operator", "user"]

SignInId = NewType("SignInId", str)
"""One sign-in on one device: the family of its refresh tokens, `sid` in its access tokens."""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who may sign in. `name` is unique and already normalised (see `names.py`)."""

    id: UserId
    name: str
    role: Role
    created_at: float
    password_hash: str | None = None
    """argon2id in PHC form; none until the person chose a password."""
    disabled: bool = False
    version: int = 1
    """Grows with each change of role, password or `disabled`: older access tokens are void."""
    last_sign_in_at: float | None = None


class SignIn(msgspec.Struct, frozen=True, kw_only=True):
    """A family of refresh tokens: each is used once and followed by one successor."""

    id: SignInId
    user: UserId
    device: str
    """What the browser or program calls itself; shown to its owner, trusted for nothing."""
    created_at: float
    expires_at: float
    """The end of its absolute lifetime."""
    revoked: str | None = None
    """Why: `logout`, `reuse`, `disabled`, `password`, `role`."""


class RefreshToken(msgspec.Struct, frozen=True, kw_only=True):
    """One generation of a sign-in. The client holds `id.secret`."""

    id: str
    secret_hash: bytes
    """SHA-256, 32 bytes."""
    sign_in: SignInId
    issued_at: float
    expires_at: float
    parent: str | None = None
    used_at: float | None = None
    successor: str | None = None


class SignInLink(msgspec.Struct, frozen=True, kw_only=True):
    """Signs its user in once, then is void. The link holds `id.secret`."""

    id: str
    secret_hash: bytes
    """SHA-256, 32 bytes."""
    user: UserId
    created_at: float
    expires_at: float
    used_at: float | None = None


class UserStore(Protocol):
    async def add(self, user: User) -> bool:
        """False where the name or id is taken."""

    async def get(self, user: UserId) -> User | None: ...
    async def by_name(self, name: str) -> User | None: ...
    async def page(self, *, limit: int, after: str | None) -> list[User]:
        """Ascending by name; `after` is the last name of the previous page."""

    async def replace(self, user: User, *, expected_version: int) -> bool:
        """Write the whole record where the stored `version` still is `expected_version`."""

    async def note_sign_in(self, user: UserId, at: float) -> None:
        """Set `last_sign_in_at` alone."""

    async def enabled_admins(self) -> int:
        """How many users have role `admin` and are not disabled."""


class RefreshTokenStore(Protocol):
    async def begin(self, sign_in: SignIn, first: RefreshToken) -> None:
        """Add the sign-in with its first token, both or neither."""

    async def token(self, token_id: str) -> RefreshToken | None: ...
    async def sign_in(self, sign_in: SignInId) -> SignIn | None: ...
    async def rotate(self, token_id: str, *, used_at: float, successor: RefreshToken) -> bool:
        """In one step: mark the token used, name its successor, add the successor.

        False where it was used already or its sign-in is revoked. Of any number of concurrent calls
        for one token at most one gets True.
        """

    async def revoke(self, sign_in: SignInId, *, reason: str) -> bool:
        """False where it is unknown or was revoked before; the first reason stays."""

    async def revoke_all(self, user: UserId, *, reason: str) -> list[SignInId]:
        """Every sign-in of the user that was not revoked yet; returns those."""

    async def remove_expired(self, *, before: float) -> int:
        """Drop sign-ins (with their tokens) whose `expires_at` is below; returns how many."""


class SignInLinkStore(Protocol):
    async def add(self, link: SignInLink) -> None: ...
    async def get(self, link_id: str) -> SignInLink | None: ...
    async def use(self, link_id: str, *, at: float) -> bool:
        """Set `used_at` where it is not set; of concurrent calls at most one gets True."""

    async def remove_of(self, user: UserId) -> None:
        """Drop every link of the user, used or not."""

    async def remove_expired(self, *, before: float) -> int: ...
