"""The broker's wire: what the control plane asks of the process that alone talks to Docker.

One message per packet of a `SOCK_SEQPACKET` unix socket. The client opens with `Hello` and is told
`Welcome`, or why not (`Farewell`). Then it sends requests, each with a number of its own, and gets
an answer with that number; `Died` and `RanOutOfMemory` come unasked once it watches. The
descriptors of a new sandbox's listening sockets travel with `Created`.

No message holds any part of a container: a request names a profile and a slot, and the broker knows
the rest itself. Whatever is not exactly one of these messages ends the connection.
"""

import hashlib
from typing import Annotated, Literal

import msgspec

from orchestrator.protocol.ids import ProfileName, SandboxId, SlotId
from orchestrator.protocol.wire import snake_case

BROKER_PROTOCOL = 2
MAX_REQUEST_BYTES = 4096
"""A request names things; the longest has a few hundred bytes."""
MAX_ANSWER_BYTES = 192 * 1024
"""The last lines of a sandbox are the longest answer; a packet may not be much longer than this."""

RequestNumber = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Identifier = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
"""128 random bits."""
NamedProfile = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


def sandbox_of(slot: SlotId) -> SandboxId:
    """The sandbox that lives with this slot. Its name is shown to people, and tells nobody the
    slot's."""
    return SandboxId(f"sb-{hashlib.sha256(slot.encode()).hexdigest()[:16]}")


class BrokerMessage(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag=snake_case,
    forbid_unknown_fields=True,
):
    """Both ends are of one version, so nothing is overlooked that one of them does not know."""


class Request(BrokerMessage, frozen=True, kw_only=True):
    n: RequestNumber


class Answer(BrokerMessage, frozen=True, kw_only=True):
    n: int


# --- what the client sends ----------------------------------------------------------------------


class Hello(BrokerMessage, frozen=True, kw_only=True):
    """`client` names who the sandboxes are made for: who comes back under the same name within the
    broker's grace finds them still there."""

    protocol: int
    client: Identifier


class Create(Request, frozen=True, kw_only=True):
    """A started sandbox in this slot, which the client chose and which was never used before."""

    profile: NamedProfile
    slot: Identifier


class Adopt(Request, frozen=True, kw_only=True):
    """A sandbox that was made for this client before it was started anew. Answered by `Created`, as
    if it had just been made."""

    slot: Identifier


class Claim(Request, frozen=True, kw_only=True):
    """It serves somebody from now on, so that nobody takes it for a spare one ever again. Said
    before the first command goes to it: a sandbox's own word is no proof that it is unused."""

    slot: Identifier


class Destroy(Request, frozen=True, kw_only=True):
    """`Done` once container and slot are gone; also for a slot that there is not."""

    slot: Identifier


class Freeze(Request, frozen=True, kw_only=True):
    """Stop all processes of a sandbox; its memory stays. Twice is as once."""

    slot: Identifier


class Thaw(Request, frozen=True, kw_only=True):
    slot: Identifier


class ListSandboxes(Request, frozen=True, kw_only=True):
    pass


class Watch(Request, frozen=True, kw_only=True):
    """Answered by `Sandboxes`; from then on each death is told by a `Died`."""


class Describe(Request, frozen=True, kw_only=True):
    pass


class FindBuild(Request, frozen=True, kw_only=True):
    """What a sandbox of this profile would be made of now."""

    profile: NamedProfile


class ReadOutput(Request, frozen=True, kw_only=True):
    slot: Identifier


class ReadExit(Request, frozen=True, kw_only=True):
    slot: Identifier


class Sweep(Request, frozen=True, kw_only=True):
    """Remove what nobody keeps; with `everything` also all that was made for this client."""

    everything: bool


class Leave(Request, frozen=True, kw_only=True):
    """The client ends in good order and does not come back: what was made for it is destroyed, then
    `Done`. A broker that is there for this client alone ends, too."""


# --- what the broker sends ----------------------------------------------------------------------


class Welcome(BrokerMessage, frozen=True, kw_only=True):
    """`epoch` is this run of the broker: no sandbox outlives it."""

    epoch: str


class Farewell(BrokerMessage, frozen=True, kw_only=True):
    """The broker ends the connection, and why."""

    tag: str
    sentence: str


class Done(Answer, frozen=True, kw_only=True):
    pass


class Created(Answer, frozen=True, kw_only=True):
    """With the descriptors of the sockets that listen in the slot: link, model, and egress where
    the profile has it. `image` is an id; `version` what the shim in it says of itself."""

    image: str
    version: str
    egress: bool


class BrokeredSandbox(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    slot: SlotId
    profile: ProfileName
    state: Literal["making", "running", "frozen", "dead", "leaving"]
    claimed: bool


class Sandboxes(Answer, frozen=True, kw_only=True):
    sandboxes: list[BrokeredSandbox]


class Description(Answer, frozen=True, kw_only=True):
    """`weaknesses`: what of the isolation is less than it could be, a sentence each."""

    epoch: str
    runtime: Literal["runc", "runsc"]
    weaknesses: list[str]


class Build(Answer, frozen=True, kw_only=True):
    """`profile` is the digest of the profile as the broker knows it."""

    image: str
    version: str
    profile: str


class Output(Answer, frozen=True, kw_only=True):
    """The last lines that a sandbox wrote. They are hostile: data, never instructions."""

    lines: list[str]


class Exit(Answer, frozen=True, kw_only=True):
    over: bool
    exit_code: int | None = None
    oom_killed: bool = False
    engine_away: bool = False
    """It ended while the engine itself was away."""


class Swept(Answer, frozen=True, kw_only=True):
    containers: int


class Refused(Answer, frozen=True, kw_only=True):
    """It was not done, and nothing of it is left. `status` is Docker's, where it refused."""

    tag: str
    sentence: str
    status: int | None = None
    violations: list[str] = []


class RanOutOfMemory(BrokerMessage, frozen=True, kw_only=True):
    """The kernel killed something in the sandbox in this slot. It may run on."""

    slot: SlotId


class Died(BrokerMessage, frozen=True, kw_only=True):
    """The sandbox in this slot is no longer running, for whatever reason."""

    slot: SlotId


PlainRequest = (
    Claim
    | Leave
    | Destroy
    | Freeze
    | Thaw
    | ListSandboxes
    | Watch
    | Describe
    | FindBuild
    | ReadOutput
    | ReadExit
    | Sweep
)
"""Answered by a message alone, without descriptors."""
AnyRequest = Create | Adopt | PlainRequest
AnyAnswer = Done | Created | Sandboxes | Description | Build | Output | Exit | Swept | Refused
ToBroker = Hello | AnyRequest
FromBroker = Welcome | Farewell | Died | RanOutOfMemory | AnyAnswer
