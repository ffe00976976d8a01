"""The base of everything on the wire, and how a closed union stays open to newer versions.

A union is decoded in one go; a member with a tag that this version does not know becomes
`Unrecognised`, so that a shim and a control plane of different versions still understand the rest.
"""

import re
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")

MAX_UNKNOWN = 256 << 10
"""Characters of a message with an unknown tag that are looked at: parsing more takes too long."""


def snake_case(name: str) -> str:
    """`TurnEnded` -> `turn_ended`: the tag of a struct on the wire."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Wire(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag=snake_case,
    omit_defaults=True,
):
    """A tagged message. Fields with their default value are left out of the frame."""


class Unrecognised(Wire, frozen=True, kw_only=True):
    """A message whose tag this version does not know. Kept, shown as such, never guessed at."""

    tag: str
    raw: dict[str, Any]


class MalformedFrame(ValueError):
    """A frame that is not valid for its union.

    `reason` is one sentence that may be shown to the peer: it names the field, never the content.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Codec(Generic[T]):
    """Encode and decode one tagged union. Both methods are safe to call from several tasks."""

    def __init__(self, union: Any) -> None:
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(union)
        self._encoder = msgspec.json.Encoder()
        self._tags = frozenset(_tags(union))

    def encode(self, message: T) -> str:
        """One text frame (JSON, UTF-8)."""
        return self._encoder.encode(message).decode()

    def decode(self, frame: str | bytes) -> T | Unrecognised:
        """Raises MalformedFrame; an unknown tag is no error but `Unrecognised`."""
        try:
            return self._decoder.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._recover(frame, error)

    def _recover(self, frame: str | bytes, error: Exception) -> Unrecognised:
        if len(frame) > MAX_UNKNOWN:
            raise MalformedFrame(f"{error}.") from error
        try:
            raw = msgspec.json.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MalformedFrame("The frame is not valid JSON.") from error
        if not isinstance(raw, dict) or not isinstance(raw.get("type"), str):
            raise MalformedFrame("The frame is not an object with a `type`.") from error
        if raw["type"] in self._tags:
            raise MalformedFrame(f"{error}.") from error
        return Unrecognised(tag=raw["type"], raw=raw)


def _tags(union: Any) -> list[str]:
    info = msgspec.inspect.type_info(union)
    members = info.types if isinstance(info, msgspec.inspect.UnionType) else [info]
    return [str(member.tag) for member in members if isinstance(member, msgspec.inspect.StructType)]
