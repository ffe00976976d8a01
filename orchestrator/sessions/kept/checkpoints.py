"""Checkpoints: a session's files and its place in the conversation, kept outside its sandbox.

For: taking and restoring them in bounded time, keeping the latest ones, and giving up content that
no checkpoint names. Archives pass through as they are; nothing is unpacked here.
"""

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager

import msgspec

from orchestrator.protocol.ids import SessionId, TurnId
from orchestrator.sessions.errors import CheckpointTooSlow, StorageFailed, UnknownCheckpoint
from orchestrator.sessions.kept.blob_claims import BlobClaims
from orchestrator.sessions.ports import (
    BlobStore,
    Checkpoint,
    CheckpointStore,
    Clock,
    Sandbox,
    SessionRecord,
    StoredBlob,
    TranscriptStore,
)
from orchestrator.sessions.profiles import CheckpointRules, Profile
from orchestrator.sessions.workspace import Packed

logger = logging.getLogger(__name__)

ID = re.compile(r"[0-9a-f]{16,32}", re.ASCII)
ENTRY_BYTES = 2048
"""What an archive may need for each entry, beside its content: headers, names, padding."""
ARCHIVE_BYTES = 1 << 20
"""And for itself."""
PAGE = 500
ATTEMPTS = 3


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """In the conversation; fields of a `Checkpoint`."""

    seq: int
    turn_id: TurnId | None
    agent_session_id: str
    branch: int
    position: int


class Checkpoints:
    """One for all sessions. Of one session, one call at a time."""

    def __init__(
        self,
        *,
        store: CheckpointStore,
        blobs: BlobStore,
        transcripts: TranscriptStore,
        clock: Clock,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._transcripts = transcripts
        self._clock = clock
        self._claims = BlobClaims()

    async def take(
        self,
        record: SessionRecord,
        sandbox: Sandbox,
        *,
        profile: Profile,
        seq: int,
        turn_id: TurnId | None,
        anew: bool = False,
    ) -> Checkpoint | None:
        """Keep the files as they are, if they are not as at the latest checkpoint; else that one
        goes on to where the conversation is now, and None is returned. `anew`: the session went
        back behind the latest one, which stays what it is. Between turns.

        Raises CheckpointTooLarge (or Slow), TransferBroken, TooManyTransfers, BlobTooLarge,
        StorageFailed; what was kept before is still kept then."""
        latest = None if anew else await self.latest(record.id)
        place = _Place(
            seq=seq,
            turn_id=turn_id,
            agent_session_id=record.agent_session_id,
            branch=record.branch,
            position=await self._transcripts.position(record.id, branch=record.branch),
        )
        expected = None
        for _ in range(ATTEMPTS):
            async with self._claims.taking(expected) as claim:
                found = await self._pack(sandbox, profile.checkpoints, unless=latest)
                if found is None:
                    await self._move_on(latest, place)
                    return None
                expected = found[0].digest
                if not claim.hold(expected):
                    continue
                made = await self._name(record.id, *found, place)
            await self._prune(record.id, profile.checkpoints)
            return made
        raise StorageFailed

    async def restore(self, checkpoint: Checkpoint, sandbox: Sandbox, *, profile: Profile) -> None:
        """Put the files into a sandbox that has none. Raises BlobMissing, StorageFailed, NoRoom,
        TransferBroken, TooManyTransfers, CheckpointTooSlow."""
        rules = _roomy(profile.checkpoints, checkpoint)
        try:
            async with (
                asyncio.timeout(rules.max_seconds),
                self._blobs.open(checkpoint.blob) as chunks,
            ):
                await sandbox.workspace.restore_checkpoint(
                    chunks, size=checkpoint.size, rules=rules
                )
        except TimeoutError as error:
            raise CheckpointTooSlow from error

    async def latest(self, session: SessionId) -> Checkpoint | None:
        page = await self._store.page(session, limit=1)
        return page[0] if page else None

    async def get(self, session: SessionId, checkpoint_id: str) -> Checkpoint:
        """Raises UnknownCheckpoint."""
        checkpoint = None
        if ID.fullmatch(checkpoint_id):
            checkpoint = await self._store.get(session, checkpoint_id)
        if checkpoint is None:
            raise UnknownCheckpoint
        return checkpoint

    async def page(self, session: SessionId, *, limit: int = 50) -> list[Checkpoint]:
        """Newest first."""
        return await self._store.page(session, limit=limit)

    def open(self, checkpoint: Checkpoint) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The archive as it is. Raises BlobMissing, StorageFailed."""
        return self._blobs.open(checkpoint.blob)

    async def remove_all(self, session: SessionId) -> None:
        """And the content that only they named."""
        while page := await self._store.page(session, limit=PAGE):
            await self._remove(session, page)

    async def collect(self) -> int:
        """Give up all content that no checkpoint names; how many there were. What is about to be
        named stays."""
        removed = 0
        async for batch in self._blobs.digests():
            removed += await self._give_up({blob.digest for blob in batch})
        return removed

    # --- taking ------------------------------------------------------------------------------

    async def _pack(
        self, sandbox: Sandbox, rules: CheckpointRules, *, unless: Checkpoint | None
    ) -> tuple[StoredBlob, Packed] | None:
        most = rules.max_bytes + rules.max_entries * ENTRY_BYTES + ARCHIVE_BYTES
        known = unless.fingerprint if unless else ""
        try:
            async with (
                asyncio.timeout(rules.max_seconds),
                sandbox.workspace.take_checkpoint(rules, unless=known) as packing,
            ):
                if packing is None:
                    return None
                stored = await self._blobs.put(packing.chunks, most_bytes=most)
                return stored, packing.packed
        except TimeoutError as error:
            raise CheckpointTooSlow from error

    async def _name(
        self, session: SessionId, stored: StoredBlob, packed: Packed, place: _Place
    ) -> Checkpoint:
        checkpoint = Checkpoint(
            id=f"{place.seq:08x}{secrets.token_hex(4)}",  # in order, also within a millisecond
            session=session,
            created_at=self._clock.now(),
            blob=stored.digest,
            size=stored.size,
            unpacked=packed.size,
            entries=packed.entries,
            omitted=packed.omitted,
            fingerprint=packed.fingerprint,
            **msgspec.structs.asdict(place),
        )
        await self._store.add(checkpoint)
        return checkpoint

    async def _move_on(self, latest: Checkpoint | None, place: _Place) -> None:
        if latest is None:
            return
        moved = msgspec.structs.replace(latest, **msgspec.structs.asdict(place))
        if moved != latest:
            await self._store.update(moved)

    # --- giving up ---------------------------------------------------------------------------

    async def _prune(self, session: SessionId, rules: CheckpointRules) -> None:
        """A checkpoint was kept, and that counts: what cannot be given up now goes with the
        next."""
        try:
            page = await self._store.page(session, limit=rules.keep + PAGE)
            await self._remove(session, superfluous(page, rules))
        except StorageFailed:
            extra = {"session_id": session}
            logger.warning("checkpoint.prune_failed", exc_info=True, extra=extra)

    async def _remove(self, session: SessionId, checkpoints: Iterable[Checkpoint]) -> None:
        given_up = list(checkpoints)
        await self._store.remove(session, [one.id for one in given_up])
        await self._give_up({one.blob for one in given_up})

    async def _give_up(self, digests: set[str]) -> int:
        """Those among them that no checkpoint names, nor is about to."""
        removed = 0
        with self._claims.giving_up() as giving_up:
            named = await self._store.blobs(digests) if digests else set()
            for digest in digests - named:
                if not giving_up.may_go(digest):
                    continue
                try:
                    await self._blobs.delete(digest)
                finally:
                    giving_up.is_gone(digest)
                removed += 1
        return removed


def superfluous(page: list[Checkpoint], rules: CheckpointRules) -> list[Checkpoint]:
    """Of a session's checkpoints, newest first: those beyond what is kept of one. The latest always
    stays, and content that several name counts once. Pure."""
    blobs: dict[str, int] = {}
    for place, one in enumerate(page):
        blobs.setdefault(one.blob, one.size)
        if place and (place >= rules.keep or sum(blobs.values()) > rules.keep_bytes):
            return page[place:]
    return []


def _roomy(rules: CheckpointRules, checkpoint: Checkpoint) -> CheckpointRules:
    """What was taken may be put back, also where a profile allows less by now."""
    return msgspec.structs.replace(
        rules,
        max_bytes=max(rules.max_bytes, checkpoint.unpacked),
        max_entries=max(rules.max_entries, checkpoint.entries),
    )
