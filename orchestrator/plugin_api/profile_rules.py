"""The rules that a profile itself holds, as the policy that they are.

Patterns are matched by RE2, in time that grows with the text and no faster: the text is hostile,
and an engine that backtracks could be held up by it for ever. What RE2 lacks for that (look-around
and back-references) is refused when the profile is read.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import re2

from orchestrator.plugin_api.policies import (
    Annotate,
    Block,
    Forbid,
    Pass,
    PromptVerdict,
    ToolVerdict,
)
from orchestrator.protocol.agent import AgentSetup, PromptRule, ToolRule

MAX_TEXTS = 8 << 20
"""Characters of one input that are looked through; what is longer is refused unseen."""
OTHER_NAMES = {"Task": "Agent", "KillShell": "TaskStop", "KillBash": "TaskStop"}
"""What the CLI once called a tool, and what it calls it now."""
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""What Unicode says to draw as nothing (Default_Ignorable_Code_Point)."""


class BadPattern(ValueError):
    """A rule's pattern that cannot be used; the message says which and why."""


class ProfileRules:
    """Raises BadPattern."""

    def __init__(
        self, *, forbidden: Sequence[ToolRule] = (), prompt_rules: Sequence[PromptRule] = ()
    ) -> None:
        self._forbidden = [(rule, _compiled(rule.pattern)) for rule in forbidden]
        self._prompt_rules = [(rule, _compiled(rule.pattern)) for rule in prompt_rules]

    def judge_tool(self, tool_name: str, tool_input: dict[str, Any]) -> ToolVerdict:
        rules = [(rule, pattern) for rule, pattern in self._forbidden if _names(rule, tool_name)]
        if not rules:
            return Pass()
        texts = list(texts_of(tool_input))
        if sum(map(len, texts)) > MAX_TEXTS:
            return Forbid(reason="The input is too long to be checked against this profile.")
        readings = [reading for text in texts for reading in readings_of(text)]
        for rule, pattern in rules:
            if not rule.pattern or any(pattern.search(reading) for reading in readings):
                return Forbid(reason=rule.reason)
        return Pass()

    def judge_prompt(self, prompt: str) -> PromptVerdict:
        if self._prompt_rules and len(prompt) > MAX_TEXTS:
            return Block(reason="The prompt is too long to be checked against this profile.")
        notes: list[str] = []
        readings = list(readings_of(prompt))
        for rule, pattern in self._prompt_rules:
            if not any(pattern.search(reading) for reading in readings):
                continue
            if rule.action == "block":
                return Block(reason=rule.text)
            notes.append(rule.text)
        return Annotate(note="\n".join(notes)) if notes else Pass()


def check_rules(setup: AgentSetup) -> None:
    """Raises BadPattern for the first rule whose pattern cannot be used."""
    ProfileRules(forbidden=setup.forbidden, prompt_rules=setup.prompt_rules)


def texts_of(value: Any) -> Iterator[str]:
    """Every text within a value, at any depth, names of fields included."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                yield text
            case dict() as fields:
                waiting += [*fields.keys(), *fields.values()]
            case list() | tuple() as items:
                waiting += items


def readings_of(text: str) -> Iterator[str]:
    """The text, and where that is another one, what it reads as: without characters that nobody
    sees, and with full-width and other styled letters as the plain ones."""
    yield text
    if not text.isascii():
        plain = unicodedata.normalize("NFKC", _UNSEEN.sub("", text))
        if plain != text:
            yield plain


def _names(rule: ToolRule, tool_name: str) -> bool:
    current = OTHER_NAMES.get(tool_name, tool_name)
    names = {tool_name, current, *(old for old, new in OTHER_NAMES.items() if new == current)}
    if rule.tool.endswith("*"):
        return any(name.startswith(rule.tool[:-1]) for name in names)
    return rule.tool in names


def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        raise BadPattern(f"The pattern {pattern!r} cannot be used: {_said(error)}.") from error


def _said(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return text.decode(errors="replace") if isinstance(text, bytes) else str(error)
