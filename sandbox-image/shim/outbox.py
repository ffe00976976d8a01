"""What the shim has said and the control plane does not hold safely yet.

Overflow rule: above `SOFT_BYTES` transient events are left out (a later durable one says the same);
above `HARD_BYTES` the agent is read no further until there is room again, so that the CLI waits
and nothing durable is lost. Events that come from elsewhere are few and are always taken.
"""

import asyncio
from collections.abc import Callable

from orchestrator.protocol.events import TRANSIENT
from orchestrator.protocol.link import Numbered
from orchestrator.protocol.outbox import Outbox
from orchestrator.protocol.sandbox_events import SandboxWord
from shim.fitting import fit

SOFT_BYTES = 8 << 20
HARD_BYTES = 32 << 20
MAX_EVENTS = 200_000
"""However small they are; reading the agent stops here too."""


class EventOutbox:
    """`on_added` is called when there is something new to send."""

    def __init__(self, *, soft: int = SOFT_BYTES, hard: int = HARD_BYTES) -> None:
        self._outbox = Outbox()
        self._soft = soft
        self._hard = hard
        self._unsent: list[Numbered] = []
        self._room = asyncio.Event()
        self._room.set()
        self.on_added: Callable[[], None] = lambda: None

    def say(self, event: SandboxWord) -> None:
        """Number an event, or a word of the transcript, and keep it."""
        if isinstance(event, TRANSIENT) and self._outbox.size > self._soft:
            return
        self._unsent.append(self._outbox.add(fit(event)))
        if self._is_full():
            self._room.clear()
        self.on_added()

    async def room(self) -> None:
        """Waits until the agent may be read on: for as long as the control plane is away."""
        await self._room.wait()

    def acknowledge(self, n: int) -> None:
        self._outbox.acknowledge(n)
        if not self._is_full():
            self._room.set()

    def take_unsent(self) -> list[Numbered]:
        """What was said since the last call, in order."""
        unsent, self._unsent = self._unsent, []
        return unsent

    def rewind(self) -> None:
        """The link broke: everything that was not acknowledged is unsent again."""
        self._unsent = self._outbox.pending()

    def _is_full(self) -> bool:
        return self._outbox.size > self._hard or len(self._outbox) > MAX_EVENTS
