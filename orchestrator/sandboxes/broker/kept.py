"""One sandbox as the keeper has it: how far it is, and what belongs to it on this machine."""

import asyncio
from typing import Literal

from orchestrator.protocol.broker import BrokeredSandbox
from orchestrator.protocol.ids import ProfileName, SlotId
from orchestrator.sandboxes.container_spec import Image
from orchestrator.sandboxes.errors import SlotFailure
from orchestrator.sandboxes.ports import BrokeredStart
from orchestrator.sandboxes.slot_sockets import SlotSockets


class Kept:
    """A sandbox from the request to make it until nothing of it is left."""

    def __init__(self, slot: SlotId, profile: ProfileName) -> None:
        self.slot, self.profile = slot, profile
        self.state: Literal["making", "running", "frozen", "dead", "leaving"] = "making"
        self.making: asyncio.Task[BrokeredStart] | None = None
        self.container: str | None = None
        self.image: Image | None = None
        self.sockets: SlotSockets | None = None
        self.claimed = False
        self.memory_untold = False
        self.changing = asyncio.Lock()
        """Freezing and thawing: what was asked last is how it is then."""
        self.removing = asyncio.Lock()

    def view(self) -> BrokeredSandbox:
        return BrokeredSandbox(
            slot=self.slot, profile=self.profile, state=self.state, claimed=self.claimed
        )

    @property
    def is_left_behind(self) -> bool:
        """It should be gone, and nobody is removing it."""
        made = self.making is None or self.making.done()
        return self.state == "leaving" and made and not self.removing.locked()

    def started(self) -> BrokeredStart:
        """For a caller, who gets descriptors of their own. Raises SlotFailure."""
        assert self.image is not None
        assert self.sockets is not None
        try:
            sockets = self.sockets.dup()
        except OSError as error:
            sentence = f"The slot's sockets could not be handed over: {error.strerror}."
            raise SlotFailure(sentence) from error
        return BrokeredStart(image=self.image.id, version=self.image.version, sockets=sockets)
