"""What every transcript store promises, whatever it stands on.

Subclass `TranscriptStoreContract` in a test module with a fixture `transcripts` that yields a fresh
store, in which the sessions `s1` and `s2` exist. The SDK's own suite runs above it, in the shim.
"""

# ruff: noqa: PLR2004 - these are tests: a number says more where it stands

import asyncio
import itertools
from typing import Any

from orchestrator.protocol.ids import SandboxId, SessionId
from orchestrator.protocol.transcripts import TranscriptKey
from orchestrator.sessions.ports import TranscriptStore

ONE, TWO = SessionId("s1"), SessionId("s2")
BOX = SandboxId("box")
MAIN = TranscriptKey(project="-workspace", agent_session="a1")
OTHER = TranscriptKey(project="-workspace", agent_session="a2")
SUB = TranscriptKey(project="-workspace", agent_session="a1", subpath="subagents/agent-7")
NUMBERS = itertools.count(1)


async def append(
    store: TranscriptStore,
    lines: bytes,
    *,
    session: SessionId = ONE,
    key: TranscriptKey = MAIN,
    branch: int = 0,
    n: int | None = None,
    **more: Any,
) -> int:
    number = next(NUMBERS) if n is None else n
    await store.append(session, key, lines, branch=branch, sandbox=BOX, n=number, **more)
    return number


async def loaded(
    store: TranscriptStore,
    key: TranscriptKey = MAIN,
    *,
    session: SessionId = ONE,
    branch: int = 0,
) -> bytes:
    return b"".join([piece async for piece in store.load(session, key, branch=branch)])


class TranscriptStoreContract:
    async def test_lines_come_back_in_order(self, transcripts: TranscriptStore) -> None:
        """What was appended comes back byte by byte, in order, each key for itself."""
        odd = '{"text":"\\u0000 é \U0001f600 \u2028"}\n'.encode()
        await append(transcripts, b'{"a":1}\n{"a":2}\n')
        await append(transcripts, b'{"b":1}\n', key=OTHER)
        await append(transcripts, odd)
        assert await loaded(transcripts) == b'{"a":1}\n{"a":2}\n' + odd
        assert await loaded(transcripts, OTHER) == b'{"b":1}\n'

    async def test_nothing_is_nothing(self, transcripts: TranscriptStore) -> None:
        """Under an unknown key, in another session or branch there is nothing at all."""
        await append(transcripts, b"{}\n")
        assert await loaded(transcripts, OTHER) == b""
        assert await loaded(transcripts, session=TWO) == b""
        assert await loaded(transcripts, branch=1) == b""

    async def test_long_transcript_is_read_in_whole_lines(
        self, transcripts: TranscriptStore
    ) -> None:
        """However long it is, each piece consists of whole lines."""
        line = b'{"text":"' + b"x" * 10_000 + b'"}\n'
        for _ in range(20):
            await append(transcripts, line * 20)
        pieces = [piece async for piece in transcripts.load(ONE, MAIN, branch=0)]
        assert len(pieces) > 1
        assert all(piece.endswith(b"\n") for piece in pieces)
        assert b"".join(pieces) == line * 400

    async def test_batch_is_taken_once(self, transcripts: TranscriptStore) -> None:
        """A batch that a sandbox sends again is not added again; another sandbox's is its own."""
        await append(transcripts, b"1\n", n=7001)
        await append(transcripts, b"1\n", n=7001)
        await transcripts.append(ONE, MAIN, b"2\n", branch=0, sandbox=SandboxId("b2"), n=7001)
        assert await loaded(transcripts) == b"1\n2\n"
        assert await transcripts.last_n(ONE, BOX) == 7001
        assert await transcripts.last_n(ONE, SandboxId("none")) == 0
        assert await transcripts.last_n(TWO, BOX) == 0

    async def test_replaced_is_gone(self, transcripts: TranscriptStore) -> None:
        """A batch that replaces takes the place of its key's lines alone."""
        await append(transcripts, b"old\n")
        await append(transcripts, b"sub\n", key=SUB)
        await append(transcripts, b"new\n", replaces=True)
        await append(transcripts, b"newer\n")
        assert await loaded(transcripts) == b"new\nnewer\n"
        assert await loaded(transcripts, SUB) == b"sub\n"

    async def test_replaced_by_nothing_is_nothing(self, transcripts: TranscriptStore) -> None:
        """A batch without lines can replace, too; and one can bring a summary alone."""
        await append(transcripts, b"old\n")
        await append(transcripts, b"", replaces=True)
        assert await loaded(transcripts) == b""
        await append(transcripts, b"1\n")
        await append(transcripts, b"", summary=b'{"s":1}')
        assert await loaded(transcripts) == b"1\n"
        [line] = await transcripts.agent_sessions(ONE, "-workspace", branch=0)
        assert line.summary == b'{"s":1}'

    async def test_agent_sessions_are_listed(self, transcripts: TranscriptStore) -> None:
        """Each agent session of a project once, with its latest summary and time; a subagent is
        none of its own."""
        await append(transcripts, b"1\n", summary=b'{"s":1}')
        await append(transcripts, b"2\n", summary=b'{"s":2}')
        await append(transcripts, b"3\n")
        await append(transcripts, b"4\n", key=OTHER)
        await append(transcripts, b"5\n", key=SUB)
        listed = await transcripts.agent_sessions(ONE, "-workspace", branch=0)
        assert {line.agent_session: line.summary for line in listed} == {
            "a1": b'{"s":2}',
            "a2": None,
        }
        assert all(line.mtime > 0 for line in listed)
        assert await transcripts.agent_sessions(ONE, "-other", branch=0) == []
        assert await transcripts.agent_sessions(TWO, "-workspace", branch=0) == []

    async def test_subpaths_are_listed(self, transcripts: TranscriptStore) -> None:
        """The subpaths of a main key, each once, and those of no other."""
        await append(transcripts, b"1\n")
        await append(transcripts, b"2\n", key=SUB)
        await append(transcripts, b"3\n", key=SUB)
        assert await transcripts.subpaths(ONE, MAIN, branch=0) == [SUB.subpath]
        assert await transcripts.subpaths(ONE, OTHER, branch=0) == []

    async def test_deleted_is_gone(self, transcripts: TranscriptStore) -> None:
        """Deleting a main key takes its subpaths along, deleting a subpath itself alone."""
        for key in (MAIN, SUB, OTHER):
            await append(transcripts, b"1\n", key=key)
        await transcripts.delete(ONE, SUB, branch=0)
        assert await loaded(transcripts, SUB) == b""
        assert await loaded(transcripts) == b"1\n"
        await append(transcripts, b"2\n", key=SUB)
        await transcripts.delete(ONE, MAIN, branch=0)
        await transcripts.delete(ONE, MAIN, branch=0)
        assert await loaded(transcripts) == await loaded(transcripts, SUB) == b""
        assert await transcripts.subpaths(ONE, MAIN, branch=0) == []
        assert await loaded(transcripts, OTHER) == b"1\n"
        listed = await transcripts.agent_sessions(ONE, "-workspace", branch=0)
        assert [line.agent_session for line in listed] == ["a2"]

    async def test_branch_holds_what_was_there_at_a_position(
        self, transcripts: TranscriptStore
    ) -> None:
        """A branch begins with what the other held at that position; then each goes its own way."""
        await append(transcripts, b"1\n", summary=b'{"s":1}')
        await append(transcripts, b"sub\n", key=SUB)
        position = await transcripts.position(ONE, branch=0)
        await append(transcripts, b"2\n")
        await transcripts.fork(ONE, branch=0, position=position, into=1)
        assert await transcripts.position(ONE, branch=1) >= position
        await append(transcripts, b"3\n", branch=1)
        assert await loaded(transcripts, branch=0) == b"1\n2\n"
        assert await loaded(transcripts, branch=1) == b"1\n3\n"
        assert await loaded(transcripts, SUB, branch=1) == b"sub\n"
        [line] = await transcripts.agent_sessions(ONE, "-workspace", branch=1)
        assert line.summary == b'{"s":1}'

    async def test_branch_of_a_branch(self, transcripts: TranscriptStore) -> None:
        """One can go back more than once, and forward again to what an older branch held."""
        await append(transcripts, b"1\n")
        first = await transcripts.position(ONE, branch=0)
        await append(transcripts, b"2\n")
        second = await transcripts.position(ONE, branch=0)
        await transcripts.fork(ONE, branch=0, position=first, into=1)
        await append(transcripts, b"3\n", branch=1)
        third = await transcripts.position(ONE, branch=1)
        await append(transcripts, b"4\n", branch=1)
        await transcripts.fork(ONE, branch=1, position=third, into=2)
        await transcripts.fork(ONE, branch=0, position=second, into=3)
        assert await loaded(transcripts, branch=2) == b"1\n3\n"
        assert await loaded(transcripts, branch=3) == b"1\n2\n"
        assert await loaded(transcripts, branch=1) == b"1\n3\n4\n"

    async def test_going_back_behind_a_replacement(self, transcripts: TranscriptStore) -> None:
        """A branch from before a replacement holds what was there before it."""
        await append(transcripts, b"old\n")
        position = await transcripts.position(ONE, branch=0)
        await append(transcripts, b"new\n", replaces=True)
        await transcripts.fork(ONE, branch=0, position=position, into=1)
        assert await loaded(transcripts, branch=1) == b"old\n"
        assert await loaded(transcripts, branch=0) == b"new\n"

    async def test_branching_can_be_tried_again(self, transcripts: TranscriptStore) -> None:
        """A branch that is made again is as if it were made for the first time."""
        await append(transcripts, b"1\n")
        position = await transcripts.position(ONE, branch=0)
        for _ in range(2):
            await transcripts.fork(ONE, branch=0, position=position, into=1)
        assert await loaded(transcripts, branch=1) == b"1\n"
        empty = await transcripts.position(TWO, branch=0)
        await transcripts.fork(TWO, branch=0, position=empty, into=1)
        assert await loaded(transcripts, session=TWO, branch=1) == b""

    async def test_position_moves_with_what_is_appended(self, transcripts: TranscriptStore) -> None:
        """The position grows with each batch, and with nothing else."""
        before = await transcripts.position(ONE, branch=0)
        number = await append(transcripts, b"1\n")
        after = await transcripts.position(ONE, branch=0)
        assert after > before
        await append(transcripts, b"1\n", n=number)
        assert await loaded(transcripts) == b"1\n"
        assert await transcripts.position(ONE, branch=0) == after

    async def test_conversation_is_as_long_as_what_is_loaded(
        self, transcripts: TranscriptStore
    ) -> None:
        """Of one agent session in one branch, with what is below it, and without what was replaced
        or deleted."""
        await append(transcripts, b"x" * 99 + b"\n")
        await append(transcripts, b"y" * 49 + b"\n", key=SUB, summary=b'{"a":1}')
        await append(transcripts, b"z" * 9 + b"\n", key=OTHER)
        position = await transcripts.position(ONE, branch=0)
        assert await transcripts.conversation_bytes(ONE, "a1", branch=0) == 150
        await append(transcripts, b"w" * 19 + b"\n", replaces=True)
        assert await transcripts.conversation_bytes(ONE, "a1", branch=0) == 70
        await transcripts.fork(ONE, branch=0, position=position, into=1)
        assert await transcripts.conversation_bytes(ONE, "a1", branch=1) == 150
        await transcripts.delete(ONE, MAIN, branch=0)
        assert await transcripts.conversation_bytes(ONE, "a1", branch=0) == 0
        assert await transcripts.conversation_bytes(TWO, "a1", branch=0) == 0

    async def test_size_is_of_the_session(self, transcripts: TranscriptStore) -> None:
        """The size is at least that of all that can be loaded, in this session alone."""
        await append(transcripts, b"x" * 999 + b"\n")
        await append(transcripts, b"y" * 499 + b"\n", key=SUB)
        assert await transcripts.size(ONE) >= 1500
        assert await transcripts.size(TWO) == 0

    async def test_many_writers_at_once(self, transcripts: TranscriptStore) -> None:
        """Batches of several keys that are appended at once are all there, each whole."""

        async def one(number: int) -> None:
            key = TranscriptKey(project="-workspace", agent_session=f"w{number}")
            for at in range(10):
                await append(transcripts, b"%d\n" % at * 3, key=key)
            assert await loaded(transcripts, key) == b"".join(b"%d\n" % at * 3 for at in range(10))

        await asyncio.gather(*(one(number) for number in range(10)))
