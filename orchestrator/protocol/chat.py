"""The chat: frames between a browser and the control plane on `/api/v1/sessions/{id}/stream`.

The browser says `resume` first, with the last `seq` and `epoch` that it saw. It gets the events
that it missed, or a `snapshot` where the epoch changed or that was too long ago, and goes on live.
`seq` grows by one per event within an epoch; a transient event is never replayed from the log, only
from memory.
"""

from typing import Annotated, Any, Literal

import msgspec

from orchestrator.protocol.commands import PermissionDecision
from orchestrator.protocol.event_parts import PermissionMode, Usage
from orchestrator.protocol.ids import (
    ClientId,
    PermissionId,
    ProfileName,
    QuestionId,
    SandboxId,
    SessionId,
    TurnId,
)
from orchestrator.protocol.sandbox_events import PermissionRequested, QuestionAsked
from orchestrator.protocol.wire import Codec, Unrecognised, Wire

MAX_PROMPT_BYTES = 1 << 20
MAX_COMMAND_BYTES = MAX_PROMPT_BYTES + (64 << 10)
"""A browser's frame that is longer is refused with `too_large`; the connection lives."""

SessionState = Literal[
    "waiting",  # for its first sandbox; `place` says where in the queue
    "waking",  # for another sandbox, and for all that it had to be in it again
    "idle",  # ready for a prompt
    "running",  # a turn is under way
    "asking",  # Claude waits for a person
    "hibernated",  # without a sandbox; a prompt or a visit wakes it
    "ending",
    "ended",
    "failed",  # ended, but not by anyone's wish; `ending` says why
]


class Ending(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    tag: str
    sentence: str


class QueuedPrompt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    client_id: ClientId
    text: str
    by: str


class UnfinishedPrompt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    client_id: ClientId
    text: str
    by: str
    sentence: str


class Notice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that concerns every session alike, for as long as it is in the view."""

    tag: str
    """`upstream_down`, `restarting`, ..."""
    sentence: str
    until: str | None = None
    """When that is expected to change. RFC 3339, UTC."""


class SessionView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A session as its people see it, in lists, snapshots and changes."""

    id: SessionId
    title: str
    profile: ProfileName
    state: SessionState
    created_at: str
    """RFC 3339, UTC."""
    updated_at: str
    model: str = ""
    permission_mode: str = "default"
    place: int | None = None
    """1 is next."""
    turn_id: TurnId | None = None
    queue: list[QueuedPrompt] = []
    permissions: list[PermissionRequested] = []
    questions: list[QuestionAsked] = []
    usage: Usage = Usage()
    cost_usd: float = 0.0
    """As metered by the gateway."""
    context_used: int = 0
    context_window: int = 0
    sandbox_id: SandboxId | None = None
    frozen: bool = False
    """The sandbox's processes rest; whatever is asked of them wakes them."""
    restoring_bytes: int = 0
    """Of files that are being put back, while `waking`."""
    memory_bytes: int = 0
    memory_limit: int = 0
    home_bytes: int = 0
    home_limit: int = 0
    workspace_bytes: int = 0
    workspace_limit: int = 0
    unfinished: UnfinishedPrompt | None = None
    checkpoint_id: str = ""
    """The latest one."""
    checkpoint_at: str = ""
    notices: list[Notice] = []
    ending: Ending | None = None


# --- from the browser ----------------------------------------------------------------------


class Resume(Wire, frozen=True, kw_only=True):
    """The first frame of a connection; `seq` 0 for a first visit."""

    seq: int = 0
    epoch: str = ""


class Prompt(Wire, frozen=True, kw_only=True):
    """Runs at once, or waits in the session's queue while a turn runs."""

    client_id: Annotated[ClientId, msgspec.Meta(min_length=1, max_length=64)]
    text: Annotated[str, msgspec.Meta(min_length=1)]


class RemovePrompt(Wire, frozen=True, kw_only=True):
    client_id: ClientId


class Stop(Wire, frozen=True, kw_only=True):
    """Interrupt the running turn."""


class DecidePermission(Wire, frozen=True, kw_only=True):
    permission_id: PermissionId
    decision: PermissionDecision


class GiveAnswer(Wire, frozen=True, kw_only=True):
    question_id: QuestionId
    answers: dict[str, str]


class ChooseModel(Wire, frozen=True, kw_only=True):
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class ChoosePermissionMode(Wire, frozen=True, kw_only=True):
    mode: PermissionMode


class Rename(Wire, frozen=True, kw_only=True):
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class RunAgain(Wire, frozen=True, kw_only=True):
    """Run the unfinished prompt again, as a prompt with this id of its own."""

    client_id: Annotated[ClientId, msgspec.Meta(min_length=1, max_length=64)]
    unfinished: ClientId


class LetGo(Wire, frozen=True, kw_only=True):
    """Offer the unfinished prompt no longer."""

    unfinished: ClientId


class TakeCheckpoint(Wire, frozen=True, kw_only=True):
    """Keep the files as they are now. Between turns."""


class GoBack(Wire, frozen=True, kw_only=True):
    """Make files and conversation what they were at a checkpoint. Between turns."""

    checkpoint_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Hibernate(Wire, frozen=True, kw_only=True):
    """Give the sandbox up and keep the session. Between turns."""


class Wake(Wire, frozen=True, kw_only=True):
    """Get a sandbox for a session that has none."""


class End(Wire, frozen=True, kw_only=True):
    """End the session: its container is destroyed, its log stays readable."""


class Ping(Wire, frozen=True, kw_only=True):
    pass


BrowserCommand = (
    Resume
    | Prompt
    | RemovePrompt
    | Stop
    | DecidePermission
    | GiveAnswer
    | ChooseModel
    | ChoosePermissionMode
    | Rename
    | RunAgain
    | LetGo
    | TakeCheckpoint
    | GoBack
    | Hibernate
    | Wake
    | End
    | Ping
    | Unrecognised
)


# --- to the browser ------------------------------------------------------------------------


class SequencedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """`event` is an `Event`, kept as the bytes that the log holds."""

    seq: int
    at: str
    """RFC 3339, UTC, milliseconds."""
    event: Annotated[msgspec.Raw, msgspec.Meta(extra={"typescript": "Event"})]


class Snapshot(Wire, frozen=True, kw_only=True):
    """Forget what you have: this is the session. `events` are its last durable ones, oldest first;
    `earlier` tells that there are more before (`GET …/events?before=`). An unfinished block's text
    so far comes as one `block_delta`."""

    seq: int
    epoch: str
    session: SessionView
    events: list[SequencedEvent]
    earlier: bool = False


class Events(Wire, frozen=True, kw_only=True):
    """`seq` is that of the last of `events`. The first frame after `resume` names the epoch."""

    seq: int
    events: list[SequencedEvent]
    epoch: str = ""


class SessionChanged(Wire, frozen=True, kw_only=True):
    """The session's state, queue, costs or memory changed. Replaces the view that you have."""

    seq: int
    session: SessionView


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457, in a frame or as the body of an HTTP answer."""

    tag: str
    title: str
    """A plain sentence."""
    detail: str = ""
    """What to do."""
    status: int = 400


class CommandRefused(Wire, frozen=True, kw_only=True):
    """A command was not carried out. Nothing was changed, the connection lives."""

    seq: int
    problem: Problem
    client_id: ClientId | None = None
    command: str | None = None
    """The tag of the command."""


class Pong(Wire, frozen=True, kw_only=True):
    seq: int


ServerFrame = Snapshot | Events | SessionChanged | CommandRefused | Pong | Unrecognised

browser_command_codec: Codec[BrowserCommand] = Codec(BrowserCommand)
server_frame_codec: Codec[ServerFrame] = Codec(ServerFrame)

JsonObject = dict[str, Any]
