"""A tool's result as parts: text, images, and the rest as it is. Pure."""

from typing import Any

from orchestrator.protocol.event_parts import ContentPart
from shim.foreign_values import as_dict, as_text


def content_parts(content: object) -> list[ContentPart]:
    match content:
        case None:
            return []
        case str():
            return [ContentPart(kind="text", text=content)]
        case list():
            return [_part(item) for item in content]
        case _:
            return [_part(content)]


def _part(item: object) -> ContentPart:
    match item:
        case str():
            return ContentPart(kind="text", text=item)
        case {"type": "text", "text": text}:
            return ContentPart(kind="text", text=as_text(text))
        case {"type": "image", "source": {"type": "base64"} as source}:
            return _image(as_dict(source))
        case _:
            return ContentPart(kind="other", other=item)


def _image(source: dict[str, Any]) -> ContentPart:
    return ContentPart(
        kind="image", media_type=as_text(source.get("media_type")), data=as_text(source.get("data"))
    )
