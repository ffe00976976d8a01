"""What a session needs of its stores to go on after a restart: part of the stores' contract.

Subclass `RecoveryContract` beside `StoreContract`, with the same fixture.
"""

# ruff: noqa: PLR2004 - these are tests: a number says more where it stands

import msgspec

from orchestrator.protocol.ids import SessionId
from orchestrator.sessions.ports import LogEntry
from orchestrator.testing.store_contract import RECORD, Stores

replace = msgspec.structs.replace


def entry(seq: int, tag: str, *, sandbox_n: int | None = None) -> LogEntry:
    return LogEntry(
        seq=seq,
        at="2026-01-01T00:00:00.000Z",
        tag=tag,
        body=b'{"seq":%d}' % seq,
        sandbox_n=sandbox_n,
    )


class RecoveryContract:
    async def test_events_are_found_by_tag(self, stores: Stores) -> None:
        """Of a long log, the bodies of the events with one of the tags come in order."""
        await stores.sessions.add(RECORD)
        tags = ("prompt_accepted", "text_written", "turn_started")
        entries = [entry(seq, tags[seq % 3]) for seq in range(1, 1201)]
        await stores.log.append(RECORD.id, entries)
        wanted = ["turn_started", "prompt_accepted"]
        pieces = [piece async for piece in stores.log.of_tags(RECORD.id, wanted)]
        bodies = [body for piece in pieces for body in piece]
        assert bodies == [b'{"seq":%d}' % seq for seq in range(1, 1201) if seq % 3 != 1]
        assert max(len(piece) for piece in pieces) < 800
        other = [p async for p in stores.log.of_tags(SessionId("nobody"), wanted) if p]
        assert other == []

    async def test_last_number_is_of_the_last_sandbox(self, stores: Stores) -> None:
        """The last number is the highest since a sandbox was assigned: each counts anew."""
        await stores.sessions.add(RECORD)
        assert await stores.log.last_sandbox_n(RECORD.id) == 0
        await stores.log.append(RECORD.id, [entry(1, "sandbox_assigned")])
        assert await stores.log.last_sandbox_n(RECORD.id) == 0
        said = [entry(seq, "text_written", sandbox_n=seq * 10) for seq in (2, 3)]
        await stores.log.append(RECORD.id, [*said, entry(4, "prompt_accepted")])
        assert await stores.log.last_sandbox_n(RECORD.id) == 30
        await stores.log.append(RECORD.id, [entry(5, "sandbox_assigned")])
        assert await stores.log.last_sandbox_n(RECORD.id) == 0
        await stores.log.append(RECORD.id, [entry(6, "text_written", sandbox_n=2)])
        assert await stores.log.last_sandbox_n(RECORD.id) == 2

    async def test_size_is_of_what_sandboxes_said(self, stores: Stores) -> None:
        """In bytes, of all sandboxes together; what people did does not count."""
        await stores.sessions.add(RECORD)
        assert await stores.log.said_bytes(RECORD.id) == 0
        said = [entry(seq, "text_written", sandbox_n=seq) for seq in (2, 4)]
        said.append(replace(entry(5, "text_written", sandbox_n=1), body='{"text":"é"}'.encode()))
        did = [entry(1, "sandbox_assigned"), entry(3, "prompt_accepted")]
        await stores.log.append(RECORD.id, sorted([*said, *did], key=lambda one: one.seq))
        assert await stores.log.said_bytes(RECORD.id) == sum(len(one.body) for one in said)

    async def test_long_hibernated_are_found(self, stores: Stores) -> None:
        """Those that hibernate since before a moment, oldest first, and only so many."""
        for number in range(5):
            record = replace(
                RECORD,
                id=SessionId(f"s{number}"),
                state="idle" if number == 1 else "hibernated",
                updated_at=f"2026-01-0{9 - number}T00:00:00.000Z",
                idempotency_key=None,
            )
            await stores.sessions.add(record)
        assert await stores.sessions.hibernated() == 4
        found = await stores.sessions.hibernated_before("2026-01-09T00:00:00.000Z")
        assert [record.id for record in found] == ["s4", "s3", "s2"]
        found = await stores.sessions.hibernated_before("2027-01-01T00:00:00.000Z", limit=2)
        assert [record.id for record in found] == ["s4", "s3"]
