"""The Messages API's answers as bytes: server-sent events, or one JSON object. Pure."""

import re
import secrets
from collections.abc import Iterator
from typing import Any

import msgspec

from orchestrator.testing.scripted_model.answer import Part, Text, Thinking, ToolUse

_CHARS_PER_TOKEN = 4
_INPUT_PIECE = 24


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """One event, and how many words of text it carries (for the pace)."""

    data: bytes
    words: int = 0


def sse(name: str, body: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode({"type": name} | body))


def ping() -> bytes:
    return sse("ping", {})


def new_message_id() -> str:
    return f"msg_{secrets.token_hex(12)}"


def message_start(*, message_id: str, model: str, usage: dict[str, int]) -> bytes:
    message: dict[str, Any] = {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage | {"output_tokens": 1},
    }
    return sse("message_start", {"message": message})


def message_end(*, stop_reason: str, usage: dict[str, int]) -> bytes:
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    return sse("message_delta", {"delta": delta, "usage": usage}) + sse("message_stop", {})


def block_pieces(
    index: int, part: Text | Thinking | ToolUse, *, words_each: int
) -> Iterator[Piece]:
    """One content block: its start, its deltas of so many words each, its stop."""
    match part:
        case Text(text=text):
            yield _start(index, {"type": "text", "text": ""})
            for piece, words in split_words(text, words_each):
                yield _delta(index, {"type": "text_delta", "text": piece}, words)
        case Thinking(text=text):
            yield _start(index, {"type": "thinking", "thinking": "", "signature": ""})
            for piece, words in split_words(text, words_each):
                yield _delta(index, {"type": "thinking_delta", "thinking": piece}, words)
            yield _delta(index, {"type": "signature_delta", "signature": _signature()})
        case ToolUse(id=tool_id, name=name, input=tool_input):
            yield _start(index, {"type": "tool_use", "id": tool_id, "name": name, "input": {}})
            text = msgspec.json.encode(tool_input).decode()
            for start in range(0, len(text), _INPUT_PIECE):
                piece = text[start : start + _INPUT_PIECE]
                yield _delta(index, {"type": "input_json_delta", "partial_json": piece})
    yield Piece(data=sse("content_block_stop", {"index": index}))


def _start(index: int, block: dict[str, Any]) -> Piece:
    return Piece(data=sse("content_block_start", {"index": index, "content_block": block}))


def _delta(index: int, delta: dict[str, Any], words: int = 0) -> Piece:
    return Piece(data=sse("content_block_delta", {"index": index, "delta": delta}), words=words)


def split_words(text: str, words_each: int) -> Iterator[tuple[str, int]]:
    words = re.findall(r"\s*\S+|\s+", text)
    for start in range(0, len(words), words_each):
        some = words[start : start + words_each]
        yield "".join(some), len(some)


def whole_message(
    parts: list[Part], *, message_id: str, model: str, stop_reason: str, usage: dict[str, int]
) -> bytes:
    """The answer of a request without `stream`."""
    blocks = [_block(part) for part in parts if isinstance(part, Text | Thinking | ToolUse)]
    return msgspec.json.encode(
        {
            "id": message_id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": blocks,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": usage,
        }
    )


def _block(part: Text | Thinking | ToolUse) -> dict[str, Any]:
    match part:
        case Text(text=text):
            return {"type": "text", "text": text}
        case Thinking(text=text):
            return {"type": "thinking", "thinking": text, "signature": _signature()}
        case ToolUse(id=tool_id, name=name, input=tool_input):
            return {"type": "tool_use", "id": tool_id, "name": name, "input": tool_input}


def _signature() -> str:
    return secrets.token_urlsafe(24)


def stop_reason(parts: list[Part]) -> str:
    return "tool_use" if any(isinstance(part, ToolUse) for part in parts) else "end_turn"


def input_usage(body: dict[str, Any]) -> dict[str, int]:
    """Tokens as a cache that holds all but the last message would have them."""
    messages = body.get("messages") or []
    last = _tokens(messages[-1]) if messages else 0
    rest = max(0, _tokens(body) - last)
    cached = b'"cache_control"' in msgspec.json.encode(body)
    seen_before = len(messages) > 1
    return {
        "input_tokens": last if cached else last + rest,
        "cache_creation_input_tokens": rest if cached and not seen_before else 0,
        "cache_read_input_tokens": rest if cached and seen_before else 0,
    }


def output_tokens(parts: list[Part]) -> int:
    texts = [_block(part) for part in parts if isinstance(part, Text | Thinking | ToolUse)]
    return max(1, sum(_tokens(text) for text in texts))


def _tokens(value: Any) -> int:
    return len(msgspec.json.encode(value)) // _CHARS_PER_TOKEN + 1
