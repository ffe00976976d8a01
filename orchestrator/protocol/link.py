"""The link: frames between a shim and the control plane, as WebSocket text on the slot's socket.

The shim dials, says `Hello` once its agent is connected (or why it could not), is answered with
`Welcome`, and from then on both sides send what they have. Both number what they send from 1 and
keep it until the other side acknowledges it; after a reconnect each sends again what was not. A
number that was already seen is dropped. Who is calling is known from the socket that was called.
"""

from typing import Annotated

import msgspec

from orchestrator.protocol.event_parts import Count, Name
from orchestrator.protocol.wire import Codec, Unrecognised, Wire

PROTOCOL_VERSION = 1
MAX_FRAME_BYTES = 4 << 20
"""A frame that is longer is a violation and ends the link."""
MAX_EVENT_BYTES = 1 << 20
"""An event that is longer is cut by the shim (see `ToolFinished.omitted`)."""


class Numbered(msgspec.Struct, frozen=True, array_like=True):
    """`[n, body]`; the body is decoded on its own, so that one unknown tag spoils nothing else."""

    n: int
    body: msgspec.Raw


class Hello(Wire, frozen=True, kw_only=True):
    """The shim's first frame on every connection."""

    protocol: int
    version: Name
    """The image's version digest."""
    cli_version: Name = ""
    sdk_version: Name = ""
    failure: str | None = None
    """Why the agent could not be connected; the sandbox is then of no use."""
    received: Count = 0
    """The highest command number that the shim has seen: a control plane that was started anew goes
    on from there."""
    startup_ms: Annotated[dict[Name, Count], msgspec.Meta(max_length=20)] = {}
    """How long `import` and `connect` took."""


class Welcome(Wire, frozen=True, kw_only=True):
    """The control plane's first frame: the highest event number that it holds safely."""

    acknowledged: Count = 0
    anew: bool = False
    """This control plane does not know what its predecessor had done: the shim says again which
    permissions and questions are open, before anything else that is new."""


class Batch(Wire, frozen=True, kw_only=True):
    """Events (from the shim) or commands (to it), in order, with what was received so far."""

    items: Annotated[list[Numbered], msgspec.Meta(max_length=10_000)] = []
    acknowledged: Count = 0


LinkFrame = Hello | Welcome | Batch | Unrecognised

link_codec: Codec[LinkFrame] = Codec(LinkFrame)
