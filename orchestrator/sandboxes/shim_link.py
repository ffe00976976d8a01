"""The link to one sandbox's shim: events in, commands out, on one slot's socket.

For: the handshake, numbering and acknowledgement in both directions, reconnects, and holding a
hostile sandbox within bounds. Not for: what events mean (the rules judge them), files (`transfers`
have connections of their own), or what happens to a container whose link is over
(`docker_sandbox`).

Commands go out only after the claim. Until then what the sandbox says of itself is noted, and what
it says to a session is kept for the one that claims it.
"""

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import AsyncIterator

import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from orchestrator.protocol.commands import SandboxCommand, sandbox_command_codec
from orchestrator.protocol.events import TRANSIENT
from orchestrator.protocol.intricacy import too_intricate
from orchestrator.protocol.link import (
    PROTOCOL_VERSION,
    Batch,
    Hello,
    LinkFrame,
    Numbered,
    Welcome,
    link_codec,
)
from orchestrator.protocol.outbox import Outbox
from orchestrator.protocol.sandbox_events import AgentDied, MemoryMeasured, sandbox_event_codec
from orchestrator.protocol.wire import MalformedFrame, Unrecognised, snake_case
from orchestrator.sandboxes.arrivals import Arrival, Arrivals, Pace
from orchestrator.sandboxes.background import BackgroundTasks
from orchestrator.sandboxes.errors import LinkViolated
from orchestrator.sandboxes.inbox import Inbox
from orchestrator.sandboxes.link_listener import (
    GuardedConnection,
    LinkListener,
    malformed,
    receive,
    violation_of,
)
from orchestrator.sandboxes.settings import LinkSettings
from orchestrator.sandboxes.transfers import Transfers
from orchestrator.sessions.ports import ReceivedEvent

FRAME_COST = 3
"""Events that a frame counts for by itself, however few are in it."""
FRAME_TARGET = 1 << 20
"""Bytes of commands after which the rest goes into the next frame."""
VACANCY_LIMIT = 0.5
"""Seconds for a broken connection to be noticed when the shim dials anew."""


def _starts(*events: type[msgspec.Struct]) -> re.Pattern[bytes]:
    """Tells events by how they begin, so that most need not be decoded here."""
    tags = "|".join(snake_case(event.__name__) for event in events)
    return re.compile(rb'\{\s*"type"\s*:\s*"(%s)"' % tags.encode())


_TRANSIENT, _NOTED = _starts(*TRANSIENT), _starts(MemoryMeasured, AgentDied)


class ShimLink:
    """One per slot, from before the container's start until the slot is gone."""

    def __init__(self, *, settings: LinkSettings) -> None:
        self._settings = settings
        self.transfers = Transfers(settings=settings, order=self.send)
        self._listener = LinkListener(
            settings=settings, handle=self._handle, transfer=self.transfers.take
        )
        self._connection: GuardedConnection | None = None
        self._vacant = asyncio.Event()
        self._vacant.set()
        self._hello: Hello | None = None
        self._greeted = asyncio.Event()
        self._over = asyncio.Event()
        self._wake = asyncio.Event()
        self._claimed = False
        self._arrivals = Arrivals()
        self._pace = Pace(settings)
        self._inbox = Inbox(most_events=settings.inbox_events, most_bytes=settings.inbox_bytes)
        self._outbox = Outbox()
        self._last_command = 0
        self._acknowledged = 0
        self._grace: asyncio.TimerHandle | None = None
        self._tasks = BackgroundTasks()
        self.violation: LinkViolated | None = None
        self.agent_died: AgentDied | None = None
        self.memory: MemoryMeasured | None = None

    async def open(self, listening: socket.socket) -> None:
        """Serve this listening socket, and own it from now on."""
        await self._listener.open(listening)

    async def close(self) -> None:
        """Idempotent. Events that arrived can still be read."""
        self._finish()
        self._inbox.close()
        self._stop_grace()
        await self.transfers.close()
        await self._listener.close()
        await self._tasks.close()

    # --- what the sandbox's owner asks ---------------------------------------------------------

    async def greeted(self) -> Hello:
        """The shim's first Hello. Waits; the caller sets the limit."""
        await self._greeted.wait()
        assert self._hello is not None
        return self._hello

    async def over(self) -> None:
        """Returns when the link is of no more use: cut, lost for too long, or the agent is dead."""
        await self._over.wait()

    @property
    def alive(self) -> bool:
        return self._connection is not None and self._hello is not None and not self._over.is_set()

    async def drained(self, *, limit: float) -> None:
        """Wait until what a dead peer had sent is in the inbox; then no more is taken."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._vacant.wait()
        self._inbox.close()

    def claim(self) -> None:
        """From now on commands go out."""
        self._claimed = True

    def send(self, command: SandboxCommand) -> None:
        """Kept until the shim acknowledges it. For a link that is over it does nothing."""
        if not self._claimed:
            raise RuntimeError("A sandbox takes no commands before it is claimed.")
        if self._over.is_set():
            return
        if (
            len(self._outbox) >= self._settings.outbox_commands
            or self._outbox.size >= self._settings.outbox_bytes
        ):
            self.cut(LinkViolated("The sandbox takes no more commands.", tag="link_hung"))
            return
        body = sandbox_command_codec.encode(command)
        self._last_command = self._outbox.add(body.encode()).n
        self._wake.set()

    def acknowledge(self, n: int) -> None:
        if self._acknowledged < n <= self._arrivals.received:
            self._acknowledged = n
            self._wake.set()

    async def events(self) -> AsyncIterator[list[ReceivedEvent]]:
        """In order, without repeats; ends when the link is closed and all was read."""
        while arrivals := await self._inbox.take():
            received: list[ReceivedEvent] = []
            try:
                received.extend(map(_decoded, arrivals))
            except LinkViolated as violation:
                self.cut(violation)
            if received:
                yield received
            if self.violation is not None:
                return

    def cut(self, violation: LinkViolated) -> None:
        """The sandbox broke the rules: nothing more is taken from it."""
        if self.violation is None:
            self.violation = violation
        self._finish()
        if self._connection is not None:
            self._connection.transport.abort()

    def _finish(self) -> None:
        self._over.set()
        self.transfers.give_up()
        self._wake.set()

    # --- one connection ------------------------------------------------------------------------

    async def _handle(self, connection: GuardedConnection) -> None:
        if self._over.is_set() or not await self._takes_over():
            await connection.close(CloseCode.TRY_AGAIN_LATER, "The link is taken.")
            return
        self._connection = connection
        self._vacant.clear()
        self._stop_grace()
        try:
            await self._greet(connection)
            await self._converse(connection)
        except LinkViolated as violation:
            self.cut(violation)
        except ConnectionClosed as closed:
            if (blame := violation_of(connection, closed)) is not None:
                self.cut(blame)
        except TimeoutError:
            connection.transport.abort()
        finally:
            self._connection = None
            self._vacant.set()
            self._start_grace()

    async def _takes_over(self) -> bool:
        """Only one speaks at a time; a second one only once the first is gone."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(VACANCY_LIMIT):
                await self._vacant.wait()
        return self._vacant.is_set()

    async def _greet(self, connection: GuardedConnection) -> None:
        async with asyncio.timeout(self._settings.hello_limit):
            frame = self._decode(await receive(connection))
        if not isinstance(frame, Hello):
            raise malformed()
        if frame.protocol != PROTOCOL_VERSION:
            raise LinkViolated(
                "The sandbox's image speaks another version of the protocol: build it anew.",
                tag="link_protocol",
            )
        await self._write(connection, Welcome(acknowledged=self._acknowledged))
        self._arrivals.connected()
        if self._hello is None:
            self._hello = frame
            self._greeted.set()

    async def _converse(self, connection: GuardedConnection) -> None:
        talking = self._tasks.start(self._talk(connection), name="link-talk")
        pinging = self._tasks.start(self._ping(connection), name="link-ping")
        try:
            while not self._over.is_set():
                await self._listen(connection)
        finally:
            talking.cancel()
            pinging.cancel()

    async def _listen(self, connection: GuardedConnection) -> None:
        text = await receive(connection)
        match self._decode(text):
            case Batch(items=items, acknowledged=acknowledged):
                self._take_acknowledgement(acknowledged)
                self._take(self._arrivals.accept(items))
                events = len(items)
            case Unrecognised():
                events = 0
            case _:
                raise malformed()
        pause = self._pace.charge(events=events + FRAME_COST, size=len(text), now=time.monotonic())
        if pause > 0:
            await asyncio.sleep(pause)
        await self._inbox.room()

    def _decode(self, text: str) -> LinkFrame:
        try:
            return link_codec.decode(text)
        except MalformedFrame as error:
            raise malformed() from error

    def _take_acknowledgement(self, n: int) -> None:
        if n > self._last_command:
            raise malformed()
        self._outbox.acknowledge(n)

    def _take(self, arrivals: list[Arrival]) -> None:
        if not self._claimed:
            kept = [arrival for arrival in arrivals if not _TRANSIENT.match(arrival.body)]
            if arrivals and not kept and len(self._inbox) == 0:
                self.acknowledge(arrivals[-1].n)
        else:
            kept = arrivals
        self._inbox.put(kept)
        for arrival in arrivals:
            if _NOTED.match(arrival.body):
                self._note(arrival)

    def _note(self, arrival: Arrival) -> None:
        match _decoded(arrival).event:
            case MemoryMeasured() as memory:
                self.memory = memory
            case AgentDied() as died:
                self.agent_died = died
                self._finish()
            case _:
                pass

    # --- what goes out -------------------------------------------------------------------------

    async def _talk(self, connection: GuardedConnection) -> None:
        sent, told = 0, self._acknowledged
        with contextlib.suppress(ConnectionClosed):
            while True:
                self._wake.clear()
                items = self._next_commands(after=sent)
                if not items and told == self._acknowledged:
                    await self._wake.wait()
                    continue
                told = self._acknowledged
                await self._write(connection, Batch(items=items, acknowledged=told))
                sent = items[-1].n if items else sent

    def _next_commands(self, *, after: int) -> list[Numbered]:
        chosen: list[Numbered] = []
        size = 0
        for item in self._outbox.pending():
            if item.n > after and size < FRAME_TARGET:
                chosen.append(item)
                size += len(bytes(item.body))
        return chosen

    async def _write(self, connection: GuardedConnection, frame: LinkFrame) -> None:
        """A peer that does not take it in time is cut from this connection."""
        try:
            async with asyncio.timeout(self._settings.ping_limit):
                await connection.send(link_codec.encode(frame))
        except TimeoutError:
            connection.transport.abort()

    async def _ping(self, connection: GuardedConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(self._settings.ping_interval)
                if not self._inbox.full:
                    await self._expect_pong(connection)

    async def _expect_pong(self, connection: GuardedConnection) -> None:
        pong = await connection.ping()
        try:
            async with asyncio.timeout(self._settings.ping_limit):
                await pong
        except TimeoutError:
            if not self._inbox.full:  # else it is us who do not listen
                connection.transport.abort()

    # --- between connections -------------------------------------------------------------------

    def _start_grace(self) -> None:
        if self._hello is not None and not self._over.is_set():
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(self._settings.reconnect_limit, self._finish)

    def _stop_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None


def _decoded(arrival: Arrival) -> ReceivedEvent:
    """Raises LinkViolated."""
    try:
        event = sandbox_event_codec.decode(arrival.body)
    except MalformedFrame as error:
        raise malformed() from error
    if too_intricate(event):
        raise malformed()
    return ReceivedEvent(n=arrival.n, event=event, body=arrival.body)
