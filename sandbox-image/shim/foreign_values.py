"""Values that came from the CLI as JSON, as the types that events promise.

The SDK's dataclasses hold whatever the CLI sent; an event that lied about its types would be
refused at the other end.
"""

from typing import Any

MAX_INT = 2**53
"""What a browser can hold exactly."""


def as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else str(value)


def as_text_or_none(value: object) -> str | None:
    return None if value is None else as_text(value)


def as_int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    if value != value or abs(value) > MAX_INT:  # noqa: PLR0124 - how one asks for NaN
        return 0
    return int(value)


def as_int_or_none(value: object) -> int | None:
    return as_int(value) if isinstance(value, int | float) else None


def as_float_or_none(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= MAX_INT else None


def as_dict(value: object) -> dict[str, Any]:
    """Keys as text: JSON has no others."""
    return {as_text(key): item for key, item in value.items()} if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def as_texts(value: object) -> list[str]:
    """The texts of a list; of objects, their names."""
    named = (item.get("name") if isinstance(item, dict) else item for item in as_list(value))
    return [item for item in named if isinstance(item, str)]


def without_lone_surrogates(value: Any) -> Any:
    """JavaScript cuts strings between the halves of a character; UTF-8 cannot carry a half."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            return {
                without_lone_surrogates(as_text(key)): without_lone_surrogates(item)
                for key, item in value.items()
            }
        case list() | tuple():
            return [without_lone_surrogates(item) for item in value]
        case _:
            return value
