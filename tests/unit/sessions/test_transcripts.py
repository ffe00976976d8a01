"""A session's transcript: put together, stored once, asked for, against hostile words too."""

import asyncio
import contextlib
import itertools
import json
import time
import tracemalloc
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.protocol.chat import Ending
from orchestrator.protocol.commands import SyncTranscript
from orchestrator.protocol.ids import SandboxId, SessionId
from orchestrator.protocol.sandbox_events import sandbox_word_codec
from orchestrator.protocol.transcripts import (
    TranscriptAsked,
    TranscriptKey,
    TranscriptPiece,
    TranscriptReplaced,
    TranscriptSynced,
)
from orchestrator.sessions.errors import StorageFailed
from orchestrator.sessions.kept.transcript_batches import MAX_OPEN_KEYS, TranscriptBatches
from orchestrator.sessions.kept.transcripts import ROW_BYTES, Transcripts
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.ports import ReceivedEvent
from orchestrator.sessions.stays.misbehaviour import SandboxMisbehaved
from orchestrator.testing.fake_sandbox import FakeSandbox
from orchestrator.testing.memory_transcripts import MemoryTranscriptStore

ONE = SessionId("s1")
MAIN = TranscriptKey(project="-workspace", agent_session="a1")
SUB = TranscriptKey(project="-workspace", agent_session="a1", subpath="subagents/agent-1")
LIMITS = SessionLimits(storage_retries=2, storage_retry_seconds=0.001)


def piece(text: str, *, key: TranscriptKey = MAIN, more: bool = False, **rest) -> TranscriptPiece:
    return TranscriptPiece(key=key, text=text, more=more, **rest)


class Desk:
    """A `Transcripts` with a sandbox and a store, and somebody who reads."""

    def __init__(self, store=None, *, sandbox=None, held=0, branch=0, limits=LIMITS):
        self.store = store or MemoryTranscriptStore()
        self.sandbox = sandbox or FakeSandbox(SandboxId("box"))
        self.transcripts = Transcripts(
            ONE, store=self.store, sandbox=self.sandbox, branch=branch, held=held, limits=limits
        )
        self.numbers = itertools.count(1)

    async def say(self, word, n: int | None = None) -> int:
        """As it comes from the link."""
        number = next(self.numbers) if n is None else n
        if isinstance(word, TranscriptAsked):
            self.sandbox.transcript.expect(word.ask_id)
        body = sandbox_word_codec.encode(word).encode()
        event = sandbox_word_codec.decode(body)
        await self.transcripts.take(ReceivedEvent(n=number, event=event, body=body))
        return number

    async def ask(self, what: str, key: TranscriptKey = MAIN, ask_id: str = "a1") -> bytes | None:
        await self.say(TranscriptAsked(ask_id=ask_id, what=what, key=key))
        async with asyncio.timeout(5):
            while ask_id not in self.sandbox.transcript.answers:
                await asyncio.sleep(0)
        return self.sandbox.transcript.answers[ask_id]

    async def loaded(self, key: TranscriptKey = MAIN, branch: int = 0) -> bytes:
        return b"".join([p async for p in self.store.load(ONE, key, branch=branch)])


@pytest.fixture
async def desk():
    made = Desk()
    yield made
    await made.transcripts.close()


async def test_small_pieces_take_no_more_than_they_say():
    """A batch in a hundred thousand pieces is held in little more memory than its text."""
    batches = TranscriptBatches()
    tracemalloc.start()
    try:
        for n in range(1, 100_001):
            batches.add(piece("ab", more=True), n)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1_000_000


async def test_sandbox_that_asks_and_does_not_listen(desk, caplog):
    """It is told off a few times in the operator's log, and not without end; nor does what nobody
    asked it for count."""
    desk.sandbox.lose(Ending(tag="gone", sentence="Gone."))
    for number in range(100):
        await desk.say(TranscriptAsked(ask_id=f"{number:x}", what="load", key=MAIN))
        await desk.say(TranscriptSynced(sync_id=f"{number:x}", repaired=True))
    await asyncio.gather(*desk.transcripts._answers)
    assert len(caplog.records) == 20
    assert desk.transcripts.repairs == 0


async def test_questions_are_paced():
    """A sandbox that asks without end is read more slowly: each question is a read of the
    database."""
    desk = Desk(limits=SessionLimits(transcript_batches_per_second=100, transcript_burst_seconds=0))
    began = time.monotonic()
    for number in range(20):
        await desk.ask("load", ask_id=f"{number:x}")
    assert time.monotonic() - began > 0.15
    await desk.transcripts.close()


async def test_pieces_make_a_batch(desk):
    """A batch is stored when its last piece is there, whole, and not before."""
    await desk.say(piece('{"text":"é', more=True))
    assert await desk.loaded() == b""
    await desk.say(piece("sub\n", key=SUB))
    await desk.say(piece(' ü"}\n', summary='{"title": "x"}'))
    assert await desk.loaded() == '{"text":"é ü"}\n'.encode()
    assert await desk.loaded(SUB) == b"sub\n"
    text = len('{"text":"é ü"}\nsub\n{"title":"x"}'.encode())
    assert desk.transcripts.stored_bytes == text + 2 * ROW_BYTES


async def test_only_whole_batches_are_acknowledged(desk):
    """Nothing beyond the first piece of a batch that is not whole may be acknowledged."""
    assert desk.transcripts.safe(5) == 5
    await desk.say(piece("a\n"), 6)
    assert desk.transcripts.safe(6) == 6
    await desk.say(piece("b", more=True), 7)
    await desk.say(piece("c", key=SUB, more=True), 8)
    assert desk.transcripts.safe(8) == 6
    await desk.say(piece("\n"), 9)
    assert desk.transcripts.safe(9) == 7
    await desk.say(piece("\n", key=SUB), 10)
    assert desk.transcripts.safe(10) == 10
    await desk.say(TranscriptReplaced(key=MAIN), 11)
    assert desk.transcripts.safe(12) == 10


async def test_sent_again_is_stored_once():
    """After an adoption, what was stored already is not stored again, and what was cut in the
    middle is."""
    first = Desk()
    words = [
        piece("1\n"),
        TranscriptReplaced(key=MAIN),
        piece("x", key=SUB, more=True),
        piece("new", more=True),
        piece("\n"),
        piece("2\n"),
    ]
    for n, word in enumerate(words, start=1):
        await first.say(word, n)
    acknowledged = first.transcripts.safe(len(words))
    assert acknowledged == 2
    second = Desk(first.store, held=0)
    rest = [*words[acknowledged:], piece("y\n", key=SUB), piece("3\n")]
    for n, word in enumerate(rest, start=acknowledged + 1):
        await second.say(word, n)
    assert await second.loaded() == b"new\n2\n3\n"
    assert await second.loaded(SUB) == b"xy\n"
    assert second.store.appends == 5


async def test_deletion_is_not_repeated_over_what_came_after():
    """A deletion that is sent again takes nothing of what was written after it."""
    first = Desk()
    words = [
        piece("old\n"),
        TranscriptAsked(ask_id="d", what="delete", key=MAIN),
        piece("new\n"),
    ]
    for n, word in enumerate(words, start=1):
        await first.say(word, n)
    assert await first.loaded() == b"new\n"
    second = Desk(first.store)
    for n, word in enumerate(words, start=1):
        await second.say(word, n)
    assert await second.loaded() == b"new\n"
    await first.transcripts.close()
    await second.transcripts.close()


async def test_replaced_in_one_go(desk):
    """What a sandbox sends anew takes the place of the old when it is whole, and not before."""
    await desk.say(piece("old\n"))
    await desk.say(piece("half", more=True))
    await desk.say(TranscriptReplaced(key=MAIN))
    await desk.say(piece("ne", more=True))
    assert await desk.loaded() == b"old\n"
    await desk.say(piece("w\n"))
    assert await desk.loaded() == b"new\n"
    await desk.say(TranscriptReplaced(key=MAIN))
    await desk.say(piece(""))
    assert await desk.loaded() == b""


async def test_questions_are_answered(desk):
    """Each question of the SDK gets its lines, and an unknown key nothing at all."""
    await desk.say(piece("1\n2\n", summary='{"a":\n1}'))
    await desk.say(piece("s\n", key=SUB))
    other = TranscriptKey(project="-workspace", agent_session="a2")
    await desk.say(piece("3\n", key=other))
    assert await desk.ask("load", ask_id="1") == b"1\n2\n"
    assert await desk.ask("load", TranscriptKey(project="p", agent_session="x"), "2") is None
    assert await desk.ask("subkeys", ask_id="3") == b'"subagents/agent-1"\n'
    sessions = (await desk.ask("sessions", ask_id="4")).splitlines()
    assert [msgspec.json.decode(line)["session_id"] for line in sessions] == ["a1", "a2"]
    [summary] = (await desk.ask("summaries", ask_id="5")).splitlines()
    assert msgspec.json.decode(summary)["data"] == {"a": 1}
    assert await desk.ask("delete", ask_id="6") == b""
    assert await desk.ask("load", ask_id="7") is None
    assert await desk.loaded(other) == b"3\n"


async def test_question_without_answer_is_not_acknowledged(desk):
    """As long as a question is not answered it would have to be asked again."""
    answered = asyncio.Event()
    give = desk.sandbox.give_transcript

    async def slowly(ask_id: str, pieces: AsyncIterator[bytes] | None) -> None:
        await answered.wait()
        await give(ask_id, pieces)

    desk.sandbox.give_transcript = slowly
    await desk.say(TranscriptAsked(ask_id="1", what="load", key=MAIN), 4)
    await desk.say(piece("1\n"), 5)
    assert desk.transcripts.safe(5) == 3
    answered.set()
    async with asyncio.timeout(5):
        while desk.transcripts.safe(5) != 5:
            await asyncio.sleep(0)


async def test_few_answers_at_once():
    """However many questions come, only a few are answered at once, and too many are too many."""
    limits = msgspec.structs.replace(LIMITS, transcript_asks=2, transcript_asks_waiting=10)
    desk = Desk(limits=limits)
    under_way, most, gate = 0, 0, asyncio.Event()

    async def give(_ask_id: str, _pieces: AsyncIterator[bytes] | None) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await gate.wait()
        under_way -= 1

    desk.sandbox.give_transcript = give
    for number in range(10):
        await desk.say(TranscriptAsked(ask_id=f"{number}", what="load", key=MAIN))
    with pytest.raises(SandboxMisbehaved):
        await desk.say(TranscriptAsked(ask_id="f", what="load", key=MAIN))
    async with asyncio.timeout(5):
        while under_way < 2:
            await asyncio.sleep(0)
        gate.set()
        while desk.transcripts.safe(99) != 99:
            await asyncio.sleep(0)
    assert most == 2


async def test_failing_store_is_never_nothing(desk):
    """Where the store cannot be read, the answer breaks off: the SDK is not told that there is
    nothing."""
    await desk.say(piece("1\n"))
    raised = asyncio.get_running_loop().create_future()

    async def give(_ask_id: str, pieces: AsyncIterator[bytes] | None) -> None:
        assert pieces is not None
        try:
            _ = [p async for p in pieces]
        except StorageFailed:
            raised.set_result(True)
            raise

    desk.sandbox.give_transcript = give
    await desk.say(TranscriptAsked(ask_id="1", what="load", key=MAIN))
    desk.store.broken = True
    async with asyncio.timeout(5):
        assert await raised
        while desk.transcripts.safe(9) != 9:
            await asyncio.sleep(0)


async def test_answer_that_nobody_takes_is_given_up():
    """A sandbox that does not read an answer holds nothing for longer than the limit."""
    desk = Desk(limits=msgspec.structs.replace(LIMITS, transcript_answer_seconds=0.01))

    async def never(_ask_id: str, _pieces: AsyncIterator[bytes] | None) -> None:
        await asyncio.Event().wait()

    desk.sandbox.give_transcript = never
    await desk.say(TranscriptAsked(ask_id="1", what="load", key=MAIN))
    async with asyncio.timeout(5):
        while desk.transcripts.safe(9) != 9:
            await asyncio.sleep(0.001)


async def test_storage_is_tried_again(desk):
    """A store that fails for a moment loses nothing; one that keeps failing is told."""
    append, failures = desk.store.append, iter([True, True])

    async def failing(*args, **named) -> None:
        if next(failures, False):
            raise StorageFailed
        await append(*args, **named)

    desk.store.append = failing
    await desk.say(piece("1\n"))
    assert await desk.loaded() == b"1\n"
    desk.store.append = append
    desk.store.broken = True
    with pytest.raises(StorageFailed):
        await desk.say(piece("2\n"))


async def test_sync(desk):
    """A sync is done when its own answer came, and not by another's; repairs are counted."""
    desk.sandbox.syncs = False
    syncing = asyncio.create_task(desk.transcripts.sync(seconds=5))
    async with asyncio.timeout(5):
        while not desk.sandbox.sent:
            await asyncio.sleep(0)
    [command] = desk.sandbox.sent
    assert isinstance(command, SyncTranscript)
    await desk.say(TranscriptSynced(sync_id="0"))
    assert not syncing.done()
    await desk.say(TranscriptSynced(sync_id=command.sync_id, repaired=True))
    assert await syncing
    assert desk.transcripts.repairs == 1
    assert not await desk.transcripts.sync(seconds=0.01)


async def test_closing_ends_what_is_under_way(desk):
    """Closing ends a sync without success and answers without an end, and can be repeated."""
    desk.sandbox.syncs = False
    syncing = asyncio.create_task(desk.transcripts.sync(seconds=60))
    desk.sandbox.give_transcript = lambda *_: asyncio.Event().wait()
    await desk.say(TranscriptAsked(ask_id="1", what="load", key=MAIN))
    await asyncio.sleep(0)
    for _ in range(2):
        await desk.transcripts.close()
    assert not await syncing


HOSTILE = {
    "no line at its end": [piece("half")],
    "summary that is no JSON": [piece("1\n", summary='{"a":1}\n{"b":2}')],
    "summary that nests without end": [piece("1\n", summary="[" * 200_000)],
    "odd project": [piece("1\n", key=TranscriptKey(project="a\0b", agent_session="x"))],
    "odd subpath": [
        piece("1\n", key=TranscriptKey(project="p", agent_session="x", subpath="a\nb"))
    ],
    "odd key asked for": [
        TranscriptAsked(
            ask_id="1", what="load", key=TranscriptKey(project="\x1b[2J", agent_session="x")
        )
    ],
    "too many keys": [
        piece("x", key=TranscriptKey(project="p", agent_session=f"{n}"), more=True)
        for n in range(MAX_OPEN_KEYS + 1)
    ],
    "too many replaced": [
        TranscriptReplaced(key=TranscriptKey(project="p", agent_session=f"{n}"))
        for n in range(MAX_OPEN_KEYS + 1)
    ],
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_hostile_words(desk, case):
    """A sandbox that says what no honest one says is given up, and nothing of it is kept."""
    *honest, last = HOSTILE[case]
    for word in honest:
        await desk.say(word)
    with pytest.raises(SandboxMisbehaved) as caught:
        await desk.say(last)
    assert caught.value.ending.sentence
    assert desk.store.appends == 0


def test_endless_batches_are_bounded():
    """What is put together never holds more than its bound, over all keys together."""
    batches = TranscriptBatches(most_bytes=1000)
    for number in range(3):
        key = TranscriptKey(project="p", agent_session=f"{number}")
        batches.add(TranscriptPiece(key=key, text="x" * 300, more=True), 1)
    batches.add(TranscriptPiece(key=MAIN, text="x" * 99 + "\n"), 2)
    with pytest.raises(SandboxMisbehaved):
        batches.add(TranscriptPiece(key=MAIN, text="x" * 101, more=True), 3)


async def test_total_is_bounded():
    """A session's transcripts together never become more than the limit, over any number of
    sandboxes."""
    limits = msgspec.structs.replace(LIMITS, transcript_bytes=1000 + ROW_BYTES)
    desk = Desk(limits=limits)
    await desk.say(piece("x" * 599 + "\n"))
    desk = Desk(desk.store, sandbox=FakeSandbox(SandboxId("b2")), limits=limits)
    await desk.say(piece("x" * 399 + "\n"))
    with pytest.raises(SandboxMisbehaved) as caught:
        await desk.say(piece("\n"))
    assert caught.value.ending.tag == "transcript_too_large"


@pytest.mark.parametrize(
    "word",
    [
        piece("", summary=json.dumps({"x": "y" * 2000})),
        piece("\n"),
        TranscriptAsked(ask_id="a", what="delete", key=MAIN),
    ],
    ids=["summaries", "empty lines", "deletions"],
)
async def test_what_has_no_text_is_bounded_too(word):
    """Summaries, tiny batches and deletions fill a disk as well: they end with the sandbox."""
    limits = msgspec.structs.replace(LIMITS, transcript_bytes=10_000)
    desk = Desk(limits=limits)

    async def say_without_end() -> None:
        for _ in range(100):
            await desk.say(word)
            await asyncio.sleep(0)

    with pytest.raises(SandboxMisbehaved):
        await say_without_end()
    assert desk.transcripts.stored_bytes <= 10_000 + 2500


KEYS = st.sampled_from([MAIN, SUB])
WORDS = st.lists(
    st.one_of(
        st.builds(piece, st.sampled_from(["a", "b\n", "", "c\nd"]), key=KEYS, more=st.booleans()),
        st.builds(TranscriptReplaced, key=KEYS),
    ),
    max_size=12,
)


@given(WORDS, st.data())
async def test_a_restart_anywhere_changes_nothing(words, data):
    """Wherever the control plane is killed, and however little was acknowledged: the transcripts
    are as if it had lived on."""
    whole = Desk()
    with contextlib.suppress(SandboxMisbehaved):
        for n, word in enumerate(words, start=1):
            await whole.say(word, n)
    cut = data.draw(st.integers(0, len(words)))
    first = Desk()
    with contextlib.suppress(SandboxMisbehaved):
        for n, word in enumerate(words[:cut], start=1):
            await first.say(word, n)
        again = data.draw(st.integers(0, first.transcripts.safe(cut)))
        second = Desk(first.store)
        for n, word in enumerate(words[again:], start=again + 1):
            await second.say(word, n)
    for key in (MAIN, SUB):
        assert await first.loaded(key) == await whole.loaded(key)


async def test_crumbs_are_stored_at_a_bounded_pace():
    """A sandbox that makes a batch of every line is read more slowly once it has had its burst; the
    others' batches do not wait for it."""
    limits = msgspec.structs.replace(
        LIMITS, transcript_batches_per_second=100.0, transcript_burst_seconds=0.1
    )
    hasty, other = Desk(limits=limits), Desk(limits=limits)
    began = time.monotonic()
    for _ in range(30):
        await hasty.say(piece("x\n"))
    assert 0.15 < time.monotonic() - began < 5
    began = time.monotonic()
    await other.say(piece("x\n"))
    assert time.monotonic() - began < 0.1
    await hasty.transcripts.close()
    await other.transcripts.close()
