"""What may stand in the body of a request to the model. Pure.

The sandbox is hostile by assumption. So a body is one plain JSON object in UTF-8, in which no key
stands twice (the upstream might read the other one), with the fields that are known here; and
nothing in it makes the provider fetch, run or store something by itself. What passes is sent on
byte for byte.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from orchestrator.gateway.refusals import forbidden, invalid, too_large

MAX_STRUCTURE = 1_000_000
"""Brackets, braces and commas in one body: parsed, each costs up to a hundred bytes of memory."""

KNOWN_FIELDS = frozenset(
    {
        "cache_control",
        "context_management",
        "diagnostics",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "output_format",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)
"""Others reach further than a plain answer: `mcp_servers`, `container`, `fallbacks` (other models),
`speed` and `service_tier` (other prices), `user_profile_id`, ... A value of null or [] passes."""

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/\[\]-]{0,199}")

_PLAIN_TOOLS = (None, "custom", "tool_reference")
_TOOL_CHOICES = ("auto", "any", "none", "tool")
_LONGEST_USER_ID = 1000
_JUDGED = frozenset(
    {"type", "source", "content", "file_id", "tool", "tools", "url", "role", "name"}
)
_PLAIN_SOURCES = ("base64", "text", "content")


class BodyLimits(msgspec.Struct, frozen=True, kw_only=True):
    models: tuple[str, ...]
    """Exact ids, or prefixes that end in `*`."""
    max_tokens: int
    max_bytes: int


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a body asks for, as far as it is counted."""

    model: str
    max_tokens: int = 0
    streams: bool = False


def check_body(raw: bytes, limits: BodyLimits, *, answers: bool) -> Asked:
    """Raises Refused.

    `answers` tells a message from a token count, which needs no max_tokens.
    """
    body = parse_strictly(raw, max_bytes=limits.max_bytes)
    _check_fields(body)
    model = _check_model(body.get("model"), limits.models)
    if answers or "max_tokens" in body:
        _check_max_tokens(body.get("max_tokens"), limits.max_tokens)
    _check_metadata(body.get("metadata"))
    _check_tools(body.get("tools"))
    _check_tool_choice(body.get("tool_choice"))
    _check_messages(body.get("messages"))
    _check_blocks(body.get("system"))
    return Asked(
        model=model,
        max_tokens=body.get("max_tokens", 0),
        streams=body.get("stream") is True,
    )


def parse_strictly(raw: bytes, *, max_bytes: int) -> dict[str, Any]:
    """A JSON object without any repeated key, NaN, or characters that are not characters."""
    if len(raw) > max_bytes:
        raise too_large(max_bytes)
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_STRUCTURE:
        raise invalid("the body has too many parts.")
    try:
        body = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique_pairs, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise invalid("the body is not plain JSON.") from error
    if not isinstance(body, dict):
        raise invalid("the body is not a JSON object.")
    return body


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise invalid("a key stands twice in one object of the body.")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(name)


def model_allowed(model: str, models: tuple[str, ...]) -> bool:
    return any(
        model.startswith(name[:-1]) if name.endswith("*") else model == name for name in models
    )


def _check_fields(body: dict[str, Any]) -> None:
    unknown = [name for name in body if name not in KNOWN_FIELDS and body[name] not in (None, [])]
    if unknown:
        shown = unknown[0][:60] if unknown[0].isidentifier() else "…"
        raise forbidden(f"the field `{shown}` is not passed on.")


def _check_model(model: Any, models: tuple[str, ...]) -> str:
    if not isinstance(model, str) or not model:
        raise invalid("`model` has to be the name of a model.")
    if not _MODEL_NAME.fullmatch(model) or not model_allowed(model, models):
        raise forbidden(f"this session may not use that model. It may use: {', '.join(models)}.")
    return model


def _check_max_tokens(value: Any, limit: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise invalid(f"`max_tokens` has to be a whole number from 0 to {limit}.")


def _check_metadata(metadata: Any) -> None:
    """What the CLI says of its own session; other fields might name somebody else's account."""
    if metadata is None:
        return
    if not isinstance(metadata, dict) or set(metadata) - {"user_id"}:
        raise forbidden("`metadata` may hold a `user_id` and nothing else.")
    user_id = metadata.get("user_id")
    if user_id is not None and not (isinstance(user_id, str) and len(user_id) <= _LONGEST_USER_ID):
        raise invalid("`metadata.user_id` has to be a short string.")


def _check_tool_choice(choice: Any) -> None:
    if choice is None:
        return
    if not isinstance(choice, dict) or choice.get("type") not in _TOOL_CHOICES:
        raise forbidden("`tool_choice` may be auto, any, none, or a tool that is in `tools`.")
    _check_spelling(choice)


def _check_spelling(found: dict[str, Any]) -> None:
    """Some readers of JSON take `Type` for `type`: what is judged here shall be what they read."""
    if any(key not in _JUDGED and key.lower() in _JUDGED for key in found):
        raise invalid("a key that differs from a known one only in its case is not passed on.")


def _check_tools(tools: Any) -> None:
    if tools is None:
        return
    if not isinstance(tools, list):
        raise invalid("`tools` has to be a list.")
    for tool in tools:
        if not isinstance(tool, dict):
            raise invalid("each of `tools` has to be an object.")
        _check_spelling(tool)
        if tool.get("type") not in _PLAIN_TOOLS:
            raise forbidden("tools that the model's provider runs by itself are not passed on.")


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list):
        raise invalid("`messages` has to be a list.")
    for message in messages:
        if not isinstance(message, dict):
            raise invalid("each of `messages` has to be an object.")
        _check_spelling(message)
        _check_blocks(message.get("content"))


def _check_blocks(content: Any) -> None:
    for block in _blocks(content):
        _check_spelling(block)
        if block.get("type") == "container_upload" or "file_id" in block:
            raise forbidden("files that are stored at the model's provider are not passed on.")
        source = block.get("source")
        if isinstance(source, dict) and source.get("type") not in _PLAIN_SOURCES:
            raise forbidden("images and documents have to be in the request itself, not elsewhere.")
        tools = block.get("tools")
        _check_tools([*(tools if isinstance(tools, list) else []), *_single(block.get("tool"))])


def _single(tool: Any) -> list[Any]:
    return [tool] if isinstance(tool, dict) else []


def _blocks(content: Any) -> Iterator[dict[str, Any]]:
    """All blocks in `content`, nested ones too; what a tool was called with is not content."""
    waiting = [content]
    while waiting:
        found = waiting.pop()
        if isinstance(found, list):
            waiting += found
        elif isinstance(found, dict):
            yield found
            waiting += [found.get("content"), found.get("source")]
