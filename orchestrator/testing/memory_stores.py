"""Every store in memory, for tests of what stands above. `store_contract` keeps them honest."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Collection

import msgspec

from orchestrator.accounts.ports import (
    RefreshToken,
    SignIn,
    SignInId,
    SignInLink,
    User,
)
from orchestrator.protocol.chat import SequencedEvent
from orchestrator.protocol.ids import ClientId, ProfileName, SessionId, UserId
from orchestrator.sessions.errors import StorageFailed
from orchestrator.sessions.ports import LogEntry, SessionRecord

replace = msgspec.structs.replace
PIECE = 100
"""Events that are read from the log at once."""


class MemoryDatabase:
    """What the session store and the event log share. While `broken`, every call fails."""

    def __init__(self) -> None:
        self.sessions: dict[SessionId, SessionRecord] = {}
        self.events: dict[SessionId, list[LogEntry]] = defaultdict(list)
        self.broken = False
        self.appends = 0

    def check(self) -> None:
        if self.broken:
            raise StorageFailed


class MemorySessionStore:
    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def add(self, record: SessionRecord) -> None:
        self._database.check()
        known = self._database.sessions
        if record.id in known or self._key_taken(record):
            raise StorageFailed
        known[record.id] = record

    async def get(self, session: SessionId) -> SessionRecord | None:
        self._database.check()
        return self._database.sessions.get(session)

    async def by_idempotency_key(self, owner: UserId, key: str) -> SessionRecord | None:
        self._database.check()
        found = (
            record
            for record in self._database.sessions.values()
            if record.owner == owner and record.idempotency_key == key
        )
        return next(found, None)

    async def update(self, record: SessionRecord) -> None:
        self._database.check()
        if record.id in self._database.sessions:
            self._database.sessions[record.id] = record

    async def remove(self, session: SessionId) -> None:
        self._database.check()
        self._database.sessions.pop(session, None)
        self._database.events.pop(session, None)

    async def page(
        self, owner: UserId, *, limit: int, before: tuple[str, SessionId] | None
    ) -> list[SessionRecord]:
        self._database.check()
        mine = [r for r in self._database.sessions.values() if r.owner == owner]
        if before is not None:
            mine = [r for r in mine if (r.created_at, r.id) < before]
        return sorted(mine, key=lambda r: (r.created_at, r.id), reverse=True)[:limit]

    async def open_of(self, owner: UserId) -> int:
        self._database.check()
        mine = (r for r in self._database.sessions.values() if r.owner == owner)
        return sum(r.state not in {"ended", "failed"} for r in mine)

    async def hibernated(self) -> int:
        self._database.check()
        return sum(r.state == "hibernated" for r in self._database.sessions.values())

    async def unfinished(self) -> list[SessionRecord]:
        self._database.check()
        rested = {"ended", "failed", "hibernated"}
        return [r for r in self._database.sessions.values() if r.state not in rested]

    async def hibernated_before(self, when: str, *, limit: int = 100) -> list[SessionRecord]:
        self._database.check()
        known = self._database.sessions.values()
        found = [r for r in known if r.state == "hibernated" and r.updated_at < when]
        return sorted(found, key=lambda r: (r.updated_at, r.id))[:limit]

    def _key_taken(self, record: SessionRecord) -> bool:
        return record.idempotency_key is not None and any(
            known.owner == record.owner and known.idempotency_key == record.idempotency_key
            for known in self._database.sessions.values()
        )


class MemoryEventLog:
    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def append(self, session: SessionId, entries: list[LogEntry]) -> None:
        self._database.check()
        if session not in self._database.sessions:
            raise StorageFailed
        log = self._database.events[session]
        if all(entry in log for entry in entries):
            return
        seqs = [entry.seq for entry in log + entries]
        prompts = [entry.client_id for entry in log + entries if entry.client_id is not None]
        if len(set(seqs)) < len(seqs) or len(set(prompts)) < len(prompts):
            raise StorageFailed
        self._database.appends += 1
        log.extend(entries)
        log.sort(key=lambda entry: entry.seq)

    async def read(
        self, session: SessionId, *, after: int = 0, before: int | None = None, limit: int = 500
    ) -> list[SequencedEvent]:
        self._database.check()
        log = self._database.events.get(session, [])
        seqs = [entry.seq for entry in log]
        first = bisect_right(seqs, after)
        if before is None:
            chosen = log[first : first + limit]
        else:
            last = bisect_left(seqs, before)
            chosen = log[max(first, last - limit) : last]
        return [SequencedEvent(seq=e.seq, at=e.at, event=msgspec.Raw(e.body)) for e in chosen]

    async def of_tags(
        self, session: SessionId, tags: Collection[str]
    ) -> AsyncIterator[list[bytes]]:
        self._database.check()
        found = [e.body for e in self._database.events.get(session, []) if e.tag in tags]
        for start in range(0, len(found), PIECE):
            yield found[start : start + PIECE]

    async def last_sandbox_n(self, session: SessionId) -> int:
        self._database.check()
        last = 0
        for known in self._database.events.get(session, []):
            last = 0 if known.tag == "sandbox_assigned" else max(last, known.sandbox_n or 0)
        return last

    async def last_seq(self, session: SessionId) -> int:
        self._database.check()
        return max((e.seq for e in self._database.events.get(session, [])), default=0)

    async def said_bytes(self, session: SessionId) -> int:
        self._database.check()
        known = self._database.events.get(session, [])
        return sum(len(e.body) for e in known if e.sandbox_n is not None)

    async def has_prompt(self, session: SessionId, client_id: ClientId) -> bool:
        self._database.check()
        return any(e.client_id == client_id for e in self._database.events.get(session, []))


class MemoryPoolSizes:
    def __init__(self) -> None:
        self._sizes: dict[ProfileName, tuple[int, int]] = {}

    async def get(self, profile: ProfileName) -> tuple[int, int] | None:
        return self._sizes.get(profile)

    async def set(self, profile: ProfileName, *, min_size: int, max_size: int) -> None:
        self._sizes[profile] = (min_size, max_size)


class MemoryUserStore:
    def __init__(self) -> None:
        self._users: dict[UserId, User] = {}

    async def add(self, user: User) -> bool:
        if user.id in self._users or await self.by_name(user.name) is not None:
            return False
        self._users[user.id] = user
        return True

    async def get(self, user: UserId) -> User | None:
        return self._users.get(user)

    async def by_name(self, name: str) -> User | None:
        return next((user for user in self._users.values() if user.name == name), None)

    async def page(self, *, limit: int, after: str | None) -> list[User]:
        users = sorted(self._users.values(), key=lambda user: user.name)
        return [user for user in users if after is None or user.name > after][:limit]

    async def replace(self, user: User, *, expected_version: int) -> bool:
        known = self._users.get(user.id)
        if known is None or known.version != expected_version:
            return False
        self._users[user.id] = user
        return True

    async def note_sign_in(self, user: UserId, at: float) -> None:
        if user in self._users:
            self._users[user] = replace(self._users[user], last_sign_in_at=at)

    async def enabled_admins(self) -> int:
        return sum(u.role == "admin" and not u.disabled for u in self._users.values())


class MemoryRefreshTokenStore:
    def __init__(self) -> None:
        self._sign_ins: dict[SignInId, SignIn] = {}
        self._tokens: dict[str, RefreshToken] = {}

    async def begin(self, sign_in: SignIn, first: RefreshToken) -> None:
        self._sign_ins[sign_in.id] = sign_in
        self._tokens[first.id] = first

    async def token(self, token_id: str) -> RefreshToken | None:
        return self._tokens.get(token_id)

    async def sign_in(self, sign_in: SignInId) -> SignIn | None:
        return self._sign_ins.get(sign_in)

    async def rotate(self, token_id: str, *, used_at: float, successor: RefreshToken) -> bool:
        token = self._tokens.get(token_id)
        if token is None or token.used_at is not None:
            return False
        sign_in = self._sign_ins.get(token.sign_in)
        if sign_in is None or sign_in.revoked is not None:
            return False
        self._tokens[token_id] = replace(token, used_at=used_at, successor=successor.id)
        self._tokens[successor.id] = successor
        return True

    async def revoke(self, sign_in: SignInId, *, reason: str) -> bool:
        known = self._sign_ins.get(sign_in)
        if known is None or known.revoked is not None:
            return False
        self._sign_ins[sign_in] = replace(known, revoked=reason)
        return True

    async def revoke_all(self, user: UserId, *, reason: str) -> list[SignInId]:
        mine = [s.id for s in self._sign_ins.values() if s.user == user]
        return [sign_in for sign_in in mine if await self.revoke(sign_in, reason=reason)]

    async def remove_expired(self, *, before: float) -> int:
        expired = {s.id for s in self._sign_ins.values() if s.expires_at < before}
        self._sign_ins = {k: s for k, s in self._sign_ins.items() if k not in expired}
        self._tokens = {k: t for k, t in self._tokens.items() if t.sign_in not in expired}
        return len(expired)


class MemorySignInLinkStore:
    def __init__(self) -> None:
        self._links: dict[str, SignInLink] = {}

    async def add(self, link: SignInLink) -> None:
        self._links[link.id] = link

    async def get(self, link_id: str) -> SignInLink | None:
        return self._links.get(link_id)

    async def use(self, link_id: str, *, at: float) -> bool:
        link = self._links.get(link_id)
        if link is None or link.used_at is not None:
            return False
        self._links[link_id] = replace(link, used_at=at)
        return True

    async def remove_of(self, user: UserId) -> None:
        self._links = {k: link for k, link in self._links.items() if link.user != user}

    async def remove_expired(self, *, before: float) -> int:
        kept = {k: link for k, link in self._links.items() if link.expires_at >= before}
        removed = len(self._links) - len(kept)
        self._links = kept
        return removed
