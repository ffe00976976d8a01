"""The chat's WebSocket: decode commands, carry them out, send frames, let go in time.

For: one connection of one user to one session, in the protocol of `orchestrator.protocol.chat`.
Not for rules: what a command may do is decided by the sessions. A bad frame is answered and the
connection lives; it ends with a code that says why (`streams`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import structlog
from litestar import WebSocket, websocket
from litestar.di import NamedDependency
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath, SkipValidation

from orchestrator.accounts.errors import AccountError
from orchestrator.accounts.service import Accounts, Principal
from orchestrator.api.dependencies import AnAccounts, ASessions, TheGate, TheSettings, as_actor
from orchestrator.api.errors import TooManyStreams
from orchestrator.api.ports import DoorWatcher
from orchestrator.api.problems import internal_problem, problem_of
from orchestrator.api.settings import ApiSettings
from orchestrator.api.streams import (
    INTERNAL,
    NOT_FOUND,
    SIGNED_OUT,
    TOO_BIG,
    TOO_MANY,
    TOO_SLOW,
    StreamOver,
    StreamPlaces,
    over_because,
    until_unwelcome,
)
from orchestrator.protocol.chat import (
    MAX_COMMAND_BYTES,
    BrowserCommand,
    CommandRefused,
    Ping,
    Pong,
    Problem,
    Prompt,
    Resume,
    RunAgain,
    ServerFrame,
    browser_command_codec,
    server_frame_codec,
)
from orchestrator.protocol.ids import ClientId, SessionId
from orchestrator.protocol.wire import MalformedFrame, Unrecognised, snake_case
from orchestrator.sessions.errors import RuleBroken, ShuttingDown, UnknownSession
from orchestrator.sessions.journal.room import Follower
from orchestrator.sessions.service import Sessions

MAX_FRAME_BYTES = 4 << 20
"""Above `MAX_COMMAND_BYTES` a frame is refused, above this the connection ends with 1009."""

Socket = WebSocket[Any, Any, Any]

_log = structlog.stdlib.get_logger("casemate.chat_socket")


@websocket("/sessions/{session_id:str}/stream", name="chat_socket")
async def chat_socket(
    *,
    socket: Socket,
    session_id: FromPath[SessionId],
    sessions: ASessions,
    accounts: AnAccounts,
    gate: TheGate,
    settings: TheSettings,
    places: NamedDependency[SkipValidation[StreamPlaces]],
    watcher: NamedDependency[SkipValidation[DoorWatcher]],
) -> None:
    """Its origin was checked by the gate. Accepted before it is known who asks, since a page can
    see a close code, but not the status of a refused handshake."""
    await socket.accept()
    watcher.socket_opened()
    over = StreamOver(INTERNAL, "Something went wrong. Resume.")
    try:
        principal = await _identified(socket, gate)
        with places.place(principal.user):
            chat = ChatSocket(
                socket,
                principal=principal,
                session_id=session_id,
                sessions=sessions,
                accounts=accounts,
                settings=settings,
            )
            over = await chat.run()
    except StreamOver as early:
        over = early
    except TooManyStreams as error:
        over = StreamOver(TOO_MANY, error.sentence)
    except Exception:  # noqa: BLE001  # the handshake is done: a close code is all that can be said
        _log.exception("chat_socket.failed")
    finally:
        watcher.socket_closed(over.code)
        await _close(socket, over)


class ChatSocket:
    def __init__(
        self,
        socket: Socket,
        *,
        principal: Principal,
        session_id: SessionId,
        sessions: Sessions,
        accounts: Accounts,
        settings: ApiSettings,
    ) -> None:
        self._socket = socket
        self._principal = principal
        self._actor = as_actor(principal)
        self._session_id = session_id
        self._sessions = sessions
        self._accounts = accounts
        self._settings = settings
        self._allowance = Allowance(
            rate=settings.commands_per_second, burst=settings.commands_at_once
        )

    async def run(self) -> StreamOver:
        """Until one of the two sides has enough; says why."""
        try:
            resume = await self._first_frame()
            async with self._attached(resume) as follower, asyncio.TaskGroup() as group:
                group.create_task(self._write(follower), name="chat-write")
                group.create_task(self._read(), name="chat-read")
                group.create_task(self._watch(), name="chat-watch")
        except StreamOver as over:
            return over
        except WebSocketDisconnect as gone:
            return StreamOver(gone.code, "The browser left.")
        except ExceptionGroup as group_error:
            return _why(group_error)
        raise AssertionError("a stream ends by an exception")

    # --- from the browser --------------------------------------------------------------------

    async def _first_frame(self) -> Resume:
        try:
            async with asyncio.timeout(self._settings.resume_seconds):
                while True:
                    command = await self._next_command()
                    if isinstance(command, Resume):
                        return command
                    if command is not None:
                        await self._refuse(_RESUME_FIRST, command)
        except TimeoutError:
            raise StreamOver(TOO_SLOW, "The first frame did not come.") from None

    async def _read(self) -> NoReturn:
        while True:
            command = await self._next_command()
            if command is not None:
                await self._carry_out(command)

    async def _next_command(self) -> BrowserCommand | None:
        """None for a frame that was refused already."""
        await self._allowance.take()
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(code=message.get("code", 1005), detail="The browser left.")
        command = _decoded(message)
        if isinstance(command, Problem):
            await self._refuse(command)
            return None
        return command

    async def _carry_out(self, command: BrowserCommand) -> None:
        match command:
            case Ping():
                await self._send(server_frame_codec.encode(Pong(seq=self._seq())))
            case Resume():
                await self._refuse(_ALREADY_RESUMED, command)
            case Unrecognised():
                await self._refuse(_unknown_command(command.tag), command)
            case _:
                await self._ask(command)

    async def _ask(self, command: BrowserCommand) -> None:
        try:
            await self._sessions.command(self._actor, self._session_id, command)
        except RuleBroken as error:
            await self._refuse(problem_of(error), command)
        except Exception:  # noqa: BLE001  # a fault in one command is no reason to lose the socket
            request_id = str(self._socket.scope.get("state", {}).get("request_id", "none"))
            _log.exception("command.failed", command=_tag_of(command))
            await self._refuse(internal_problem(request_id), command)

    # --- to the browser ----------------------------------------------------------------------

    @asynccontextmanager
    async def _attached(self, resume: Resume) -> AsyncIterator[Follower]:
        try:
            async with self._sessions.attach(self._actor, self._session_id, resume) as follower:
                yield follower
        except UnknownSession as error:
            await self._refuse(problem_of(error), resume)
            raise StreamOver(NOT_FOUND, error.sentence) from error
        except RuleBroken as error:
            await self._refuse(problem_of(error), resume)
            code = 1012 if isinstance(error, ShuttingDown) else INTERNAL
            raise StreamOver(code, error.sentence) from error

    async def _write(self, follower: Follower) -> NoReturn:
        async for frame in follower:
            await self._send(frame)
        raise over_because(follower.dropped)

    async def _send(self, frame: str) -> None:
        try:
            async with asyncio.timeout(self._settings.send_seconds):
                await self._socket.send_text(frame)
        except TimeoutError:
            raise StreamOver(TOO_SLOW, "This connection takes nothing in. Resume.") from None

    async def _refuse(self, problem: Problem, command: BrowserCommand | None = None) -> None:
        frame: ServerFrame = CommandRefused(
            seq=self._seq(),
            problem=problem,
            client_id=_client_id_of(command),
            command=_tag_of(command) if command is not None else None,
        )
        await self._send(server_frame_codec.encode(frame))

    def _seq(self) -> int:
        return self._sessions.seq(self._session_id)

    async def _watch(self) -> None:
        await until_unwelcome(self._accounts, self._principal, every=self._settings.recheck_seconds)


class Allowance:
    """A token bucket that makes its caller wait: whoever sends too fast is read more slowly."""

    def __init__(self, *, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._left = float(burst)
        self._at = time.monotonic()

    async def take(self) -> None:
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        self._left -= 1
        if self._left < 0:
            await asyncio.sleep(-self._left / self._rate)


async def _identified(socket: Socket, gate: TheGate) -> Principal:
    try:
        principal, _ = await gate.identify(socket)
    except AccountError as error:
        raise StreamOver(SIGNED_OUT, error.sentence) from error
    return principal


async def _close(socket: Socket, over: StreamOver) -> None:
    """Tell the browser why, unless it is gone."""
    if socket.connection_state == "disconnect":
        return
    try:
        await asyncio.wait_for(socket.close(code=over.code, reason=over.reason[:120]), timeout=5)
    except Exception:  # noqa: BLE001  # the handshake is done: a close code is all that can be said
        _log.debug("chat_socket.close_failed", exc_info=True)


def _why(group: ExceptionGroup[Exception]) -> StreamOver:
    """The reason that counts where several tasks ended at once."""
    for error in group.exceptions:
        if isinstance(error, StreamOver):
            return error
    for error in group.exceptions:
        if isinstance(error, WebSocketDisconnect):
            return StreamOver(error.code, "The browser left.")
    _log.error("chat_socket.failed", exc_info=group)
    return StreamOver(INTERNAL, "Something went wrong. Resume.")


def _decoded(message: Mapping[str, Any]) -> BrowserCommand | Problem:
    """The command in a frame, or what is wrong with the frame. Raises StreamOver for a huge one."""
    text: str | None = message.get("text")
    data: bytes = message.get("bytes") or b"" if text is None else text.encode(errors="replace")
    if len(data) > MAX_FRAME_BYTES:
        raise StreamOver(TOO_BIG, "The frame is longer than 4 MiB.")
    if text is None:
        return _BINARY
    if len(data) > MAX_COMMAND_BYTES:
        return _TOO_LARGE
    try:
        return browser_command_codec.decode(data)
    except MalformedFrame as error:
        return _malformed(error.reason)


def _tag_of(command: BrowserCommand) -> str:
    if isinstance(command, Unrecognised):
        return command.tag[:64]
    return snake_case(type(command).__name__)


def _client_id_of(command: BrowserCommand | None) -> ClientId | None:
    return command.client_id if isinstance(command, Prompt | RunAgain) else None


_RESUME_FIRST = Problem(
    tag="resume_first",
    title="The first frame must be `resume`.",
    detail="Say the last `seq` and `epoch` that you saw.",
    status=409,
)
_ALREADY_RESUMED = Problem(
    tag="already_resumed",
    title="This connection is already following.",
    detail="Open a new one to resume from elsewhere.",
    status=409,
)
_BINARY = Problem(
    tag="binary_frame", title="Frames are text.", detail="Send JSON as text.", status=415
)
_TOO_LARGE = Problem(
    tag="too_large",
    title="The prompt is longer than 1 MiB.",
    detail="Shorten it, or put the long part into a file of the workspace.",
    status=413,
)


def _malformed(reason: str) -> Problem:
    return Problem(
        tag="malformed_frame", title="The frame is not valid.", detail=reason, status=400
    )


def _unknown_command(tag: str) -> Problem:
    return Problem(
        tag="unknown_command",
        title="This server does not know that command.",
        detail=f"`{tag[:64]}` may be of a newer version. Reload the page.",
        status=400,
    )
