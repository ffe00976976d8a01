"""Keeps an event within the bounds that its type states. Pure.

The control plane cuts off who oversteps them, so nothing that the CLI happened to say may: a text
that is too long is cut, a number is moved to the nearest one that may stand there.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import msgspec
from msgspec import inspect

Bound = Callable[[Any], Any]


def bounded(event: Any) -> Any:
    """The same struct where nothing is beyond its bounds, else a changed copy."""
    changes = {
        name: kept
        for name, keep in _field_bounds(event.__class__)
        if (kept := keep(value := getattr(event, name))) is not value
    }
    return msgspec.structs.replace(event, **changes) if changes else event


@cache
def _field_bounds(struct: Any) -> tuple[tuple[str, Bound], ...]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    found = ((field.name, _bound(field.type)) for field in info.fields)
    return tuple((name, bound) for name, bound in found if bound is not None)


def _bound(info: inspect.Type) -> Bound | None:  # noqa: PLR0911 - one line for each kind of type
    """What keeps a value of this type in its bounds; None where there are none."""
    match info:
        case inspect.Metadata(type=inner):
            return _bound(inner)
        case inspect.StrType(max_length=longest) if longest is not None:
            return partial(_cut, longest=longest)
        case inspect.IntType(ge=low, le=high) if low is not None or high is not None:
            return partial(_moved, low=low, high=high)
        case inspect.ListType(item_type=item, max_length=longest):
            return _list_bound(_bound(item), longest)
        case inspect.DictType(key_type=key, value_type=value, max_length=longest):
            return _dict_bound(_bound(key), _bound(value), longest)
        case inspect.StructType():
            return bounded
        case inspect.UnionType(types=members):
            found = [bound for member in members if (bound := _bound(member)) is not None]
            return found[0] if len(found) == 1 else None
        case _:
            return None


def _cut(value: Any, *, longest: int) -> Any:
    return value[:longest] if isinstance(value, str) and len(value) > longest else value


def _moved(value: Any, *, low: int | None, high: int | None) -> Any:
    if not isinstance(value, int):
        return value
    if low is not None and value < low:
        return low
    return high if high is not None and value > high else value


def _list_bound(item: Bound | None, longest: int | None) -> Bound | None:
    if item is None and longest is None:
        return None

    def keep(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        kept = value if longest is None or len(value) <= longest else value[:longest]
        if item is not None:
            kept = _same_or(kept, [item(part) for part in kept])
        return kept

    return keep


def _dict_bound(key: Bound | None, item: Bound | None, longest: int | None) -> Bound | None:
    if key is None and item is None and longest is None:
        return None

    def keep(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        pairs = list(value.items())[:longest]
        kept = {key(k) if key else k: item(v) if item else v for k, v in pairs}
        return value if kept == value else kept

    return keep


def _same_or(old: list[Any], new: list[Any]) -> list[Any]:
    return old if all(one is other for one, other in zip(old, new, strict=True)) else new
