"""The `!` commands: a prompt becomes steps. Pure."""

import re
from collections.abc import Callable

import msgspec

from orchestrator.testing.scripted_model.script import (
    COMMANDS,
    Ask,
    Cut,
    Fail,
    Say,
    Step,
    Subagent,
    Think,
    Todo,
    Use,
    Wait,
)

_MAX_WORDS = 1_000_000
_MAX_WAIT = 3600.0


def parse_commands(prompt: str) -> tuple[Step, ...] | None:
    """The steps of a prompt whose first line is a command, else None.

    A line that does not begin with `!` belongs to the command above it; those that take numbers
    alone heed their first line, and the rest is a remark.
    """
    if not prompt.startswith("!"):
        return None
    return tuple(_step(command.strip()) for command in re.split(r"\n(?=!)", prompt))


def _step(command: str) -> Step:
    name, _, rest = command.partition(" ")
    reader = _READERS.get(name)
    step = reader(rest.strip()) if reader else None
    return step or Say(text=f"I do not understand `{command[:200]}`. I obey:\n\n{COMMANDS}")


def _bash(rest: str) -> Step | None:
    return Use(tool="Bash", input={"command": rest, "description": "As told"}) if rest else None


def _use(rest: str) -> Step | None:
    tool, _, given = rest.partition(" ")
    try:
        return Use(tool=tool, input=msgspec.json.decode(given or "{}", type=dict)) if tool else None
    except msgspec.DecodeError:
        return None


def _write(rest: str) -> Step | None:
    path, _, text = rest.partition(" ")
    return Use(tool="Write", input={"file_path": path, "content": text}) if path else None


def _say(rest: str) -> Step | None:
    found = _numbers(r"(\d{1,9})(?: words?)?(?: at (\d{1,9}(?:\.\d{1,9})?)/s)?", rest)
    if not found:
        return None
    return Say(
        words=min(int(found[1]), _MAX_WORDS),
        per_second=float(found[2]) if found[2] else None,
    )


def _think(rest: str) -> Step | None:
    found = _numbers(r"(\d{1,9})(?: words?)?", rest)
    return Think(words=min(int(found[1]), _MAX_WORDS)) if found else None


def _subagent(rest: str) -> Step | None:
    return Subagent(prompt=rest) if rest else None


def _fail(rest: str) -> Step | None:
    found = _numbers(r"([45]\d\d)(?: (\d{1,4}) times?)?", rest)
    return Fail(status=int(found[1]), times=_optional_int(found[2])) if found else None


def _cut(rest: str) -> Step | None:
    found = _numbers(r"(?:(\d{1,4}) times?)?", rest)
    return Cut(times=_optional_int(found[1])) if found else None


def _slow(rest: str) -> Step | None:
    found = _numbers(r"(\d{1,9}(?:\.\d{1,9})?)(?: ?s(?:econds?)?)?", rest)
    return Wait(seconds=min(float(found[1]), _MAX_WAIT)) if found else None


def _numbers(pattern: str, rest: str) -> re.Match[str] | None:
    return re.fullmatch(pattern, rest.partition("\n")[0].strip())


def _optional_int(digits: str | None) -> int | None:
    return int(digits) if digits else None


_READERS: dict[str, Callable[[str], Step | None]] = {
    "!bash": _bash,
    "!write": _write,
    "!say": _say,
    "!think": _think,
    "!ask": lambda _: Ask(),
    "!todo": lambda _: Todo(),
    "!subagent": _subagent,
    "!use": _use,
    "!fail": _fail,
    "!cut": _cut,
    "!slow": _slow,
}
