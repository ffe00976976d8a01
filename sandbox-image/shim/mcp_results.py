"""What of a tool server's words reaches the CLI: so many tools, and so much of an answer. Pure."""

import re
from collections.abc import Iterable

from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
    Tool,
)

MAX_TOOLS = 128
MAX_TOOLS_CHARS = 256 << 10
"""Of all descriptions and schemas together: each request to the model carries them."""
MAX_PARTS = 200
MAX_BINARY_CHARS = 8 << 20
"""Of one answer's images and other files together, in base64."""
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class TooManyTools(Exception):
    """More than a request can carry."""


def offered_tools(listed: Iterable[Tool]) -> list[Tool]:
    """Without schemas of their output: answers pass as text. Raises TooManyTools."""
    tools = [
        tool.model_copy(update={"output_schema": None, "icons": None, "meta": None})
        for tool in listed
        if _TOOL_NAME.fullmatch(tool.name)
    ]
    size = sum(len(tool.model_dump_json(exclude_none=True)) for tool in tools)
    if len(tools) > MAX_TOOLS or size > MAX_TOOLS_CHARS:
        raise TooManyTools
    return tools


def error_result(sentence: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=sentence)], is_error=True)


def bounded_result(result: CallToolResult, *, max_chars: int) -> CallToolResult:
    """With at most `max_chars` of text, and a word about what was cut. What is only in the
    structured form becomes text: so there is one form, and one bound."""
    content = list(result.content)
    if not content and result.structured_content is not None:
        content = [TextContent(type="text", text=_as_json(result))]
    bounds = _Bounds(max_chars)
    parts = [bounds.fit(part) for part in content[:MAX_PARTS]]
    if len(content) > MAX_PARTS:
        parts.append(_text(f"[{len(content) - MAX_PARTS} more parts were left out.]"))
    if bounds.omitted:
        parts.append(_text(f"[Cut: {bounds.omitted} more characters were left out.]"))
    return CallToolResult(content=parts, is_error=result.is_error)


class _Bounds:
    def __init__(self, max_chars: int) -> None:
        self._chars = max_chars
        self._binary = MAX_BINARY_CHARS
        self.omitted = 0

    def fit(self, part: ContentBlock) -> ContentBlock:
        match part:
            case TextContent():
                return _text(self._cut(part.text))
            case ImageContent() | AudioContent():
                return part if self._has_room(part.data) else _left_out(part.mime_type, part.data)
            case EmbeddedResource(resource=TextResourceContents(text=text) as resource):
                return _text(self._cut(f"{resource.uri}\n{text}"))
            case EmbeddedResource(resource=BlobResourceContents(blob=blob) as resource):
                return part if self._has_room(blob) else _left_out(resource.mime_type, blob)
            case _:
                return _text(self._cut(part.model_dump_json(by_alias=True, exclude_none=True)))

    def _cut(self, text: str) -> str:
        kept = text[: self._chars]
        self._chars -= len(kept)
        self.omitted += len(text) - len(kept)
        return kept

    def _has_room(self, data: str) -> bool:
        if len(data) > self._binary:
            return False
        self._binary -= len(data)
        return True


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=text)


def _left_out(mime_type: str | None, data: str) -> TextContent:
    return _text(f"[{mime_type or 'A file'} of {len(data) * 3 // 4} bytes was left out.]")


def _as_json(result: CallToolResult) -> str:
    return CallToolResult(content=[], structured_content=result.structured_content).model_dump_json(
        include={"structured_content"}, by_alias=True
    )
