"""Writes the audit log: facts come in without waiting, records go out in order.

Its queue is bounded. When it is full the newest facts are dropped, counted, and the gap is written
down as a record of its own as soon as there is room. Several processes may write at once (the
server, and the command line beside it): each takes the end of the chain and adds to it in one
transaction of the store.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Protocol, Self

from orchestrator.accounts.audit import (
    AuditEntry,
    AuditFact,
    AuditFilter,
    AuditPage,
    with_names,
)
from orchestrator.accounts.audit_chain import (
    AuditHead,
    AuditRecord,
    ChainCheck,
    Finding,
    head_of,
    is_head_of,
    next_record,
)
from orchestrator.accounts.audit_settings import AuditSettings
from orchestrator.accounts.ports import UserStore

logger = logging.getLogger(__name__)

_BATCH = 200
_RETRY = 2.0
"""Seconds until the store is tried again that refused."""
_LOOKS, _LOOK_AGAIN = 5, 0.2
"""How often an anchor is looked for that should be there, and seconds between."""
_LAST_TRY = 5.0
"""Seconds for what is still queued when the log is closed."""


class AuditStore(Protocol):
    """Append-only. Raises what the storage raises."""

    async def extend(
        self, make: Callable[[AuditRecord | None], list[AuditRecord]]
    ) -> AuditRecord | None:
        """In one transaction: call `make` with the last record and add what it returns. The new
        last record."""

    async def last(self) -> AuditRecord | None: ...
    async def at(self, seq: int) -> AuditRecord | None: ...
    async def page(
        self, *, before: int | None, limit: int, matching: AuditFilter
    ) -> list[AuditEntry]:
        """Newest first, below `before`."""

    def records(self) -> AsyncIterator[list[AuditRecord]]:
        """All, oldest first, in batches."""


class AuditAnchor(Protocol):
    """Keeps the head of the chain where the database's owner cannot reach, if so configured."""

    async def write(self, head: AuditHead) -> None:
        """Raises OSError. A head that is older than the one there is not written."""

    async def read(self) -> AuditHead | None:
        """None where there is none, or nothing readable."""


class AuditLog:
    """An AuditTrail, as an async context manager; leaving it writes what is left."""

    def __init__(
        self,
        store: AuditStore,
        *,
        key: bytes,
        anchor: AuditAnchor,
        users: UserStore,
        settings: AuditSettings,
        now: Callable[[], str],
    ) -> None:
        self._store, self._anchor, self._users = store, anchor, users
        self._key = key
        self._settings = settings
        self._now = now
        self._queue: deque[tuple[str, AuditFact]] = deque()
        self._dropped = 0
        self._closing = False
        self._arrived = asyncio.Event()
        self._founded = False
        """The log was empty before its first record, which was written here."""
        self._anchored = 0
        self._missed = False
        """That the anchor is gone was recorded, and none could be written since."""
        self._anchor_due: float | None = None
        self._last: AuditRecord | None = None
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._writer = asyncio.create_task(self._run(), name="audit-writer")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is None:
            return
        self._closing = True
        self._arrived.set()
        _, late = await asyncio.wait([self._writer], timeout=_LAST_TRY)
        if late:
            self._writer.cancel()
            logger.error("audit.end_not_written", extra={"left": len(self._queue)})

    def record(self, fact: AuditFact) -> None:
        if len(self._queue) >= self._settings.queue:
            self._dropped += 1
        else:
            self._queue.append((self._now(), fact))
        self._arrived.set()

    async def page(self, *, before: int | None, limit: int, matching: AuditFilter) -> AuditPage:
        """With names of users where the log has their ids; `actor` may be given either way."""
        if matching.actor is not None:
            user = await self._users.by_name(matching.actor)
            if user is not None:
                matching = AuditFilter(action=matching.action, actor=f"user/{user.id}")
        found = await self._store.page(before=before, limit=limit + 1, matching=matching)
        shown = found[:limit]
        more = shown[-1].seq if len(found) > limit else None
        return AuditPage(entries=await with_names(shown, self._users), next_cursor=more)

    async def verify(self) -> Finding:
        """Of the whole log. The head is read first: what is added meanwhile lies behind it."""
        check = ChainCheck(key=self._key, head=await self._anchor.read())
        async for records in self._store.records():
            if (finding := check.feed(records)) is not None:
                return finding
        return check.finish()

    async def _run(self) -> None:
        while not self._is_done:
            await self._wait()
            try:
                if self._queue or self._dropped:
                    await self._write_batch()
                await self._anchor_when_due()
            except Exception as error:  # noqa: BLE001 - the log lives on whatever the store says
                logger.error("audit.write_failed", extra={"reason": str(error)})  # noqa: TRY400
                await asyncio.sleep(_RETRY)

    @property
    def _is_done(self) -> bool:
        """Told to end, and nothing is left to write or to anchor."""
        left = self._queue or self._dropped or self._anchor_due is not None
        return self._closing and not left

    async def _wait(self) -> None:
        """Until there is something to write, or to anchor."""
        if self._queue or self._dropped or self._closing:
            return
        self._arrived.clear()
        loop = asyncio.get_running_loop()
        left = None if self._anchor_due is None else max(0.0, self._anchor_due - loop.time())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._arrived.wait()

    async def _write_batch(self) -> None:
        """The queue keeps what is being written until it is on disk."""
        batch = [self._queue[n] for n in range(min(_BATCH, len(self._queue)))]
        dropped = self._dropped if len(batch) == len(self._queue) else 0
        if dropped:
            lost = AuditFact(
                action="audit.gap", result="failed", detail=f"{dropped} entries were dropped"
            )
            batch.append((self._now(), lost))
        self._last = await self._store.extend(lambda last: self._behind(last, batch))
        for _ in range(len(batch) - bool(dropped)):
            self._queue.popleft()
        self._dropped -= dropped
        if self._anchor_due is None:
            loop = asyncio.get_running_loop()
            self._anchor_due = loop.time() + self._settings.anchor_seconds

    def _behind(
        self, last: AuditRecord | None, batch: list[tuple[str, AuditFact]]
    ) -> list[AuditRecord]:
        self._founded = self._founded or last is None
        records: list[AuditRecord] = []
        batch = [*self._cut_since(last), *batch]
        for at, fact in batch:
            last = next_record(fact, at=at, after=last, key=self._key)
            records.append(last)
        return records

    def _cut_since(self, last: AuditRecord | None) -> list[tuple[str, AuditFact]]:
        """What to say where the end that was written here is not there any more."""
        seq = 0 if last is None else last.entry.seq
        if self._last is None or seq >= self._last.entry.seq:
            return []
        detail = f"records {seq + 1} to {self._last.entry.seq} are gone"
        return [(self._now(), AuditFact(action="audit.cut", result="failed", detail=detail))]

    async def _anchor_when_due(self) -> None:
        """The first one at once: it shows what became of the log since the last run."""
        if self._last is None:
            return
        loop = asyncio.get_running_loop()
        late = self._anchor_due is not None and loop.time() >= self._anchor_due
        many = self._last.entry.seq - self._anchored >= self._settings.anchor_records
        if late or many or self._closing or not self._anchored:
            await self._write_head(self._last)

    async def _write_head(self, last: AuditRecord) -> None:
        """After the records themselves: a head never promises what is not there. One that the log
        contradicts stays, so that no later one covers up that records are gone."""
        there = await self._head_there()
        if there is None and not self._missed and (self._anchored or not self._founded):
            self._missed = True
            self.record(AuditFact(action="audit.anchor_missing", result="failed"))
        if there is None or await self._continues(there):
            await self._anchor.write(head_of(last, key=self._key))
        else:
            logger.error("audit.broken", extra={"anchored": there.seq, "last": last.entry.seq})
        self._anchored, self._anchor_due, self._missed = last.entry.seq, None, False

    async def _head_there(self) -> AuditHead | None:
        """Whoever wrote the first record of all may be about to anchor it."""
        for _ in range(_LOOKS):
            head = await self._anchor.read()
            if head is not None or self._founded or self._anchored:
                return head
            await asyncio.sleep(_LOOK_AGAIN)
        return None

    async def _continues(self, head: AuditHead) -> bool:
        record = await self._store.at(head.seq)
        return record is not None and is_head_of(record, head, key=self._key)
