"""The agent's own transcript on its way out of the sandbox, and back into the next one.

These words cross the link like events, numbered and acknowledged, so that the end of a turn is
never held before its transcript is. They are the control plane's alone: no browser sees them, and
the event log does not hold them. A transcript's lines are opaque here.

What the agent's SDK asks of its store is said as `TranscriptAsked`; the answer is a transfer
(`transfers.TakeTranscript`), because it may be long.
"""

from typing import Annotated, Literal

import msgspec

from orchestrator.protocol.event_parts import Name, PathText
from orchestrator.protocol.wire import Wire

MAX_PIECE_CHARS = 256 << 10
"""Of a batch's text in one word; JSON may need several bytes for each."""
MAX_BATCH_BYTES = 96 << 20
"""Of the pieces of one batch together: the CLI's largest message with room to spare."""


class TranscriptKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which file of the agent's: `subpath` names a subagent's, and is empty for the main one."""

    project: Name
    agent_session: Name
    subpath: PathText = ""


class TranscriptPiece(Wire, frozen=True, kw_only=True):
    """A piece of a batch of lines (JSON, each closed by a line feed). With `more` the next piece
    under this key goes on where this one ends; without it the batch is whole and is kept, all of it
    or nothing. `summary` (JSON) comes with the last piece and replaces the one before."""

    key: TranscriptKey
    text: Annotated[str, msgspec.Meta(max_length=MAX_PIECE_CHARS)]
    more: bool = False
    summary: Annotated[str, msgspec.Meta(max_length=MAX_PIECE_CHARS)] | None = None


class TranscriptReplaced(Wire, frozen=True, kw_only=True):
    """What is held under this key is not to be trusted: the next batch is the whole of it, and
    takes its place when it is there."""

    key: TranscriptKey


class TranscriptAsked(Wire, frozen=True, kw_only=True):
    """The agent's SDK asks its store. Answered by a transfer `TakeTranscript` with this id.

    `load`: the lines under the key. `sessions`: a line `{"session_id", "mtime"}` for each agent
    session of the project. `summaries`: a line `{"session_id", "mtime", "data"}` for each.
    `subkeys`: a line with a JSON string for each subpath. `delete`: all of the key, and of a main
    key also its subpaths; no line. The shape of the lines is the SDK's.
    """

    ask_id: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{1,32}\Z")]
    what: Literal["load", "sessions", "summaries", "subkeys", "delete"]
    key: TranscriptKey


class TranscriptSynced(Wire, frozen=True, kw_only=True):
    """Answer to `SyncTranscript`: all that the agent wrote so far came before this word.
    `repaired`: some of it had been missing and was sent anew."""

    sync_id: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{1,32}\Z")]
    repaired: bool = False


TranscriptWord = TranscriptPiece | TranscriptReplaced | TranscriptAsked | TranscriptSynced
