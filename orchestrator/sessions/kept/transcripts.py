"""A session's transcript during one sandbox's time with it: what the agent writes is stored, what
its SDK asks of its store is answered.

For: each batch stored whole and once, before anything that came after it is held safely. Not for
what the lines mean: they are the SDK's own.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import assert_never

import msgspec

from orchestrator.protocol.chat import Ending
from orchestrator.protocol.commands import SyncTranscript
from orchestrator.protocol.ids import SessionId
from orchestrator.protocol.transcripts import (
    TranscriptAsked,
    TranscriptPiece,
    TranscriptReplaced,
    TranscriptSynced,
    TranscriptWord,
)
from orchestrator.sessions.errors import RuleBroken, StorageFailed
from orchestrator.sessions.kept.transcript_batches import Batch, TranscriptBatches, check_key
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.ports import AgentSessionLine, ReceivedEvent, Sandbox, TranscriptStore
from orchestrator.sessions.stays.misbehaviour import SandboxMisbehaved

logger = logging.getLogger(__name__)

MAX_FAILURES_LOGGED = 20
"""Of one sandbox."""
ROW_BYTES = 256
"""What a batch or a deletion takes in a store beside its text: many tiny ones fill a disk, too."""
TOO_LARGE = Ending(
    tag="transcript_too_large",
    sentence="The record of this conversation grew larger than Casemate keeps for one session, and "
    "its sandbox was stopped. Start a new session.",
)
TOO_MANY_ASKS = Ending(
    tag="transcript_asked_too_much",
    sentence="The sandbox asked for the record of the conversation more often than it may, and was "
    "stopped.",
)


class Transcripts:
    """Give every transcript word to `take`, in order, also those that were sent before; never
    acknowledge more than `safe`. `close` ends what is under way."""

    def __init__(
        self,
        session: SessionId,
        *,
        store: TranscriptStore,
        sandbox: Sandbox,
        branch: int,
        held: int,
        limits: SessionLimits,
    ) -> None:
        self._session = session
        self._store = store
        self._sandbox = sandbox
        self._branch = branch
        self._held = held
        self._limits = limits
        self._batches = TranscriptBatches()
        self._stored_bytes = 0
        self._clear_at = 0.0
        self._is_open = False
        self._at_once = asyncio.Semaphore(limits.transcript_asks)
        self._answers: dict[asyncio.Task[None], int] = {}
        self._failures = 0
        self._syncs: dict[str, asyncio.Future[bool]] = {}
        self.repairs = 0
        """How often the sandbox found that something had been missing, and sent it anew."""

    @property
    def stored_bytes(self) -> int:
        """Of all branches; known after the first word. See `ROW_BYTES`."""
        return self._stored_bytes

    def safe(self, n: int) -> int:
        """The highest event number up to `n` that may be acknowledged: what came after the first
        piece of a batch that is not whole, or a question without answer, has to be sent again
        if it is lost here."""
        oldest = self._batches.oldest
        waiting = [*self._answers.values(), *([] if oldest is None else [oldest])]
        return min([n, *(first - 1 for first in waiting)])

    async def take(self, received: ReceivedEvent) -> None:
        """Returns when it is stored, where there is anything to store; questions are answered in
        the background. Raises StorageFailed, SandboxMisbehaved."""
        await self._begin()
        word = received.event
        if not isinstance(word, TranscriptWord):
            raise TypeError(type(word).__name__)
        match word:
            case TranscriptPiece():
                batch = self._batches.add(word, received.n)
                if batch is not None:
                    await self._keep(batch)
            case TranscriptReplaced():
                self._batches.replace(word, received.n)
            case TranscriptAsked():
                await self._ask(word, received.n)
            case TranscriptSynced():
                self._synced(word)
            case _:
                assert_never(word)

    async def sync(self, *, seconds: float) -> bool:
        """Have the sandbox say all that the agent wrote so far, repaired where something was
        missed: it is stored when this returns True. False where that was not done in time. Not for
        the task that calls `take`: it would wait for itself."""
        sync_id = secrets.token_hex(8)
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._syncs[sync_id] = done
        try:
            async with asyncio.timeout(seconds):
                await self._sandbox.send(SyncTranscript(sync_id=sync_id))
                return await done
        except TimeoutError:
            logger.warning("transcript.sync_too_slow", extra={"session_id": self._session})
            return False
        finally:
            del self._syncs[sync_id]

    async def close(self) -> None:
        """Idempotent. What was not answered yet is not answered any more."""
        for done in self._syncs.values():
            if not done.done():
                done.set_result(False)
        answers = list(self._answers)
        for task in answers:
            task.cancel()
        await asyncio.gather(*answers, return_exceptions=True)

    # --- what is written ---------------------------------------------------------------------

    async def _begin(self) -> None:
        if self._is_open:
            return
        last = await self._store.last_n(self._session, self._sandbox.id)
        self._held = max(self._held, last)
        self._stored_bytes = await self._store.size(self._session)
        self._is_open = True

    async def _keep(self, batch: Batch) -> None:
        if batch.n <= self._held or not (batch.lines or batch.replaces or batch.summary):
            return
        self._charge(len(batch.lines) + len(batch.summary or b""))
        await self._pace()
        await self._persistently(lambda: self._append(batch))
        self._held = batch.n

    def _charge(self, size: int) -> None:
        """Before it is stored. Raises SandboxMisbehaved."""
        self._stored_bytes += size + ROW_BYTES
        if self._stored_bytes > self._limits.transcript_bytes:
            raise SandboxMisbehaved(TOO_LARGE)

    async def _pace(self) -> None:
        """Each batch is written by itself, and there is one database for all sessions."""
        now = asyncio.get_running_loop().time()
        self._clear_at = max(self._clear_at, now) + 1 / self._limits.transcript_batches_per_second
        ahead = self._clear_at - now - self._limits.transcript_burst_seconds
        if ahead > 0:
            await asyncio.sleep(ahead)

    async def _append(self, batch: Batch) -> None:
        await self._store.append(
            self._session,
            batch.key,
            batch.lines,
            branch=self._branch,
            sandbox=self._sandbox.id,
            n=batch.n,
            summary=batch.summary,
            replaces=batch.replaces,
        )

    async def _persistently(self, work: Callable[[], Awaitable[None]]) -> None:
        """Tried again a few times: a full disk may be emptied, a database may come back."""
        for attempt in range(self._limits.storage_retries):
            try:
                return await work()
            except StorageFailed:
                extra = {"session_id": self._session, "attempt": attempt + 1}
                logger.warning("transcript.write_failed", exc_info=True, extra=extra)
                await asyncio.sleep(self._limits.storage_retry_seconds * 2**attempt)
        return await work()

    def _synced(self, word: TranscriptSynced) -> None:
        """Nobody asked for it, or waits for it any more: it says nothing."""
        done = self._syncs.get(word.sync_id)
        if done is None or done.done():
            return
        done.set_result(True)
        if word.repaired:
            self.repairs += 1
            logger.warning("transcript.repaired", extra={"session_id": self._session})

    # --- what is asked -----------------------------------------------------------------------

    async def _ask(self, word: TranscriptAsked, n: int) -> None:
        check_key(word.key)
        if len(self._answers) >= self._limits.transcript_asks_waiting:
            raise SandboxMisbehaved(TOO_MANY_ASKS)
        await self._pace()
        if word.what == "delete" and n > self._held:
            self._charge(0)
            await self._persistently(lambda: self._delete(word))
        task = asyncio.create_task(self._answer(word), name=f"transcript-{word.ask_id}")
        self._answers[task] = n
        task.add_done_callback(lambda done: self._answers.pop(done, None))

    async def _delete(self, word: TranscriptAsked) -> None:
        """At once, in its place among the batches: never of what was written after it."""
        await self._store.delete(self._session, word.key, branch=self._branch)

    async def _answer(self, word: TranscriptAsked) -> None:
        """One that fails is not answered: the sandbox is told that it was cut off, never that there
        was nothing."""
        try:
            async with self._at_once, asyncio.timeout(self._limits.transcript_answer_seconds):
                lines = await _first_known(self._lines(word), may_be_missing=word.what == "load")
                await self._sandbox.give_transcript(word.ask_id, lines)
        except (RuleBroken, TimeoutError) as error:
            self._note_failure(word, error)
        except Exception:
            logger.exception("transcript.answer_failed", extra={"session_id": self._session})

    def _note_failure(self, word: TranscriptAsked, error: Exception) -> None:
        """The first ones: a sandbox that asks and does not listen shall not fill the log."""
        self._failures += 1
        if self._failures <= MAX_FAILURES_LOGGED:
            extra = {"session_id": self._session, "what": word.what, "error": repr(error)}
            logger.warning("transcript.answer_failed", extra=extra)

    def _lines(self, word: TranscriptAsked) -> AsyncIterator[bytes]:
        if word.what == "load":
            return self._store.load(self._session, word.key, branch=self._branch)
        return self._listed(word)

    async def _listed(self, word: TranscriptAsked) -> AsyncIterator[bytes]:
        if word.what == "subkeys":
            paths = await self._store.subpaths(self._session, word.key, branch=self._branch)
            for path in paths:
                yield msgspec.json.encode(path) + b"\n"
        elif word.what in {"sessions", "summaries"}:
            known = await self._store.agent_sessions(
                self._session, word.key.project, branch=self._branch
            )
            for one in known:
                if word.what == "sessions" or one.summary is not None:
                    yield _agent_session(one, with_summary=word.what == "summaries")


def _agent_session(one: AgentSessionLine, *, with_summary: bool) -> bytes:
    line: dict[str, object] = {"session_id": one.agent_session, "mtime": one.mtime}
    if with_summary and one.summary is not None:
        line["data"] = msgspec.Raw(one.summary)
    return msgspec.json.encode(line) + b"\n"


async def _first_known(
    pieces: AsyncIterator[bytes], *, may_be_missing: bool
) -> AsyncIterator[bytes] | None:
    """The same pieces; None where there are none. A store that fails at once fails the transfer."""
    try:
        first = await anext(pieces, None)
    except StorageFailed as error:
        return _failing(error)
    if first is None:
        return None if may_be_missing else pieces
    return _joined(first, pieces)


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _failing(error: StorageFailed) -> AsyncIterator[bytes]:
    raise error
    yield b""
