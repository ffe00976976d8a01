"""The chat's frames as server-sent events, for programs and for networks that break WebSockets.

Read only: commands go over REST. `id` is `epoch:seq`, and `Last-Event-ID` resumes after it.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
import structlog
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, SkipValidation
from litestar.response import Stream

from orchestrator.accounts.service import Accounts, Principal
from orchestrator.api.dependencies import (
    AnAccounts,
    ASessions,
    TheActor,
    ThePrincipal,
    TheSettings,
)
from orchestrator.api.documented import problems
from orchestrator.api.settings import ApiSettings
from orchestrator.api.streams import (
    StreamHead,
    StreamOver,
    StreamPlaces,
    over_because,
    until_unwelcome,
)
from orchestrator.protocol.chat import Resume
from orchestrator.protocol.ids import SessionId
from orchestrator.sessions.journal.room import Follower
from orchestrator.sessions.ports import Actor
from orchestrator.sessions.service import Sessions

KEEP_ALIVE = b": still here\n\n"
RETRY = b"retry: 2000\n\n"
MAX_WAITING = 8
"""Messages between the follower, whose queue is bounded itself, and the connection."""

_log = structlog.stdlib.get_logger("casemate.event_stream")


@get(
    "/sessions/{session_id:str}/stream",
    name="follow_events",
    media_type="text/event-stream",
    responses=problems(404, 422, 429),
    tags=["sessions"],
)
async def follow_events(
    *,
    session_id: FromPath[SessionId],
    sessions: ASessions,
    accounts: AnAccounts,
    actor: TheActor,
    principal: ThePrincipal,
    settings: TheSettings,
    places: NamedDependency[SkipValidation[StreamPlaces]],
    last_event_id: Annotated[str | None, HeaderParameter(name="Last-Event-ID")] = None,
) -> Stream:
    """Follow a session as server-sent events; each `data` is one frame of the chat protocol.

    The same address takes a WebSocket. Ends with an `over` event; connect again to resume.
    """
    await sessions.view(actor, session_id)
    with places.place(actor.id):
        pass
    stream = EventStream(
        session_id,
        principal=principal,
        actor=actor,
        sessions=sessions,
        accounts=accounts,
        settings=settings,
    )
    return Stream(
        stream.messages(resume_point(last_event_id), places),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


class EventStream:
    def __init__(
        self,
        session_id: SessionId,
        *,
        principal: Principal,
        actor: Actor,
        sessions: Sessions,
        accounts: Accounts,
        settings: ApiSettings,
    ) -> None:
        self._session_id = session_id
        self._principal = principal
        self._actor = actor
        self._sessions = sessions
        self._accounts = accounts
        self._settings = settings
        self._epoch = ""

    async def messages(self, resume: Resume, places: StreamPlaces) -> AsyncIterator[bytes]:
        """Encoded messages, until the stream is over for one reason or another."""
        waiting: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_WAITING)
        with places.place(self._actor.id):
            feeding = asyncio.create_task(self._feed(resume, waiting), name="event-stream")
            try:
                yield RETRY
                while (message := await self._next(waiting)) is not None:
                    yield message
            finally:
                feeding.cancel()
                await asyncio.wait([feeding], timeout=5)

    async def _next(self, waiting: asyncio.Queue[bytes | None]) -> bytes | None:
        try:
            async with asyncio.timeout(self._settings.keep_alive_seconds):
                return await waiting.get()
        except TimeoutError:
            return KEEP_ALIVE

    async def _feed(self, resume: Resume, waiting: asyncio.Queue[bytes | None]) -> None:
        try:
            await self._follow(resume, waiting)
        except StreamOver as over:
            await waiting.put(_message("over", msgspec.json.encode({"reason": over.reason})))
        except Exception:  # noqa: BLE001  # the status is sent: all that is left is to end
            _log.exception("event_stream.failed", session_id=self._session_id)
        await waiting.put(None)

    async def _follow(self, resume: Resume, waiting: asyncio.Queue[bytes | None]) -> None:
        attached = self._sessions.attach(self._actor, self._session_id, resume)
        try:
            async with attached as follower, asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(follower, waiting), name="event-stream-frames")
                group.create_task(self._watch(), name="event-stream-watch")
        except ExceptionGroup as errors:
            over, rest = errors.split(StreamOver)
            if rest is not None or over is None:
                raise
            raise over.exceptions[0] from None

    async def _pass_on(self, follower: Follower, waiting: asyncio.Queue[bytes | None]) -> None:
        async for frame in follower:
            head = msgspec.json.decode(frame, type=StreamHead)
            self._epoch = head.epoch or self._epoch
            event_id = f"{self._epoch}:{head.seq}"
            await waiting.put(_message("frame", frame.encode(), event_id=event_id))
        raise over_because(follower.dropped)

    async def _watch(self) -> None:
        await until_unwelcome(self._accounts, self._principal, every=self._settings.recheck_seconds)


def resume_point(last_event_id: str | None) -> Resume:
    """Where `epoch:seq` says; from the start where it says nothing that can be read."""
    epoch, _, seq = (last_event_id or "").rpartition(":")
    if not seq.isascii() or not seq.isdecimal() or len(seq) > 15 or len(epoch) > 64:  # noqa: PLR2004
        return Resume()
    return Resume(seq=int(seq), epoch=epoch)


def _message(kind: str, data: bytes, *, event_id: str = "") -> bytes:
    """Frames are JSON on one line, so that one `data` field holds each."""
    head = f"id: {event_id}\n" if event_id else ""
    name = "" if kind == "frame" else f"event: {kind}\n"
    return f"{head}{name}data: ".encode() + data + b"\n\n"
