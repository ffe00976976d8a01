"""What goes out over one link: commands and acknowledgements, numbered, kept, and held back.

Commands are kept until the shim acknowledges them, and are sent again on the next connection. While
anything is held back nothing is written: a frozen peer reads nothing, and that is no fault of its.
"""

import asyncio
import contextlib
from typing import Literal

from websockets.exceptions import ConnectionClosed

from orchestrator.protocol.commands import SandboxCommand, sandbox_command_codec
from orchestrator.protocol.link import Batch, LinkFrame, Numbered, link_codec
from orchestrator.protocol.outbox import Outbox
from orchestrator.sandboxes.link_listener import GuardedConnection
from orchestrator.sandboxes.settings import LinkSettings

FRAME_TARGET = 1 << 20
"""Bytes of commands after which the rest goes into the next frame."""

Reason = Literal["frozen", "claim"]
"""Why nothing goes out: the peer is frozen, or the broker does not know yet that it is claimed."""


class Outflow:
    """`acknowledged` is the highest event number that is held safely here."""

    def __init__(self, settings: LinkSettings, *, acknowledged: int = 0) -> None:
        self._settings = settings
        self._outbox = Outbox()
        self._wake = asyncio.Event()
        self._going = asyncio.Event()
        self._going.set()
        self._holds: set[Reason] = set()
        self._freezes = 0
        self.acknowledged = acknowledged

    def continue_from(self, n: int) -> None:
        """Another one before us has sent commands up to this number. Before the first `add`."""
        self._outbox = Outbox(last=n)

    def add(self, command: SandboxCommand) -> bool:
        """False where the peer takes none any more."""
        full = (
            len(self._outbox) >= self._settings.outbox_commands
            or self._outbox.size >= self._settings.outbox_bytes
        )
        if not full:
            self._outbox.add(sandbox_command_codec.encode(command).encode())
            self._wake.set()
        return not full

    def take_acknowledgement(self, n: int) -> bool:
        """False for a number that was never given out."""
        if n > self._outbox.last:
            return False
        self._outbox.acknowledge(n)
        return True

    def acknowledge(self, n: int) -> None:
        self.acknowledged = n
        self._wake.set()

    # --- held back -------------------------------------------------------------------------------

    def hold(self, reason: Reason) -> None:
        """Idempotent."""
        self._freezes += reason == "frozen"
        self._holds.add(reason)
        self._going.clear()

    def let_go(self, reason: Reason) -> None:
        """Idempotent."""
        self._holds.discard(reason)
        if not self._holds:
            self._going.set()

    @property
    def frozen(self) -> bool:
        return "frozen" in self._holds

    @property
    def freezes(self) -> int:
        """How often the peer was frozen: whoever waits for it compares before and after."""
        return self._freezes

    # --- writing ---------------------------------------------------------------------------------

    async def talk(self, connection: GuardedConnection) -> None:
        """Everything that is there and that comes, until the connection ends."""
        sent, told = 0, self.acknowledged
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._going.wait()
                self._wake.clear()
                items = self._next_commands(after=sent)
                if not items and told == self.acknowledged:
                    await self._wake.wait()
                    continue
                told = self.acknowledged
                await self.write(connection, Batch(items=items, acknowledged=told))
                sent = items[-1].n if items else sent

    def _next_commands(self, *, after: int) -> list[Numbered]:
        chosen: list[Numbered] = []
        size = 0
        for item in self._outbox.pending():
            if item.n > after and size < FRAME_TARGET:
                chosen.append(item)
                size += len(bytes(item.body))
        return chosen

    async def write(self, connection: GuardedConnection, frame: LinkFrame) -> None:
        """A peer that does not take it in time is cut from this connection, unless it was frozen:
        then what was written waits for it."""
        freezes = self._freezes
        try:
            async with asyncio.timeout(self._settings.ping_limit):
                await connection.send(link_codec.encode(frame))
        except TimeoutError:
            if freezes == self._freezes and not self.frozen:
                connection.transport.abort()
