"""How intricate an event may be: parsed, a bracket costs twenty times its byte.

The shim keeps to it (see its `fitting`); the control plane cuts off who does not.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

MOST_CONTAINERS = 10_000
"""Objects and lists within one event."""
DEEPEST = 64
"""Levels. Whoever walks the value, in whatever language, shall not run out of stack."""


def too_intricate(value: Any, *, most: int = MOST_CONTAINERS) -> bool:
    """Without recursion, because the value is foreign."""
    waiting = [(value, 0)]
    seen = 0
    while waiting:
        found, depth = waiting.pop()
        for part in _parts(found):
            if isinstance(part, dict | list | msgspec.Struct):
                seen += 1
                if seen > most or depth >= DEEPEST:
                    return True
                waiting.append((part, depth + 1))
    return False


def _parts(value: Any) -> Iterable[Any]:
    match value:
        case msgspec.Struct():
            return (getattr(value, name) for name in value.__struct_fields__)
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()
