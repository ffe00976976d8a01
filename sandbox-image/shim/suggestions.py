"""The rules that the CLI suggests with a request: as people see them, and as granted. Pure."""

import dataclasses
from typing import get_args

from claude_agent_sdk import PermissionUpdate

from orchestrator.protocol.event_parts import PermissionMode, Rule, Suggestion
from shim.foreign_values import as_list, as_text, as_text_or_none, as_texts


def describe(update: PermissionUpdate) -> Suggestion:
    return Suggestion(
        kind=as_text(update.type),
        rules=[
            Rule(tool=as_text(rule.tool_name), content=as_text_or_none(rule.rule_content))
            for rule in as_list(update.rules)
        ],
        behavior=as_text_or_none(update.behavior),
        mode=as_text_or_none(update.mode),
        directories=as_texts(update.directories),
        destination=as_text_or_none(update.destination),
    )


def granted(
    suggestions: list[PermissionUpdate], chosen: list[int] | None
) -> list[PermissionUpdate]:
    """The chosen ones (all when None), for this session alone.

    A rule in the workspace's settings would be the agent's to edit, and nothing reads it.
    """
    picked = range(len(suggestions)) if chosen is None else sorted(set(chosen))
    return [
        dataclasses.replace(suggestions[position], destination="session")
        for position in picked
        if 0 <= position < len(suggestions) and _may_be_granted(suggestions[position])
    ]


def _may_be_granted(update: PermissionUpdate) -> bool:
    return update.type != "setMode" or update.mode in get_args(PermissionMode)
