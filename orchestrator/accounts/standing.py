"""Whether somebody is still welcome: the user and the sign-in behind a token, read now and then."""

from collections import OrderedDict

import msgspec

from orchestrator.accounts.ports import RefreshTokenStore, SignIn, SignInId, User, UserStore
from orchestrator.protocol.ids import UserId

MAX_ENTRIES = 10_000
"""The one that was read longest ago is forgotten first."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    user: User
    sign_in: SignIn
    read_at: float

    def welcome(self, *, now: float) -> bool:
        return (
            not self.user.disabled
            and self.sign_in.revoked is None
            and now < self.sign_in.expires_at
            and self.sign_in.user == self.user.id
        )


class Standings:
    """A short memory before the stores. What this process itself changes, it forgets at once."""

    def __init__(self, users: UserStore, tokens: RefreshTokenStore, *, age: float) -> None:
        self._users = users
        self._tokens = tokens
        self._age = age
        self._known: OrderedDict[SignInId, Standing] = OrderedDict()
        self._generation = 0

    async def of(self, user: UserId, sign_in: SignInId, *, now: float) -> Standing | None:
        known = self._known.get(sign_in)
        if known and known.user.id == user and 0 <= now - known.read_at <= self._age:
            return known
        return await self._read(user, sign_in, now=now)

    def forget(self, user: UserId) -> None:
        self._generation += 1
        for sign_in in [key for key, known in self._known.items() if known.user.id == user]:
            del self._known[sign_in]

    async def _read(self, user: UserId, sign_in: SignInId, *, now: float) -> Standing | None:
        generation = self._generation
        person = await self._users.get(user)
        family = await self._tokens.sign_in(sign_in)
        if person is None or family is None:
            return None
        standing = Standing(user=person, sign_in=family, read_at=now)
        if generation == self._generation:  # else something changed while this was read
            self._keep(sign_in, standing)
        return standing

    def _keep(self, sign_in: SignInId, standing: Standing) -> None:
        self._known.pop(sign_in, None)
        self._known[sign_in] = standing
        while len(self._known) > MAX_ENTRIES:
            self._known.popitem(last=False)
