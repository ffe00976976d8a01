"""From a script and a request to the parts of one response. Pure.

A turn is cut into rounds: each ends with a tool call, and the request that brings the tool's result
starts the next. So the number of results since the prompt says which round it is.
"""

import itertools
import re
import secrets
from typing import Any

import msgspec

from orchestrator.testing.scripted_model.commands import parse_commands
from orchestrator.testing.scripted_model.reading import TOOL_SEARCH, Reading, ToolResult
from orchestrator.testing.scripted_model.script import (
    Ask,
    Cut,
    Fail,
    Say,
    Script,
    Step,
    Subagent,
    Think,
    Todo,
    Use,
    Wait,
)

_QUOTE_LIMIT = 2000
_TODO_TOOLS = ("TaskCreate", "TaskUpdate", "TodoWrite")
"""Versions and models of the CLI offer the first two, the third, or none."""
_LOREM = re.findall(
    r"\w+",
    "the wall holds and every chamber keeps its own crew while a quiet light moves over stone and "
    "water so that nothing said in one room is heard in another until the gate opens again",
)


class Text(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    per_second: float | None = None


class Thinking(msgspec.Struct, frozen=True, kw_only=True):
    text: str


class ToolUse(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    input: dict[str, Any]


Part = Text | Thinking | ToolUse | Wait | Fail | Cut


def plan_answer(script: Script, reading: Reading, *, earlier_tries: int = 0) -> list[Part]:
    """The parts of the response, in order. Ends early at a `Fail` or `Cut` that applies."""
    if reading.schema is not None:
        return [Text(text=msgspec.json.encode(_sample(reading.schema)).decode())]
    rounds = _rounds(choose_steps(script, reading.prompt), reading)
    steps = _still_failing(rounds[min(len(reading.results), len(rounds) - 1)], earlier_tries)
    parts = [] if reading.just_searched else _complaint(reading.results)
    parts += [_part(step) for step in steps]
    ended = parts and isinstance(parts[-1], Fail | Cut | ToolUse)
    if not ended and not any(isinstance(part, Text) for part in parts):
        parts.append(_closing(reading.results))
    return parts


def choose_steps(script: Script, prompt: str) -> tuple[Step, ...]:
    for rule in script.rules:
        if re.search(rule.when, prompt, re.IGNORECASE):
            return rule.steps
    commands = parse_commands(prompt) if script.obeys_commands else None
    return script.otherwise if commands is None else commands


def _rounds(steps: tuple[Step, ...], reading: Reading) -> list[list[Step]]:
    rounds: list[list[Step]] = [[]]
    for step in itertools.chain.from_iterable(_expand_step(step, reading) for step in steps):
        rounds[-1].append(step)
        if isinstance(step, Use):
            rounds.append([])
    return [_with_tool_loaded(steps, reading) for steps in rounds]


def _with_tool_loaded(steps: list[Step], reading: Reading) -> list[Step]:
    """A round whose tool is not offered searches for it first, and says what it says only once."""
    if not steps or not isinstance(steps[-1], Use):
        return steps
    tool = steps[-1].tool
    if reading.just_searched:
        return [steps[-1]] if tool in reading.tools else [_not_offered(tool)]
    if tool in reading.tools:
        return steps
    if TOOL_SEARCH in reading.tools:
        names = ",".join(_TODO_TOOLS) if tool in _TODO_TOOLS else tool
        search = {"query": f"select:{names}", "max_results": 5}
        return [*steps[:-1], Use(tool=TOOL_SEARCH, input=search)]
    return [*steps[:-1], _not_offered(tool)]


def _still_failing(steps: list[Step], tries: int) -> list[Step]:
    """Leaves out the failures that have been tried often enough, and all that follows one."""
    kept: list[Step] = []
    for step in steps:
        if isinstance(step, Fail | Cut):
            if step.times is None or tries < step.times:
                return [*kept, step]
            tries -= step.times
        else:
            kept.append(step)
    return kept


def _part(step: Step) -> Part:
    match step:
        case Say(text=text, words=words, per_second=per_second):
            return Text(text=text or invent(words), per_second=per_second)
        case Think(words=words):
            return Thinking(text=invent(words))
        case Use(tool=tool, input=tool_input):
            return ToolUse(id=f"toolu_{secrets.token_hex(12)}", name=tool, input=tool_input)
        case Fail() | Cut() | Wait():
            return step
        case Ask() | Todo() | Subagent():
            raise AssertionError("expanded before")


def _expand_step(step: Step, reading: Reading) -> list[Step]:
    match step:
        case Ask():
            return [Use(tool="AskUserQuestion", input=_question(step))]
        case Subagent(prompt=prompt):
            tool = "Task" if "Task" in reading.tools else "Agent"
            return [Use(tool=tool, input=_task(prompt, reading.tools.get(tool, {})))]
        case Todo(items=items):
            return _todo_steps(items, reading)
        case _:
            return [step]


def _todo_steps(items: tuple[str, ...], reading: Reading) -> list[Step]:
    if "TodoWrite" in reading.tools:
        todos = [_todo(item, first=index == 0) for index, item in enumerate(items)]
        return [Use(tool="TodoWrite", input={"todos": todos})]
    created: list[Step] = [
        Use(tool="TaskCreate", input={"subject": item, "description": item, "activeForm": item})
        for item in items
    ]
    update = {"taskId": _first_task(reading.results), "status": "in_progress"}
    return [*created, Use(tool="TaskUpdate", input=update)]


def _todo(item: str, *, first: bool) -> dict[str, str]:
    status = "in_progress" if first else "pending"
    return {"content": item, "status": status, "activeForm": item}


def _first_task(results: list[ToolResult]) -> str:
    """The id that the CLI gave to the first task of this turn: `Task #7 created …`."""
    texts = (result.text for result in results if result.tool == "TaskCreate")
    found = next((match for text in texts if (match := re.search(r"#(\d+)", text))), None)
    return found[1] if found else "1"


def _question(step: Ask) -> dict[str, Any]:
    options = [{"label": option, "description": f"It will be {option}."} for option in step.options]
    question = {
        "question": step.question,
        "header": "Choice",
        "options": options,
        "multiSelect": step.multi_select,
    }
    return {"questions": [question]}


def _task(prompt: str, schema: dict[str, Any]) -> dict[str, Any]:
    task = {"description": "As told", "prompt": prompt, "subagent_type": "general-purpose"}
    waits = "run_in_background" in (schema.get("properties") or {})
    return task | {"run_in_background": False} if waits else task


def _not_offered(tool: str) -> Say:
    return Say(text=f"The tool `{tool}` is not offered to me here, so I cannot do that.\n\n")


def _complaint(results: list[ToolResult]) -> list[Part]:
    if not results or not results[-1].is_error:
        return []
    name = results[-1].tool or "tool"
    return [
        Text(text=f"`{name}` did not succeed, or was not allowed:\n\n{_quote(results[-1])}\n\n")
    ]


def _closing(results: list[ToolResult]) -> Text:
    if not results:
        return Text(text="Done.")
    if not results[-1].text:
        return Text(text="Done. There was no output.")
    return Text(text=f"Done. The result was:\n\n{_quote(results[-1])}")


def _quote(result: ToolResult) -> str:
    text = result.text[:_QUOTE_LIMIT] + ("…" if len(result.text) > _QUOTE_LIMIT else "")
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def invent(words: int) -> str:
    """So many words, always the same ones, in lines of twelve."""
    picked = [_LOREM[(index * 7 + index // 12) % len(_LOREM)] for index in range(words)]
    lines = [" ".join(picked[start : start + 12]) for start in range(0, words, 12)]
    return "\n".join(lines)


def _sample(schema: dict[str, Any]) -> Any:
    """The plainest value that fits a JSON schema of the simple kind that the CLI sends."""
    match schema.get("type"):
        case "object":
            fields = schema.get("properties") or {}
            return {name: _sample(field) for name, field in fields.items()}
        case "array":
            return []
        case "boolean":
            return False
        case "integer" | "number":
            return 0
        case _:
            return (schema.get("enum") or ["Scripted conversation"])[0]
