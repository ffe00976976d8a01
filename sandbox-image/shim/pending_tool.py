"""What is put behind a transcript so that a resumed CLI asks again about one use of a tool. Pure.

The CLI has a way to put a tool's use off and to take it up when it is resumed: a line that says so.
Its neighbours in the same message that never ran are given a result, or they would be gone without
a word.
"""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from shim.foreign_values import as_dict, as_list, as_text

NEVER_RAN = "The session was interrupted before this ran."
TOOL_ROWS = (b'"tool_use"', b'"tool_result"')
"""Only lines with one of these have to be looked at."""
_COPIED = ("userType", "entrypoint", "cwd", "sessionId", "version", "gitBranch")


class Continuation(msgspec.Struct, frozen=True, kw_only=True):
    results: list[dict[str, Any]]
    """For the neighbours; they are part of the transcript from now on."""
    deferral: dict[str, Any]
    """Only for the CLI's file: in the store it would be taken up again at each later resumption."""


class _Use(msgspec.Struct, frozen=True):
    row: dict[str, Any]
    block: dict[str, Any]


def continuation(entries: Iterable[dict[str, Any]], tool_use_id: str) -> Continuation | None:
    """None where that use of a tool is not there, or has its result already."""
    uses: dict[str, _Use] = {}
    answered: set[str] = set()
    for entry in entries:
        if not entry.get("isSidechain"):
            for block in as_list(as_dict(entry.get("message")).get("content")):
                _note(as_dict(block), entry, uses, answered)
    use = uses.get(tool_use_id)
    if use is None or tool_use_id in answered:
        return None
    neighbours = [
        other
        for other_id, other in uses.items()
        if other_id not in answered and other_id != tool_use_id and _message(other) == _message(use)
    ]
    return Continuation(
        results=[_never_ran(other) for other in neighbours], deferral=_deferral(use)
    )


def _note(
    block: dict[str, Any], entry: dict[str, Any], uses: dict[str, _Use], answered: set[str]
) -> None:
    match block.get("type"):
        case "tool_use":
            uses[as_text(block.get("id"))] = _Use(entry, block)
        case "tool_result":
            answered.add(as_text(block.get("tool_use_id")))
        case _:
            pass


def _message(use: _Use) -> str:
    return as_text(as_dict(use.row.get("message")).get("id"))


def _never_ran(use: _Use) -> dict[str, Any]:
    result = {
        "tool_use_id": use.block.get("id"),
        "type": "tool_result",
        "content": NEVER_RAN,
        "is_error": True,
    }
    return {
        **_envelope(use.row),
        "type": "user",
        "message": {"role": "user", "content": [result]},
        "toolUseResult": f"Error: {NEVER_RAN}",
        "sourceToolAssistantUUID": use.row.get("uuid"),
    }


def _deferral(use: _Use) -> dict[str, Any]:
    return {
        "attachment": {
            "type": "hook_deferred_tool",
            "toolUseID": use.block.get("id"),
            "toolName": use.block.get("name"),
            "toolInput": use.block.get("input"),
            "hookName": "settings",
            "hookEvent": "PreToolUse",
            "permissionMode": "default",
        },
        "type": "attachment",
        **_envelope(use.row),
    }


def _envelope(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "parentUuid": row.get("uuid"),
        "isSidechain": False,
        "uuid": str(uuid.uuid4()),
        "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        **{name: row[name] for name in _COPIED if name in row},
    }
