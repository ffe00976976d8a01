"""`Kept`: what people may see of the checkpoints of their sessions.

Taking one and going back to one are commands of the session.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from orchestrator.protocol.ids import SessionId
from orchestrator.sessions.files.files import Download
from orchestrator.sessions.files.transfer_places import TransferPlaces
from orchestrator.sessions.kept.checkpoints import Checkpoints
from orchestrator.sessions.ports import Actor, Checkpoint, SessionRecord

MAX_PAGE = 200


class Kept:
    """`find` gives a session that is this actor's, live or of the past, and raises
    UnknownSession."""

    def __init__(
        self,
        find: Callable[[Actor, SessionId], Awaitable[SessionRecord]],
        *,
        checkpoints: Checkpoints,
        places: TransferPlaces,
    ) -> None:
        self._find = find
        self._checkpoints = checkpoints
        self._places = places

    async def page(self, actor: Actor, session_id: SessionId, *, limit: int) -> list[Checkpoint]:
        """Newest first."""
        await self._find(actor, session_id)
        return await self._checkpoints.page(session_id, limit=max(1, min(limit, MAX_PAGE)))

    async def get(self, actor: Actor, session_id: SessionId, checkpoint_id: str) -> Checkpoint:
        """Raises UnknownCheckpoint."""
        await self._find(actor, session_id)
        return await self._checkpoints.get(session_id, checkpoint_id)

    async def download(self, actor: Actor, session_id: SessionId, checkpoint_id: str) -> Download:
        """The archive as it was made in the sandbox. Raises UnknownCheckpoint, TooManyTransfers,
        BlobMissing."""
        async with AsyncExitStack() as stack:
            record = await self._find(actor, session_id)
            checkpoint = await self._checkpoints.get(session_id, checkpoint_id)
            stack.enter_context(self._places.taken(actor, session_id))
            chunks = await stack.enter_async_context(self._checkpoints.open(checkpoint))
            return Download(
                name=archive_name(record.title, checkpoint.created_at),
                size=checkpoint.size,
                chunks=chunks,
                stack=stack.pop_all(),
            )


def archive_name(title: str, created_at: str) -> str:
    """One that every file system takes: `Fix the build-2026-01-01T10-20-30.tar.zst`."""
    plain = "".join(c if c.isalnum() or c in " ._-" else "_" for c in title)
    stem = plain.strip(" ._-")[:80].strip(" ._-") or "session"
    return f"{stem}-{created_at[:19].replace(':', '-')}.tar.zst"
