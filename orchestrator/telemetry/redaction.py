"""Keeps secrets out of the log: by the name of a field, and by the shape of a value."""

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

REDACTED = "[redacted]"
MAX_DEPTH = 6

_SECRET_NAME = re.compile(
    r"passw|secret|token|cookie|authorization|credential|api_?key|access_?key|private_?key"
    r"|signing_?key|^key$|^code$|^csrf",
    re.IGNORECASE,
)
_HARMLESS_NAME = re.compile(r"(^|_)tokens$|^token_type$|^max_tokens|_tokens_", re.IGNORECASE)
_SECRET_SHAPE = re.compile(
    r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"  # a JWT
    r"|sk-[A-Za-z0-9_-]{16,}"  # a key of the model API
    r"|\b[0-9a-f]{32}\.[A-Za-z0-9_-]{43}"  # a refresh token or a link's code
    r"|(?i:\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,})"
    r"|\$argon2[a-z]*\$[^\s'\"]+"
)


def redact(
    _logger: Any, _method: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor. Counts of tokens stay; tokens go."""
    for name, value in event_dict.items():
        event_dict[name] = _redacted(name, value, depth=0)
    return event_dict


def redacted_text(text: str) -> str:
    return _SECRET_SHAPE.sub(REDACTED, text)


def _redacted(name: str, value: Any, *, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_NAME.search(name) and not _HARMLESS_NAME.search(name):
        return REDACTED
    if isinstance(value, str):
        return redacted_text(value)
    if isinstance(value, bytes):
        return redacted_text(value.decode(errors="replace"))
    return "[too deep]" if depth >= MAX_DEPTH else _redacted_parts(name, value, depth=depth)


def _redacted_parts(name: str, value: Any, *, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {key: _redacted(str(key), item, depth=depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted(name, item, depth=depth + 1) for item in value]
    return redacted_text(repr(value))
