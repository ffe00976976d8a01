"""Transfers: files between a workspace and the control plane, each on a connection of its own.

The control plane orders one with `OpenTransfer`; the shim dials the link's socket at
`/transfers/<id>`, an id that is good once and for a few seconds. Headers are text frames (the
structs below), content is binary frames of exactly `CHUNK_BYTES`, the last one of a file of the
rest. A slow reader slows this connection alone.

- `ListFiles`: `Entry` for each, then `Done`.
- `SendFile`: `Entry` with the file's size, its content, `Done`.
- `SendTree`: `Measured`, then in ascending order of the path, directories before what is in them,
  `Entry` (a file's is followed by its content) or `Omitted`, then `Done`.
- `ReceiveFile`: `Ready`; then content from the control plane, ended by its `Done`; then `Stored`.

- `SendCheckpoint`: `Unchanged`; or `Ready`, the checkpoint's bytes (a tar archive, zstandard) in
  chunks, then `Checkpointed`.
- `ReceiveCheckpoint`: as `ReceiveFile`; `Stored` once it is unpacked.
- `TakeTranscript`: as `ReceiveFile`; `Stored` once the SDK has it. With `found` false no content.

In place of any of them the shim may say `Refused`, and nothing after it. In place of the rest of a
file that became shorter meanwhile it says `Changed`.
"""

from typing import Annotated, Literal

import msgspec

from orchestrator.protocol.wire import Codec, Unrecognised, Wire

CHUNK_BYTES = 256 << 10
MAX_HEADER_BYTES = 16 << 10
TRANSFERS_PATH = "/transfers/"
MAX_MILLISECONDS = 253_402_300_799_000
"""The end of the year 9999."""

Kind = Literal["file", "directory", "symlink", "other"]
Refusal = Literal[
    "not_found",
    "not_a_file",
    "not_a_directory",
    "exists",
    "in_the_way",
    "no_room",
    "too_much",
    "bad_name",
    "failed",
]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_MILLISECONDS)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]


# --- what is asked for -------------------------------------------------------------------------


class ListFiles(Wire, frozen=True, kw_only=True):
    """What is in a directory (empty: the workspace), `most` of it."""

    path: str = ""
    most: int = 1000


class SendFile(Wire, frozen=True, kw_only=True):
    path: str


class SendTree(Wire, frozen=True, kw_only=True):
    """A directory with all that is below it. Refused where it is more than that."""

    path: str = ""
    most_entries: int
    most_bytes: int


class ReceiveFile(Wire, frozen=True, kw_only=True):
    """`size` where it is known. Missing directories on the way are made."""

    path: str
    size: int | None = None
    overwrite: bool = False


class SendCheckpoint(Wire, frozen=True, kw_only=True):
    """The workspace and what of the home is the session's, without what `excludes` names (patterns
    as in `.gitignore`). Refused with `too_much` where it is more than that before it is packed."""

    excludes: list[str] = []
    most_entries: int
    most_bytes: int
    unless: str = ""
    """The fingerprint of the checkpoint before: nothing is sent where it is still the same."""


class ReceiveCheckpoint(Wire, frozen=True, kw_only=True):
    """What is in the workspace goes, and this takes its place. `size`: bytes of the archive."""

    size: int
    most_entries: int
    most_bytes: int
    """Of what is in it, unpacked."""


class TakeTranscript(Wire, frozen=True, kw_only=True):
    """The answer to `TranscriptAsked`: lines, each closed by a line feed."""

    ask_id: str
    found: bool


TransferRequest = (
    ListFiles
    | SendFile
    | SendTree
    | ReceiveFile
    | SendCheckpoint
    | ReceiveCheckpoint
    | TakeTranscript
)


# --- what is said on the connection -------------------------------------------------------------


class Entry(Wire, frozen=True, kw_only=True):
    """`path` is relative to the workspace. A symlink is never followed; `target` is what it says.
    A hard link is a file of its own."""

    path: Text
    kind: Kind
    size: Count = 0
    """Bytes of a file."""
    modified_ms: Milliseconds = 0
    """Since 1970, UTC."""
    executable: bool = False
    target: Text = ""


class Omitted(Wire, frozen=True, kw_only=True):
    """Something that is there and is not carried. `path` is made visible and only to be shown."""

    path: Text
    why: Literal["name", "unreadable", "gone"]


class Measured(Wire, frozen=True, kw_only=True):
    """What a tree held when it was looked at; it may change while it is sent."""

    entries: Count
    size: Count


class Ready(Wire, frozen=True, kw_only=True):
    """The content may come."""


class Changed(Wire, frozen=True, kw_only=True):
    """The file became shorter while it was read: its rest does not come."""


class Done(Wire, frozen=True, kw_only=True):
    """All was said. `truncated`: there was more than asked for; `omitted`: entries of a listing
    whose names are not carried."""

    truncated: bool = False
    omitted: Count = 0


class Stored(Wire, frozen=True, kw_only=True):
    size: Count


class Unchanged(Wire, frozen=True, kw_only=True):
    """There is nothing in it that the checkpoint before did not hold."""


class Checkpointed(Wire, frozen=True, kw_only=True):
    """All of it was sent. `fingerprint` tells whether anything changes from now on."""

    fingerprint: Annotated[str, msgspec.Meta(max_length=128)]
    entries: Count
    size: Count
    """Bytes, unpacked."""
    omitted: Count = 0


class Refused(Wire, frozen=True, kw_only=True):
    """The control plane has the sentences: what a sandbox says is not shown as Casemate's word."""

    why: Refusal


TransferFrame = (
    Entry
    | Omitted
    | Measured
    | Ready
    | Changed
    | Done
    | Stored
    | Unchanged
    | Checkpointed
    | Refused
    | Unrecognised
)

transfer_codec: Codec[TransferFrame] = Codec(TransferFrame)
