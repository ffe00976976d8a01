"""Transcripts in memory. `transcript_contract` keeps them honest.

Each batch is kept with the position at which it came and, where it was taken away, the one at which
it went: so that a branch can be made of what another one held at any position.
"""

import io
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator

import msgspec

from orchestrator.protocol.ids import SandboxId, SessionId
from orchestrator.protocol.transcripts import TranscriptKey
from orchestrator.sessions.errors import StorageFailed
from orchestrator.sessions.ports import AgentSessionLine

PIECE_BYTES = 64 << 10


class Batch(msgspec.Struct, kw_only=True):
    key: TranscriptKey
    lines: bytes
    branch: int
    came: int
    sandbox: SandboxId
    n: int
    summary: bytes | None
    mtime: int
    went: int | None = None

    def is_held(self, branch: int, position: int | None = None) -> bool:
        if self.branch != branch:
            return False
        if position is None:
            return self.went is None
        return self.came <= position and (self.went is None or self.went > position)


class MemoryTranscriptStore:
    """While `broken`, every call fails. `appends` counts what was stored."""

    def __init__(self) -> None:
        self._batches: dict[SessionId, list[Batch]] = defaultdict(list)
        self._positions: dict[tuple[SessionId, int], int] = {}
        self._clock = itertools.count(1_700_000_000_000)  # milliseconds, as the SDK's suite asks
        self.broken = False
        self.appends = 0

    async def append(
        self,
        session: SessionId,
        key: TranscriptKey,
        lines: bytes,
        *,
        branch: int,
        sandbox: SandboxId,
        n: int,
        summary: bytes | None = None,
        replaces: bool = False,
    ) -> None:
        self._check()
        if any(b.sandbox == sandbox and b.n == n for b in self._batches[session]):
            return
        position = self._next(session, branch)
        if replaces:
            self._take_away([b for b in self._held(session, branch) if b.key == key], position)
        batch = Batch(
            key=key,
            lines=lines,
            branch=branch,
            came=position,
            sandbox=sandbox,
            n=n,
            summary=summary,
            mtime=next(self._clock),
        )
        self._batches[session].append(batch)
        self.appends += 1

    async def last_n(self, session: SessionId, sandbox: SandboxId) -> int:
        self._check()
        known = (b.n for b in self._batches[session] if b.sandbox == sandbox)
        return max(known, default=0)

    async def load(
        self, session: SessionId, key: TranscriptKey, *, branch: int
    ) -> AsyncIterator[bytes]:
        self._check()
        held = [b for b in self._held(session, branch) if b.key == key]
        for batch in held:
            for piece in whole_lines(batch.lines):
                self._check()
                yield piece

    async def agent_sessions(
        self, session: SessionId, project: str, *, branch: int
    ) -> list[AgentSessionLine]:
        self._check()
        found: dict[str, AgentSessionLine] = {}
        for batch in self._held(session, branch):
            name = batch.key.agent_session
            if batch.key.project != project or batch.key.subpath:
                continue
            before = found.get(name)
            summary = batch.summary or (before.summary if before else None)
            found[name] = AgentSessionLine(agent_session=name, mtime=batch.mtime, summary=summary)
        return list(found.values())

    async def subpaths(self, session: SessionId, key: TranscriptKey, *, branch: int) -> list[str]:
        self._check()
        held = (b.key for b in self._held(session, branch))
        same = (one for one in held if _is_below(one, key) and one.subpath)
        return sorted({one.subpath for one in same})

    async def delete(self, session: SessionId, key: TranscriptKey, *, branch: int) -> None:
        self._check()
        position = self._next(session, branch)
        held = self._held(session, branch)
        self._take_away(
            [b for b in held if b.key == key or (not key.subpath and _is_below(b.key, key))],
            position,
        )

    async def size(self, session: SessionId) -> int:
        self._check()
        return sum(len(b.lines) for b in self._batches[session])

    async def conversation_bytes(
        self, session: SessionId, agent_session: str, *, branch: int
    ) -> int:
        self._check()
        held = self._held(session, branch)
        return sum(len(b.lines) for b in held if b.key.agent_session == agent_session)

    async def position(self, session: SessionId, *, branch: int) -> int:
        self._check()
        return self._positions.get((session, branch), 0)

    async def fork(self, session: SessionId, *, branch: int, position: int, into: int) -> None:
        self._check()
        held = [b for b in self._batches[session] if b.is_held(branch, position)]
        copies = [msgspec.structs.replace(b, branch=into, went=None) for b in held]
        others = [b for b in self._batches[session] if b.branch != into]
        self._batches[session] = others + copies
        self._positions[session, into] = position

    def _check(self) -> None:
        if self.broken:
            raise StorageFailed

    def _take_away(self, batches: list[Batch], position: int) -> None:
        for batch in batches:
            batch.went = position

    def _held(self, session: SessionId, branch: int) -> list[Batch]:
        return [b for b in self._batches[session] if b.is_held(branch)]

    def _next(self, session: SessionId, branch: int) -> int:
        position = self._positions.get((session, branch), 0) + 1
        self._positions[session, branch] = position
        return position


def whole_lines(text: bytes) -> list[bytes]:
    """In pieces of about `PIECE_BYTES`, each of whole lines."""
    pieces, piece = [], b""
    for line in io.BytesIO(text):
        piece += line
        if len(piece) >= PIECE_BYTES:
            pieces.append(piece)
            piece = b""
    return [*pieces, piece] if piece else pieces


def _is_below(key: TranscriptKey, main: TranscriptKey) -> bool:
    return (key.project, key.agent_session) == (main.project, main.agent_session)
