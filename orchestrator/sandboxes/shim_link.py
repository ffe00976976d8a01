"""The link to one sandbox's shim: events in, commands out, on one slot's socket.

For: the handshake, numbering and acknowledgement in both directions, reconnects, and holding a
hostile sandbox within bounds. Not for: what events mean (the rules judge them), files (`transfers`
have connections of their own), or what happens to a container whose link is over
(`docker_sandbox`).

Commands go out only after the claim. Until then what the sandbox says of itself is noted, and what
it says to a session is kept for the one that claims it.

A link may be adopted: its shim was spoken with before, by a control plane that is no more. Then
numbers go on from where that one was, in both directions.
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

from orchestrator.protocol.commands import SandboxCommand
from orchestrator.protocol.events import TRANSIENT
from orchestrator.protocol.intricacy import too_intricate
from orchestrator.protocol.link import (
    PROTOCOL_VERSION,
    Batch,
    Hello,
    LinkFrame,
    Welcome,
    link_codec,
)
from orchestrator.protocol.sandbox_events import AgentDied, MemoryMeasured, sandbox_word_codec
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
from orchestrator.sandboxes.outflow import Outflow, Reason
from orchestrator.sandboxes.settings import LinkSettings
from orchestrator.sandboxes.transfers import Transfers
from orchestrator.sessions.ports import ReceivedEvent

FRAME_COST = 3
"""Events that a frame counts for by itself, however few are in it."""
VACANCY_LIMIT = 0.5
"""Seconds for a broken connection to be noticed when the shim dials anew."""


def _starts(*events: type[msgspec.Struct]) -> re.Pattern[bytes]:
    """Tells events by how they begin, so that most need not be decoded here."""
    tags = "|".join(snake_case(event.__name__) for event in events)
    return re.compile(rb'\{\s*"type"\s*:\s*"(%s)"' % tags.encode())


_TRANSIENT, _NOTED = _starts(*TRANSIENT), _starts(MemoryMeasured, AgentDied)


class ShimLink:
    """One per slot, from before the container's start until the slot is gone. `held`: it is an
    adopted one, and this is the highest event number that is held safely."""

    def __init__(self, *, settings: LinkSettings, held: int | None = None) -> None:
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
        self._claimed = False
        self._anew = held is not None
        self._arrivals = Arrivals(held=held)
        self._pace = Pace(settings)
        self._inbox = Inbox(most_events=settings.inbox_events, most_bytes=settings.inbox_bytes)
        self._outflow = Outflow(settings, acknowledged=held or 0)
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
        if not self._outflow.add(command):
            self.cut(LinkViolated("The sandbox takes no more commands.", tag="link_hung"))

    def acknowledge(self, n: int) -> None:
        if self._outflow.acknowledged < n <= self._arrivals.received:
            self._outflow.acknowledge(n)

    def hold(self, reason: Reason) -> None:
        """Nothing goes out until it is let go; a frozen peer is not expected to answer, either."""
        self._outflow.hold(reason)
        if reason == "frozen":
            self._stop_grace()

    def let_go(self, reason: Reason) -> None:
        self._outflow.let_go(reason)
        if reason == "frozen" and self._connection is None:
            self._start_grace()

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
        if self._hello is None and self._anew:
            self._outflow.continue_from(frame.received)
        welcome = Welcome(acknowledged=self._outflow.acknowledged, anew=self._anew)
        await self._outflow.write(connection, welcome)
        self._arrivals.connected()
        if self._hello is None:
            self._hello = frame
            self._greeted.set()

    async def _converse(self, connection: GuardedConnection) -> None:
        talking = self._tasks.start(self._outflow.talk(connection), name="link-talk")
        pinging = self._tasks.start(self._ping(connection), name="link-ping")
        try:
            while not self._over.is_set():
                await self._listen(connection)
        finally:
            talking.cancel()
            pinging.cancel()

    async def _listen(self, connection: GuardedConnection) -> None:
        text = await receive(connection)
        self._anew = False  # it has our Welcome
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
        if not self._outflow.take_acknowledgement(n):
            raise malformed()

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

    async def _ping(self, connection: GuardedConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(self._settings.ping_interval)
                if not self._inbox.full and not self._outflow.frozen:
                    await self._expect_pong(connection)

    async def _expect_pong(self, connection: GuardedConnection) -> None:
        freezes = self._outflow.freezes
        pong = await connection.ping()
        try:
            async with asyncio.timeout(self._settings.ping_limit):
                await pong
        except TimeoutError:
            was_frozen = self._outflow.frozen or self._outflow.freezes != freezes
            if not self._inbox.full and not was_frozen:  # else it is us who do not listen
                connection.transport.abort()

    # --- between connections -------------------------------------------------------------------

    def _start_grace(self) -> None:
        if self._outflow.frozen:
            return
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
        event = sandbox_word_codec.decode(arrival.body)
    except MalformedFrame as error:
        raise malformed() from error
    if too_intricate(event):
        raise malformed()
    return ReceivedEvent(n=arrival.n, event=event, body=arrival.body)
