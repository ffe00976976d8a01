"""The listening sockets in a slot. Made before the sandbox starts, so that it can dial at once.

They may be made in one process and served in another: whoever holds the descriptor needs no access
to the slot's directory. As long as one process holds it, who dials while nobody serves waits in the
kernel's bounded queue instead of being refused.
"""

import socket
from pathlib import Path
from typing import Self

import msgspec

BACKLOG = 64
_MODE = 0o666
"""The slot's directory decides who may come in."""


class SlotSockets(msgspec.Struct, frozen=True, kw_only=True):
    """`egress` is there where the profile lets sandboxes reach anything beside the model."""

    link: socket.socket
    model: socket.socket
    egress: socket.socket | None = None

    def dup(self) -> Self:
        """The same sockets under descriptors of their own. Raises OSError, leaving none open."""
        copies: list[socket.socket] = []
        try:
            copies.extend(one.dup() for one in (self.link, self.model))
            egress = None if self.egress is None else self.egress.dup()
        except OSError:
            for copy in copies:
                copy.close()
            raise
        return type(self)(link=copies[0], model=copies[1], egress=egress)

    def close(self) -> None:
        """Idempotent."""
        for listening in (self.link, self.model, self.egress):
            if listening is not None:
                listening.close()


def listen(path: Path) -> socket.socket:
    """A listening, non-blocking stream socket at `path`. Raises OSError."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.settimeout(0)
        listening.bind(str(path))
        path.chmod(_MODE)
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening
