"""Policies: plugins that judge what people ask and what tools are about to do.

A policy is a class that takes no arguments, with `judge_prompt`, `judge_tool` or both; each may be
a coroutine. A package names it as an entry point of the group `casemate.policies`, an operator
puts the package into the sandbox image (`casemate image build --policy`), and a profile switches it
on by the entry point's name. One instance serves one sandbox, and with it one session.

    class NoFridays:
        def judge_prompt(self, prompt: str) -> PromptVerdict:
            return Block(reason="Not on a Friday.") if is_friday() else Pass()

It runs in the sandbox, never in the control plane: it sees what the agent sees, and it may be told
what the agent is told. What it does not decide in time, or decides with an error, is refused.
"""

from collections.abc import Awaitable
from typing import Any, Protocol, runtime_checkable

import msgspec

ENTRY_POINTS = "casemate.policies"
MAX_TEXT = 4000
"""Characters of a reason or note; what is longer is cut."""


class Pass(msgspec.Struct, frozen=True):
    """Nothing against it."""


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """The prompt does not reach Claude. `reason` is shown to the person."""

    reason: str


class Annotate(msgspec.Struct, frozen=True, kw_only=True):
    """The prompt goes on, and Claude reads `note` beside it. Shown to the person, too."""

    note: str


class Forbid(msgspec.Struct, frozen=True, kw_only=True):
    """The tool does not run, whatever a person would say. `reason` is told to Claude and shown."""

    reason: str


PromptVerdict = Pass | Block | Annotate
ToolVerdict = Pass | Forbid


@runtime_checkable
class PromptPolicy(Protocol):
    def judge_prompt(self, prompt: str) -> PromptVerdict | Awaitable[PromptVerdict]:
        """`prompt` is what a person sent or what the agent set itself, unchanged."""


@runtime_checkable
class ToolPolicy(Protocol):
    def judge_tool(
        self, tool_name: str, tool_input: dict[str, Any]
    ) -> ToolVerdict | Awaitable[ToolVerdict]:
        """`tool_input` is the policy's own copy of what the tool would run with."""
