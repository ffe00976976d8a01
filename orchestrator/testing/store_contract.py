"""What every store promises, whatever it stands on. One suite; each implementation runs it whole.

Subclass `StoreContract` in a test module with a fixture `stores` that yields fresh `Stores`.
"""

# ruff: noqa: PLR2004 - these are tests: a number says more where it stands

import asyncio

import msgspec
import pytest

from orchestrator.accounts.ports import (
    RefreshToken,
    RefreshTokenStore,
    SignIn,
    SignInId,
    SignInLink,
    SignInLinkStore,
    User,
    UserStore,
)
from orchestrator.protocol.chat import Ending
from orchestrator.protocol.event_parts import Usage
from orchestrator.protocol.ids import ClientId, ProfileName, SandboxId, SessionId, UserId
from orchestrator.sessions.errors import StorageFailed
from orchestrator.sessions.ports import EventLog, LogEntry, SessionRecord, SessionStore

replace = msgspec.structs.replace

RECORD = SessionRecord(
    id=SessionId("s1"),
    owner=UserId("anna"),
    title="Fix the build ✓",
    profile=ProfileName("default"),
    state="running",
    created_at="2026-01-01T00:00:00.000Z",
    updated_at="2026-01-01T00:00:01.000Z",
    model="claude-x",
    permission_mode="plan",
    usage=Usage(input_tokens=1, output_tokens=2, cache_read_tokens=3, cache_write_tokens=4),
    cost_usd=0.125,
    context_used=5,
    context_window=1 << 40,
    sandbox_id=SandboxId("box"),
    ending=Ending(tag="t", sentence="Why."),
    idempotency_key="key",
    agent_session_id="agent-1",
    branch=3,
    deaths=2,
    checkpoint_id="c1",
    checkpoint_at="2026-01-01T00:00:00.500Z",
)
USER = User(id=UserId("u1"), name="anna", role="admin", created_at=1.5)
SIGN_IN = SignIn(
    id=SignInId("f1"), user=USER.id, device="Firefox", created_at=1.0, expires_at=100.0
)
TOKEN = RefreshToken(
    id="t1", secret_hash=bytes(range(32)), sign_in=SIGN_IN.id, issued_at=1.0, expires_at=50.0
)
LINK = SignInLink(id="l1", secret_hash=bytes(32), user=USER.id, created_at=1.0, expires_at=100.0)


class Stores(msgspec.Struct, frozen=True, kw_only=True):
    sessions: SessionStore
    log: EventLog
    users: UserStore
    tokens: RefreshTokenStore
    links: SignInLinkStore


def entry(seq: int, *, client_id: str | None = None, body: bytes | None = None) -> LogEntry:
    return LogEntry(
        seq=seq,
        at="2026-01-01T00:00:00.000Z",
        tag="text_written",
        body=body or b'{"seq":%d}' % seq,
        client_id=ClientId(client_id) if client_id else None,
        sandbox_n=seq,
    )


class SessionStoreContract:
    async def test_record_comes_back_as_it_was(self, stores: Stores) -> None:
        """Every field of a record survives, the largest and the absent ones too."""
        bare = replace(
            RECORD, id=SessionId("s2"), sandbox_id=None, ending=None, idempotency_key=None
        )
        for record in (RECORD, bare):
            await stores.sessions.add(record)
            assert await stores.sessions.get(record.id) == record
        assert await stores.sessions.get(SessionId("other")) is None

    async def test_update_replaces_the_record(self, stores: Stores) -> None:
        """An update replaces the whole record; one of a session that is gone does nothing."""
        await stores.sessions.add(RECORD)
        changed = replace(RECORD, state="ended", title="New", ending=None, cost_usd=9.5)
        await stores.sessions.update(changed)
        await stores.sessions.update(replace(RECORD, id=SessionId("gone")))
        assert await stores.sessions.get(RECORD.id) == changed
        assert await stores.sessions.get(SessionId("gone")) is None

    async def test_id_and_key_are_unique(self, stores: Stores) -> None:
        """Neither an id nor an owner's idempotency key can be taken twice."""
        await stores.sessions.add(RECORD)
        with pytest.raises(StorageFailed):
            await stores.sessions.add(replace(RECORD, idempotency_key="other"))
        with pytest.raises(StorageFailed):
            await stores.sessions.add(replace(RECORD, id=SessionId("s2")))
        other = replace(RECORD, id=SessionId("s3"), owner=UserId("bert"))
        await stores.sessions.add(other)
        assert await stores.sessions.by_idempotency_key(UserId("bert"), "key") == other
        assert await stores.sessions.by_idempotency_key(UserId("bert"), "none") is None

    async def test_pages_are_newest_first(self, stores: Stores) -> None:
        """Pages hold one owner's sessions, newest first, without repeats where times are equal."""
        for number in range(7):
            made = f"2026-01-01T00:00:0{number // 2}.000Z"
            record = replace(
                RECORD, id=SessionId(f"s{number}"), created_at=made, idempotency_key=None
            )
            await stores.sessions.add(record)
        await stores.sessions.add(
            replace(RECORD, id=SessionId("x"), owner=UserId("bert"), idempotency_key=None)
        )
        seen: list[str] = []
        before: tuple[str, SessionId] | None = None
        while page := await stores.sessions.page(RECORD.owner, limit=2, before=before):
            seen += [record.id for record in page]
            before = (page[-1].created_at, page[-1].id)
        assert seen == ["s6", "s5", "s4", "s3", "s2", "s1", "s0"]

    async def test_unfinished_are_those_not_over(self, stores: Stores) -> None:
        """What an earlier run left behind is every session that may still have a sandbox."""
        states = (
            *("waiting", "waking", "idle", "running", "asking", "ending"),
            *("hibernated", "ended", "failed"),
        )
        for state in states:
            record = replace(RECORD, id=SessionId(state), state=state, idempotency_key=None)
            await stores.sessions.add(record)
        unfinished = {record.id for record in await stores.sessions.unfinished()}
        assert unfinished == set(states) - {"ended", "failed", "hibernated"}

    async def test_removed_session_takes_its_events_along(self, stores: Stores) -> None:
        """Removing a session removes its events; removing it again is no error."""
        await stores.sessions.add(RECORD)
        await stores.log.append(RECORD.id, [entry(1)])
        await stores.sessions.remove(RECORD.id)
        await stores.sessions.remove(RECORD.id)
        assert await stores.sessions.get(RECORD.id) is None
        assert await stores.log.last_seq(RECORD.id) == 0


class EventLogContract:
    async def test_events_come_back_in_order(self, stores: Stores) -> None:
        """Events are read ascending by seq, with their bytes and times as they were written."""
        await stores.sessions.add(RECORD)
        odd = '{"text":"\\u0000 é \U0001f600"}'.encode()
        await stores.log.append(RECORD.id, [entry(1), entry(3, body=odd)])
        await stores.log.append(RECORD.id, [entry(7)])
        events = await stores.log.read(RECORD.id)
        assert [event.seq for event in events] == [1, 3, 7]
        assert bytes(events[1].event) == odd
        assert events[0].at == "2026-01-01T00:00:00.000Z"
        assert await stores.log.last_seq(RECORD.id) == 7

    async def test_reading_can_be_bounded(self, stores: Stores) -> None:
        """`after` reads on from below, `before` the last ones below it, both ascending."""
        await stores.sessions.add(RECORD)
        await stores.log.append(RECORD.id, [entry(seq) for seq in range(1, 11)])

        async def seqs(after: int = 0, before: int | None = None, limit: int = 500) -> list[int]:
            events = await stores.log.read(RECORD.id, after=after, before=before, limit=limit)
            return [event.seq for event in events]

        assert await seqs(after=7) == [8, 9, 10]
        assert await seqs(after=2, limit=3) == [3, 4, 5]
        assert await seqs(before=6, limit=3) == [3, 4, 5]
        assert await seqs(after=3, before=6, limit=10) == [4, 5]
        assert await seqs(before=1) == []
        assert await seqs(before=100, limit=2) == [9, 10]

    async def test_append_is_all_or_nothing(self, stores: Stores) -> None:
        """A seq or a client id that is taken refuses the whole batch."""
        await stores.sessions.add(RECORD)
        await stores.log.append(RECORD.id, [entry(1, client_id="c1")])
        with pytest.raises(StorageFailed):
            await stores.log.append(RECORD.id, [entry(2), entry(1)])
        with pytest.raises(StorageFailed):
            await stores.log.append(RECORD.id, [entry(3), entry(4, client_id="c1")])
        assert await stores.log.last_seq(RECORD.id) == 1

    async def test_append_may_be_repeated(self, stores: Stores) -> None:
        """The very same once more is no other; something else under its number is refused."""
        await stores.sessions.add(RECORD)
        both = [entry(1, client_id="c1"), entry(2)]
        await stores.log.append(RECORD.id, both)
        await stores.log.append(RECORD.id, both)
        with pytest.raises(StorageFailed):
            await stores.log.append(RECORD.id, [entry(1, client_id="c1"), entry(2, body=b"{}")])
        assert [one.seq for one in await stores.log.read(RECORD.id)] == [1, 2]

    async def test_large_append_is_all_or_nothing(self, stores: Stores) -> None:
        """Also a batch of thousands is appended whole or not at all."""
        await stores.sessions.add(RECORD)
        await stores.log.append(RECORD.id, [entry(seq) for seq in range(1, 2501)])
        batch = [*(entry(seq) for seq in range(3000, 5500)), entry(2500)]
        with pytest.raises(StorageFailed):
            await stores.log.append(RECORD.id, batch)
        assert await stores.log.last_seq(RECORD.id) == 2500
        assert len(await stores.log.read(RECORD.id, limit=10_000)) == 2500

    async def test_prompts_are_known_per_session(self, stores: Stores) -> None:
        """A client id is known in its own session alone, and may be used in another."""
        other = replace(RECORD, id=SessionId("s2"), idempotency_key=None)
        for record in (RECORD, other):
            await stores.sessions.add(record)
        await stores.log.append(RECORD.id, [entry(1, client_id="c1")])
        assert await stores.log.has_prompt(RECORD.id, ClientId("c1"))
        assert not await stores.log.has_prompt(other.id, ClientId("c1"))
        await stores.log.append(other.id, [entry(1, client_id="c1")])

    async def test_no_session_no_events(self, stores: Stores) -> None:
        """Events of a session that does not exist are refused."""
        with pytest.raises(StorageFailed):
            await stores.log.append(SessionId("nobody"), [entry(1)])

    async def test_twenty_writers_at_once(self, stores: Stores) -> None:
        """Twenty sessions that write and read at once never meet a locked database."""

        async def one(number: int) -> None:
            record = replace(RECORD, id=SessionId(f"s{number}"), idempotency_key=None)
            await stores.sessions.add(record)
            for seq in range(1, 21):
                await stores.log.append(record.id, [entry(seq)])
                await stores.sessions.update(replace(record, title=f"title {seq}"))
            assert len(await stores.log.read(record.id)) == 20

        await asyncio.gather(*(one(number) for number in range(20)))

    async def test_cancelled_writers_leave_whole_writes(self, stores: Stores) -> None:
        """Writers that are cancelled at any moment leave whole batches and a working store."""
        await stores.sessions.add(RECORD)
        for number in range(30):
            first = number * 1500 + 1
            batch = [entry(seq) for seq in range(first, first + (1500 if number % 5 == 0 else 3))]
            task = asyncio.create_task(stores.log.append(RECORD.id, batch))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        await stores.log.append(RECORD.id, [entry(1_000_000)])
        seqs = [event.seq for event in await stores.log.read(RECORD.id, limit=100_000)]
        for number in range(30):
            size = 1500 if number % 5 == 0 else 3
            first = number * 1500 + 1
            assert sum(first <= seq < first + 1500 for seq in seqs) in {0, size}


class AccountStoresContract:
    async def test_user_comes_back_as_they_were(self, stores: Stores) -> None:
        """Every field of a user survives, found by id and by name."""
        changed = {"password_hash": "$argon2id$x", "disabled": True, "last_sign_in_at": 3.5}
        whole = replace(USER, **changed)
        assert await stores.users.add(whole)
        assert await stores.users.get(USER.id) == whole
        assert await stores.users.by_name("anna") == whole
        assert await stores.users.by_name("Anna") is None
        assert await stores.users.get(UserId("nobody")) is None

    async def test_name_and_id_are_unique(self, stores: Stores) -> None:
        """Of many who take one name at once, one gets it."""
        taken = await asyncio.gather(
            *(stores.users.add(replace(USER, id=UserId(f"u{n}"))) for n in range(5))
        )
        assert sum(taken) == 1
        [first] = await stores.users.page(limit=10, after=None)
        assert not await stores.users.add(replace(first, name="bert"))

    async def test_users_are_listed_by_name(self, stores: Stores) -> None:
        """The list goes by name, in pages."""
        for name in ("carl", "anna", "bert"):
            await stores.users.add(replace(USER, id=UserId(name), name=name))
        names = [user.name for user in await stores.users.page(limit=2, after=None)]
        assert names == ["anna", "bert"]
        assert [user.name for user in await stores.users.page(limit=2, after="bert")] == ["carl"]

    async def test_replace_minds_the_version(self, stores: Stores) -> None:
        """Of two who change one version, one succeeds; the loser changes nothing."""
        await stores.users.add(USER)
        one, two = (replace(USER, role=role, version=2) for role in ("user", "operator"))
        results = await asyncio.gather(
            stores.users.replace(one, expected_version=1),
            stores.users.replace(two, expected_version=1),
        )
        assert sorted(results) == [False, True]
        assert await stores.users.get(USER.id) == (one if results[0] else two)
        assert not await stores.users.replace(
            replace(USER, id=UserId("nobody")), expected_version=1
        )

    async def test_sign_in_is_noted(self, stores: Stores) -> None:
        """Noting a sign-in changes its time alone."""
        await stores.users.add(USER)
        await stores.users.note_sign_in(USER.id, 7.25)
        assert await stores.users.get(USER.id) == replace(USER, last_sign_in_at=7.25)

    async def test_enabled_admins_are_counted(self, stores: Stores) -> None:
        """Disabled administrators and others do not count."""
        users = [
            USER,
            replace(USER, id=UserId("u2"), name="b", disabled=True),
            replace(USER, id=UserId("u3"), name="c", role="user"),
        ]
        for user in users:
            await stores.users.add(user)
        assert await stores.users.enabled_admins() == 1

    async def test_token_is_rotated_once(self, stores: Stores) -> None:
        """Of any number of uses of one refresh token at once, one gets the successor."""
        await self._begin(stores)
        successors = [
            replace(TOKEN, id=f"t1-{n}", parent="t1", secret_hash=bytes([n] * 32)) for n in range(6)
        ]
        results = await asyncio.gather(
            *(stores.tokens.rotate("t1", used_at=2.0, successor=s) for s in successors)
        )
        assert sum(results) == 1
        winner = successors[results.index(True)]
        assert await stores.tokens.token(winner.id) == winner
        used = await stores.tokens.token("t1")
        assert used == replace(TOKEN, used_at=2.0, successor=winner.id)
        losers = [await stores.tokens.token(s.id) for s in successors if s is not winner]
        assert losers == [None] * 5

    async def test_revoked_sign_in_rotates_nothing(self, stores: Stores) -> None:
        """After a revocation no token of the sign-in is rotated, and the first reason stays."""
        await self._begin(stores)
        assert await stores.tokens.revoke(SIGN_IN.id, reason="logout")
        assert not await stores.tokens.revoke(SIGN_IN.id, reason="reuse")
        assert await stores.tokens.sign_in(SIGN_IN.id) == replace(SIGN_IN, revoked="logout")
        successor = replace(TOKEN, id="t2")
        assert not await stores.tokens.rotate("t1", used_at=2.0, successor=successor)
        assert await stores.tokens.token("t2") is None
        assert not await stores.tokens.rotate("none", used_at=2.0, successor=successor)
        assert not await stores.tokens.revoke(SignInId("none"), reason="logout")

    async def test_all_sign_ins_of_a_user_are_revoked(self, stores: Stores) -> None:
        """Revoking all tells which ones were; those of others stay."""
        await self._begin(stores)
        second = replace(SIGN_IN, id=SignInId("f2"))
        await stores.tokens.begin(second, replace(TOKEN, id="t2", sign_in=second.id))
        bert = replace(USER, id=UserId("u2"), name="bert")
        await stores.users.add(bert)
        other = replace(SIGN_IN, id=SignInId("f3"), user=bert.id)
        await stores.tokens.begin(other, replace(TOKEN, id="t3", sign_in=other.id))
        await stores.tokens.revoke(second.id, reason="logout")
        assert await stores.tokens.revoke_all(USER.id, reason="disabled") == [SIGN_IN.id]
        assert await stores.tokens.sign_in(other.id) == other

    async def test_expired_sign_ins_are_removed(self, stores: Stores) -> None:
        """Expired sign-ins go with their tokens; the others stay."""
        await self._begin(stores)
        late = replace(SIGN_IN, id=SignInId("f2"), expires_at=200.0)
        await stores.tokens.begin(late, replace(TOKEN, id="t2", sign_in=late.id))
        assert await stores.tokens.remove_expired(before=150.0) == 1
        assert await stores.tokens.token("t1") is None
        assert await stores.tokens.sign_in(late.id) == late

    async def test_link_is_used_once(self, stores: Stores) -> None:
        """Of any number of uses of one link at once, one counts."""
        await stores.users.add(USER)
        await stores.links.add(LINK)
        assert await stores.links.get("l1") == LINK
        results = await asyncio.gather(*(stores.links.use("l1", at=2.0) for _ in range(5)))
        assert sum(results) == 1
        assert await stores.links.get("l1") == replace(LINK, used_at=2.0)
        assert not await stores.links.use("none", at=2.0)

    async def test_links_are_removed(self, stores: Stores) -> None:
        """Links go with their time, or all of a user's at once."""
        await stores.users.add(USER)
        for number, expires_at in enumerate((10.0, 20.0, 30.0)):
            await stores.links.add(replace(LINK, id=f"l{number}", expires_at=expires_at))
        assert await stores.links.remove_expired(before=20.0) == 1
        assert await stores.links.get("l1") is not None
        await stores.links.remove_of(USER.id)
        assert await stores.links.get("l1") is None
        assert await stores.links.get("l2") is None

    async def _begin(self, stores: Stores) -> None:
        await stores.users.add(USER)
        await stores.tokens.begin(SIGN_IN, TOKEN)


class StoreContract(SessionStoreContract, EventLogContract, AccountStoresContract):
    """All of it."""
