"""One browser of a chaos run: follows a session through every cut, and distrusts what it is told.

It reconnects as the page does, with the last `seq` and `epoch` that it saw. Whatever is missing,
repeated or out of order is noted in `violations`; it never looks away.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec

from orchestrator.protocol.chat import (
    BrowserCommand,
    CommandRefused,
    Events,
    Resume,
    SequencedEvent,
    SessionChanged,
    SessionView,
    Snapshot,
    browser_command_codec,
    server_frame_codec,
)
from orchestrator.protocol.events import TRANSIENT, Event, event_codec
from orchestrator.protocol.wire import Unrecognised

RETRY = 0.2
"""Seconds between two attempts to connect."""


class Follower:
    """`run` until cancelled. `events` holds what was shown, in order: what a person would see."""

    def __init__(self, http: aiohttp.ClientSession, session_id: str, *, name: str) -> None:
        self._http = http
        self._session = session_id
        self.name = name
        self.seq = 0
        self.epoch = ""
        self.view: SessionView | None = None
        self.durable: dict[int, bytes] = {}
        """What was shown and is in the log for good, by `seq`."""
        self.events: list[Event] = []
        self.refusals: list[CommandRefused] = []
        self.violations: list[str] = []
        self.connections = self.snapshots = 0
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                await self._follow()
            self._socket = None
            await self._tell()
            await asyncio.sleep(RETRY)

    async def _follow(self) -> None:
        path = f"/api/v1/sessions/{self._session}/stream"
        async with self._http.ws_connect(path, max_msg_size=0) as socket:
            self.connections += 1
            resume = Resume(seq=self.seq, epoch=self.epoch)
            await socket.send_str(browser_command_codec.encode(resume))
            self._socket = socket
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._take(str(message.data))
                    await self._tell()

    def _take(self, text: str) -> None:
        match server_frame_codec.decode(text):
            case Snapshot() as snapshot:
                self._start_over(snapshot)
            case Events(events=events, epoch=epoch):
                if epoch and self.epoch and epoch != self.epoch:
                    self._wrong(f"events of epoch {epoch} without a snapshot, after {self.epoch}")
                self.epoch = epoch or self.epoch
                for event in events:
                    self._go_on(event)
            case SessionChanged(session=view):
                self.view = view
            case CommandRefused() as refused:
                self.refusals.append(refused)
            case Unrecognised(tag=tag):
                self._wrong(f"an unknown frame {tag}")
            case _:
                pass

    def _start_over(self, snapshot: Snapshot) -> None:
        self.snapshots += 1
        self.epoch, self.view = snapshot.epoch, snapshot.session
        last = 0
        for event in snapshot.events:
            if event.seq < last:
                self._wrong(f"a snapshot in the wrong order: {event.seq} after {last}")
            last = event.seq
            self._keep(event)
        if last > snapshot.seq:
            self._wrong(f"a snapshot of {snapshot.seq} that holds {last}")
        self.seq = snapshot.seq

    def _go_on(self, event: SequencedEvent) -> None:
        if event.seq != self.seq + 1:
            self._wrong(f"seq {event.seq} after {self.seq}")
        self.seq = event.seq
        self._keep(event)

    def _keep(self, sequenced: SequencedEvent) -> None:
        event = event_codec.decode(bytes(sequenced.event))
        if isinstance(event, TRANSIENT):
            return
        before = self.durable.setdefault(sequenced.seq, bytes(sequenced.event))
        if before != bytes(sequenced.event):
            self._wrong(f"seq {sequenced.seq} was another event before")
        elif len(self.durable) > len(self.events):
            self.events.append(event)

    def _wrong(self, what: str) -> None:
        self.violations.append(f"{self.name}: {what}")

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # --- what the player does with it ----------------------------------------------------------

    async def send(self, command: BrowserCommand) -> None:
        """Raises ConnectionError while it is cut: whoever sends tries again."""
        if self._socket is None:
            raise ConnectionError("The socket is cut.")
        try:
            await self._socket.send_str(browser_command_codec.encode(command))
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionError(str(error)) from error

    async def until(self, condition: Callable[["Follower"], Any], *, limit: float) -> Any:
        """What `condition` gives once it is true. Raises TimeoutError."""
        async with self._changed, asyncio.timeout(limit):
            while not (result := condition(self)):
                await self._changed.wait()
            return result

    async def cut(self) -> None:
        """As a phone in a tunnel: the connection is gone, without a good-bye."""
        socket = self._socket
        if socket is not None and socket._response.connection is not None:
            transport = socket._response.connection.transport
            if transport is not None:
                transport.abort()


def new_id() -> str:
    return secrets.token_hex(8)


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A session's log as the API has it at the end."""

    events: list[tuple[int, Event]]
    bodies: dict[int, bytes]


async def read_history(http: aiohttp.ClientSession, session_id: str) -> History:
    """All of it, page by page from the end."""
    found: dict[int, bytes] = {}
    before: int | None = None
    while True:
        query = {"limit": "500"} | ({} if before is None else {"before": str(before)})
        async with http.get(f"/api/v1/sessions/{session_id}/events", params=query) as answer:
            answer.raise_for_status()
            page = msgspec.json.decode(await answer.read(), type=_Page)
        found.update({event.seq: bytes(event.event) for event in page.events})
        if not page.earlier or not page.events:
            break
        before = page.events[0].seq
    in_order = dict(sorted(found.items()))
    return History(
        events=[(seq, event_codec.decode(body)) for seq, body in in_order.items()],
        bodies=in_order,
    )


class _Page(msgspec.Struct, frozen=True, kw_only=True):
    events: list[SequencedEvent]
    earlier: bool = False
