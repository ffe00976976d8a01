"""What a request to the model asks for: the last real prompt and what followed it. Pure.

The model keeps no state between requests, as the real one does not: where a turn stands is read
from the request's own messages, through all that the CLI adds to them.
"""

import re
from typing import Any

import msgspec

_ADDED_BY_CLI = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_NOTICE = "<task-notification>"
_NOT_A_PROMPT = (
    "[Request interrupted by user",
    "<local-command-",
    "<command-name>",
    "Tool loaded.",
    "Your response above was cut off",
)
"""How the texts begin that the CLI writes in the user's place, without a tag around them."""


TOOL_SEARCH = "ToolSearch"
"""The CLI offers some tools only after they were searched for."""


class ToolResult(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    is_error: bool
    tool: str = ""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """`results` are those of the tools that were called since `prompt`, oldest first.

    `position` names this prompt among all others of the conversation.
    """

    prompt: str
    results: list[ToolResult] = []
    position: int = 0
    tools: dict[str, dict[str, Any]] = {}
    """The names of the offered tools, with the schema of their input."""
    just_searched: bool = False
    """The last thing that happened was a search for tools; its result is not among `results`."""
    schema: dict[str, Any] | None = None
    """The answer has to be JSON of this schema (the CLI asks so for titles)."""


def read_request(body: dict[str, Any]) -> Reading:
    """Takes any JSON object; what is no conversation reads as an empty prompt."""
    prompt, results, position = "", list[ToolResult](), 0
    names: dict[str, str] = {}
    for index, (role, blocks) in enumerate(_messages(body.get("messages"))):
        if role == "assistant":
            names |= {str(block.get("id", "")): str(block.get("name", "")) for block in blocks}
            continue
        results = results + [_result(b, names) for b in blocks if b.get("type") == "tool_result"]
        if text := _prompt_of(blocks):
            prompt, results, position = text, [], index
    return Reading(
        prompt=prompt,
        results=[result for result in results if result.tool != TOOL_SEARCH],
        position=position,
        tools=_tools(body.get("tools")),
        just_searched=bool(results) and results[-1].tool == TOOL_SEARCH,
        schema=_schema(body),
    )


def _messages(messages: Any) -> list[tuple[str, list[dict[str, Any]]]]:
    found: list[tuple[str, list[dict[str, Any]]]] = []
    for message in messages if isinstance(messages, list) else []:
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            continue
        content = message.get("content")
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        blocks = content if isinstance(content, list) else []
        found.append((message["role"], [block for block in blocks if isinstance(block, dict)]))
    return found


def _prompt_of(blocks: list[dict[str, Any]]) -> str:
    """The last text that somebody wrote; else a notice that a background task ended.

    A message that brings tool results is the same turn going on: a notice in it starts nothing.
    """
    written = [text for block in blocks if (text := _prompt_text(block))]
    if written:
        return written[-1]
    if any(block.get("type") == "tool_result" for block in blocks):
        return ""
    notices = [str(block.get("text")) for block in blocks if _NOTICE in str(block.get("text"))]
    return f"{_NOTICE}{notices[-1].partition(_NOTICE)[2]}" if notices else ""


def _prompt_text(block: dict[str, Any]) -> str:
    text = block.get("text")
    if block.get("type") != "text" or not isinstance(text, str):
        return ""
    if text.startswith("<system-reminder>") and _NOTICE in text:
        return ""  # whatever a background task said, reminders of its own included
    text = _ADDED_BY_CLI.sub("", text).strip()
    return "" if text.startswith(_NOT_A_PROMPT) else text


def _result(block: dict[str, Any], names: dict[str, str]) -> ToolResult:
    content = block.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "\n".join(part for part in parts if isinstance(part, str))
    text = _ADDED_BY_CLI.sub("", content).strip() if isinstance(content, str) else ""
    tool = names.get(str(block.get("tool_use_id")), "")
    return ToolResult(text=text, is_error=block.get("is_error") is True, tool=tool)


def _tools(tools: Any) -> dict[str, dict[str, Any]]:
    offered = tools if isinstance(tools, list) else []
    return {
        tool["name"]: tool.get("input_schema") or {}
        for tool in offered
        if isinstance(tool, dict) and isinstance(tool.get("name"), str)
    }


def _schema(body: dict[str, Any]) -> dict[str, Any] | None:
    settings = body.get("output_config")
    chosen = settings.get("format") if isinstance(settings, dict) else None
    schema = chosen.get("schema") if isinstance(chosen, dict) else None
    return schema if isinstance(schema, dict) else None
