"""Reads the input of the AskUserQuestion tool. Pure."""

from typing import Any

from orchestrator.protocol.event_parts import Option, Question
from shim.foreign_values import as_dict, as_list, as_text, as_text_or_none


def read_questions(tool_input: dict[str, Any]) -> list[Question]:
    """Empty when there is nothing that a person could answer."""
    found = [_question(as_dict(item)) for item in as_list(tool_input.get("questions"))]
    return [question for question in found if question.question]


def _question(item: dict[str, Any]) -> Question:
    return Question(
        question=as_text(item.get("question")),
        header=as_text(item.get("header")),
        options=[_option(option) for option in as_list(item.get("options"))],
        multi_select=bool(item.get("multiSelect")),
    )


def _option(option: object) -> Option:
    if isinstance(option, str):
        return Option(label=option)
    fields = as_dict(option)
    return Option(
        label=as_text(fields.get("label")),
        description=as_text(fields.get("description")),
        preview=as_text_or_none(fields.get("preview")),
    )
