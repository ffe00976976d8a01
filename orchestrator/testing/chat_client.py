"""A client of the public API, as a program would write one: REST and the chat's WebSocket.

For integration tests and benches; it keeps every event that it saw, and waits for what it is told.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import msgspec

from orchestrator.protocol.chat import (
    BrowserCommand,
    CommandRefused,
    DecidePermission,
    Events,
    Prompt,
    Resume,
    SequencedEvent,
    SessionChanged,
    SessionView,
    Snapshot,
    browser_command_codec,
    server_frame_codec,
)
from orchestrator.protocol.commands import PermissionDecision
from orchestrator.protocol.events import Event, event_codec
from orchestrator.protocol.ids import ClientId
from orchestrator.protocol.sandbox_events import PermissionRequested, TurnEnded

E_ = TypeVar("E_", bound=msgspec.Struct)
LIMIT = 60.0


def decision_on(request: PermissionRequested, choice: str, **fields: Any) -> DecidePermission:
    """An answer to exactly what was asked, as a page would send it."""
    given = {"choice": choice, "input_hash": request.input_hash} | fields
    return DecidePermission(
        permission_id=request.permission_id, decision=msgspec.convert(given, PermissionDecision)
    )


class Chat:
    """One follower of one session. `events` are in the order of their `seq`, without repeats."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._changed = asyncio.Condition()
        self.events: list[tuple[int, Event]] = []
        self.arrived: dict[int, float] = {}
        """`time.perf_counter()` of each event, by `seq`."""
        self.refusals: list[CommandRefused] = []
        self.view: SessionView | None = None
        self.seq = 0
        self.epoch = ""
        self.snapshots = 0
        self.closed: int | None = None

    async def read(self) -> None:
        """Take in frames until the socket closes."""
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                await self._take(str(message.data))
        async with self._changed:
            self.closed = self._socket.close_code
            self._changed.notify_all()

    async def _take(self, text: str) -> None:
        frame = server_frame_codec.decode(text)
        async with self._changed:
            match frame:
                case Snapshot():
                    self.events.clear()
                    self.snapshots += 1
                    self.epoch, self.view, self.seq = frame.epoch, frame.session, 0
                    self._add(frame.events)
                    self.seq = max(self.seq, frame.seq)
                case Events():
                    self.epoch = frame.epoch or self.epoch
                    self._add(frame.events)
                case SessionChanged():
                    self.view = frame.session
                case CommandRefused():
                    self.refusals.append(frame)
                case _:
                    pass
            self._changed.notify_all()

    def _add(self, events: list[SequencedEvent]) -> None:
        now = time.perf_counter()
        for sequenced in events:
            if sequenced.seq > self.seq:
                self.events.append((sequenced.seq, event_codec.decode(bytes(sequenced.event))))
                self.arrived[sequenced.seq] = now
                self.seq = sequenced.seq

    async def send(self, command: BrowserCommand) -> None:
        await self._socket.send_str(browser_command_codec.encode(command))

    async def send_text(self, text: str) -> None:
        """Anything at all, well-formed or not."""
        await self._socket.send_str(text)

    async def until(self, condition: Callable[["Chat"], Any], *, limit: float = LIMIT) -> Any:
        """Wait until `condition` is true of this chat and return what it gave."""
        async with self._changed:
            async with asyncio.timeout(limit):
                while not (result := condition(self)):
                    if self.closed is not None:
                        raise ConnectionError(f"The chat was closed with {self.closed}.")
                    await self._changed.wait()
            return result

    async def next(self, kind: type[E_], *, after: int = 0, limit: float = LIMIT) -> tuple[int, E_]:
        """The first event of this type with a `seq` above `after`."""
        found: tuple[int, E_] = await self.until(
            lambda chat: next(
                ((seq, e) for seq, e in chat.events if seq > after and isinstance(e, kind)), None
            ),
            limit=limit,
        )
        return found

    def of(self, kind: type[E_]) -> list[E_]:
        return [event for _, event in self.events if isinstance(event, kind)]

    async def prompt(self, text: str) -> int:
        """Send a prompt; returns the last `seq` before it."""
        before = self.seq
        await self.send(Prompt(client_id=ClientId(secrets.token_hex(8)), text=text))
        return before

    async def turn(self, text: str, *, limit: float = LIMIT) -> TurnEnded:
        """Send a prompt and wait for its result."""
        before = await self.prompt(text)
        _, ended = await self.next(TurnEnded, after=before, limit=limit)
        return ended


class ApiClient:
    """Signed in with a bearer token. Use as `async with ApiClient.signed_in(...)`."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.http = http

    @classmethod
    @asynccontextmanager
    async def signed_in(cls, url: str, name: str, password: str) -> AsyncIterator["ApiClient"]:
        async with aiohttp.ClientSession(base_url=url) as http:
            body = {"username": name, "password": password}
            async with http.post("/api/v1/auth/token", json=body) as answer:
                answer.raise_for_status()
                token = (await answer.json())["access_token"]
            http.headers["Authorization"] = f"Bearer {token}"
            yield cls(http)

    async def request(
        self, method: str, path: str, *, json: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, decoded body (None where it is empty) and headers."""
        async with self.http.request(method, path, json=json, headers=headers) as answer:
            text = await answer.text()
            is_json = "json" in answer.headers.get("Content-Type", "")
            body = msgspec.json.decode(text) if text and is_json else text or None
            return answer.status, body, dict(answer.headers)

    async def create(self, *, respond_async: bool = False, **body: Any) -> dict[str, Any]:
        headers = {"Prefer": "respond-async"} if respond_async else None
        status, answer, _ = await self.request(
            "POST", "/api/v1/sessions", json=body, headers=headers
        )
        if status not in {200, 201, 202}:
            raise RuntimeError(f"{status}: {answer}")
        return dict(answer)

    async def end(self, session_id: str) -> None:
        await self.request("DELETE", f"/api/v1/sessions/{session_id}")

    @asynccontextmanager
    async def chat(self, session_id: str, *, seq: int = 0, epoch: str = "") -> AsyncIterator[Chat]:
        path = f"/api/v1/sessions/{session_id}/stream"
        async with self.http.ws_connect(path, max_msg_size=0) as socket:
            chat = Chat(socket)
            reader = asyncio.create_task(chat.read(), name="chat-reader")
            try:
                await chat.send(Resume(seq=seq, epoch=epoch))
                await chat.until(lambda chat: chat.epoch)
                yield chat
            finally:
                await socket.close()
                await reader
