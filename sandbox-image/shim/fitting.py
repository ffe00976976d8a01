"""Encodes an event so that it fits into the link's bounds, cutting what is longest. Pure.

Nothing may get lost because it is long: an event is cut step by step, and one that nothing helps
becomes a note that it was there.
"""

from typing import Any

import msgspec

from orchestrator.protocol.event_parts import ContentPart
from orchestrator.protocol.intricacy import MOST_CONTAINERS, too_intricate
from orchestrator.protocol.link import MAX_EVENT_BYTES
from orchestrator.protocol.sandbox_events import (
    SandboxWord,
    SystemNoted,
    ToolFinished,
    sandbox_word_codec,
)
from shim.bounds import bounded
from shim.foreign_values import without_lone_surrogates

STRING_LIMITS = (100_000, 10_000, 1_000, 100)
"""Characters that a string may keep, tried in this order."""
MOST_PARTS = 1_000
"""Of a list, where an event is too intricate."""
MAX_IMAGE = 700 << 10
"""Characters of base64: a part of an image is of no use to anybody."""


def fit(event: SandboxWord, *, limit: int = MAX_EVENT_BYTES) -> bytes:
    """The event as JSON of at most `limit` bytes."""
    event = bounded(_simplified(event) if too_intricate(event) else event)
    if isinstance(event, ToolFinished) and too_intricate(event):
        event = _shortened_result(event, STRING_LIMITS[0])  # as text: a tool has to have an end
    body = None if too_intricate(event) else _fitted(event, limit=limit)
    if body is not None:
        return body
    note = SystemNoted(subtype="event_too_large", data={"event": type(event).__name__})
    return sandbox_word_codec.encode(note).encode()


def _fitted(event: SandboxWord, *, limit: int) -> bytes | None:
    body = _encoded(event)
    if body is not None and len(body) <= limit:
        return body
    for allowed in STRING_LIMITS:
        body = _encoded(_shortened(event, allowed))
        if body is not None and len(body) <= limit:
            return body
    return None


def _simplified(value: Any) -> Any:
    """Without what has more parts, or more levels, than an event may have."""
    match value:
        case msgspec.Struct():
            fields = {name: getattr(value, name) for name in value.__struct_fields__}
            return msgspec.structs.replace(
                value, **{name: _simplified(part) for name, part in fields.items()}
            )
        case list() if value and isinstance(value[0], msgspec.Struct):
            return [_simplified(part) for part in value[:MOST_PARTS]]
        case dict() | list() if too_intricate(value, most=MOST_CONTAINERS // 4):
            return {"omitted": "more parts than can be shown"} if isinstance(value, dict) else []
        case _:
            return value


def _encoded(event: object) -> bytes | None:
    try:
        return msgspec.json.encode(event)
    except (
        ValueError,
        TypeError,
        RecursionError,
    ):  # half characters, foreign keys, endless nesting
        pass
    try:
        body: bytes = msgspec.json.encode(without_lone_surrogates(msgspec.to_builtins(event)))
    except (ValueError, TypeError, RecursionError):
        return None
    return body


def _shortened(event: SandboxWord, allowed: int) -> object:
    if isinstance(event, ToolFinished):
        return _shortened_result(event, allowed)
    try:
        fields = msgspec.to_builtins(event)
        return {**_cut(fields, allowed), "type": fields["type"]}
    except (ValueError, TypeError, RecursionError):
        return event


def _shortened_result(event: ToolFinished, allowed: int) -> ToolFinished:
    """The structured form repeats the content, so it goes first; `omitted` counts the rest."""
    parts = [_shortened_part(part, allowed) for part in event.content]
    omitted = sum(_length(part) for part in event.content) - sum(_length(part) for part in parts)
    return msgspec.structs.replace(event, content=parts, detail=None, omitted=max(0, omitted))


def _shortened_part(part: ContentPart, allowed: int) -> ContentPart:
    match part.kind:
        case "text":
            return msgspec.structs.replace(part, text=part.text[:allowed])
        case "image" if len(part.data) > min(MAX_IMAGE, allowed * 10):
            return ContentPart(kind="text", text=f"[an image of {len(part.data) * 3 // 4} bytes]")
        case "image":
            return part
        case "other":
            return ContentPart(kind="text", text=str(part.other)[:allowed])


def _length(part: ContentPart) -> int:
    return len(part.text) + len(part.data) + (0 if part.other is None else len(str(part.other)))


def _cut(value: Any, allowed: int) -> Any:
    """Long strings, long lists and large objects within a value, cut to `allowed`."""
    match value:
        case str() if len(value) > allowed:
            return f"{value[:allowed]}\n[{len(value) - allowed} more characters]"
        case dict():
            return {key[:allowed]: _cut(value[key], allowed) for key in list(value)[:allowed]}
        case list():
            return [_cut(item, allowed) for item in value[:allowed]]
        case _:
            return value
