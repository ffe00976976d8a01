"""Keeps credentials out of prompts, and out of what Claude writes and runs.

A key that is pasted into a prompt goes to the model's provider and stays in the transcript; one
that a tool carries is on its way into a file or a command. Both are refused where the text has the
shape of a well-known credential. RE2 looks for it, so that no text can hold the search up.
"""

from typing import Any

import re2

from orchestrator.plugin_api.policies import Block, Forbid, Pass, PromptVerdict, ToolVerdict
from orchestrator.plugin_api.profile_rules import texts_of

SHAPES = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "an Anthropic API key": r"\bsk-ant-[A-Za-z0-9_-]{20,}",
    "an AWS access key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})",
    "a Slack token": r"\bxox[abprs]-[A-Za-z0-9-]{20,}",
    "a Google API key": r"\bAIza[A-Za-z0-9_-]{35}",
}


class CredentialGuard:
    def __init__(self) -> None:
        self._shapes = {name: re2.compile(shape) for name, shape in SHAPES.items()}

    def judge_prompt(self, prompt: str) -> PromptVerdict:
        found = self._found(prompt)
        if found is None:
            return Pass()
        return Block(reason=f"The prompt holds {found}. Take it out, and replace that credential.")

    def judge_tool(self, tool_name: str, tool_input: dict[str, Any]) -> ToolVerdict:
        del tool_name  # a credential has no business in any of them
        for text in texts_of(tool_input):
            if (found := self._found(text)) is not None:
                return Forbid(reason=f"The input holds {found}. Credentials are not written here.")
        return Pass()

    def _found(self, text: str) -> str | None:
        return next((name for name, shape in self._shapes.items() if shape.search(text)), None)
