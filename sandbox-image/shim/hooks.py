"""The CLI's hooks: what is judged before a tool runs, and before a prompt reaches Claude.

Hooks hold in every permission mode, in subagents, and for what a person or the profile allowed:
they come before the question. A hook that fails or is late blocks (`on_failure`), also when it is
the whole shim that hangs. The CLI asks for every prompt of its own (a schedule, a background task)
but not for commands that it answers by itself, so what a person sends is judged before it is sent.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from claude_agent_sdk import HookMatcher

from orchestrator.protocol.ids import TurnId
from orchestrator.protocol.sandbox_events import (
    PromptAnnotated,
    PromptBlocked,
    SandboxEvent,
    ToolForbidden,
)
from shim.foreign_values import as_dict, as_text, as_text_or_none
from shim.mcp_servers import ToolServers
from shim.policies import JUDGE_SECONDS, Noted, Policies, Refused
from shim.turns import Turns

MARGIN = 5.0
"""Seconds that a hook gets beyond what its policies may take."""


class _Judged(msgspec.Struct, frozen=True):
    turn_id: TurnId
    prompt: str
    notes: list[Noted]


class Hooks:
    def __init__(
        self,
        say: Callable[[SandboxEvent], None],
        servers: ToolServers,
        *,
        policies: Policies,
        turns: Turns,
    ) -> None:
        self._say = say
        self._servers = servers
        self._policies = policies
        self._turns = turns
        self._judged: _Judged | None = None
        """The prompt that was sent last: the CLI's hook need not judge it again."""

    def matchers(self) -> dict[Any, list[HookMatcher]]:
        """For the SDK. None where nothing is to be judged, and no tool server can have failed
        meanwhile: each hook costs a round trip."""
        hooks: dict[Any, Any] = {}
        if self._policies:
            hooks["PreToolUse"] = self.before_tool
        if self._policies or self._servers:
            hooks["UserPromptSubmit"] = self.before_prompt
        patience = len(self._policies) * JUDGE_SECONDS + MARGIN
        return {
            event: [HookMatcher(hooks=[hook], timeout=patience, on_failure="block")]
            for event, hook in hooks.items()
        }

    async def refusal(self, turn_id: TurnId, prompt: str) -> Refused | None:
        """Judges a person's prompt. A refusal is told; then the prompt must not be sent."""
        ruling = await self._policies.judge_prompt(prompt)
        if isinstance(ruling, Refused):
            self._say_blocked(turn_id, ruling)
            return ruling
        self._judged = _Judged(turn_id, prompt, ruling)
        return None

    async def before_prompt(self, given: Any, _id: str | None, _context: Any) -> Any:
        """The SDK's callback."""
        prompt = as_text(as_dict(given).get("prompt"))
        turn = self._turns.current
        turn_id = turn.id if turn else TurnId("")
        judged, self._judged = self._judged, None
        if judged is not None and (judged.turn_id, judged.prompt) == (turn_id, prompt):
            return self._annotated(turn_id, judged.notes)
        ruling = await self._policies.judge_prompt(prompt)
        if not isinstance(ruling, Refused):
            return self._annotated(turn_id, ruling)
        self._say_blocked(turn_id, ruling)
        return {
            "decision": "block",
            "reason": ruling.reason,
            "hookSpecificOutput": {
                "hookEventName": "UserPromptSubmit",
                "suppressOriginalPrompt": True,
            },
        }

    async def before_tool(self, given: Any, tool_use_id: str | None, _context: Any) -> Any:
        """The SDK's callback."""
        fields = as_dict(given)
        reason = await self.forbids(
            as_text(fields.get("tool_name")),
            as_dict(fields.get("tool_input")),
            tool_use_id=as_text_or_none(tool_use_id),
        )
        if reason is None:
            return {}
        return {
            "hookSpecificOutput": {
                "hookEventName": "PreToolUse",
                "permissionDecision": "deny",
                "permissionDecisionReason": reason,
            }
        }

    async def forbids(
        self, tool_name: str, tool_input: dict[str, Any], *, tool_use_id: str | None
    ) -> str | None:
        """Why this may not run, told as an event; None where nothing is against it."""
        refused = await self._policies.judge_tool(tool_name, tool_input)
        if refused is None:
            return None
        self._say(
            ToolForbidden(
                tool_name=tool_name,
                reason=refused.reason,
                policy=refused.policy,
                tool_use_id=tool_use_id,
            )
        )
        return refused.reason

    def _annotated(self, turn_id: TurnId, notes: list[Noted]) -> dict[str, Any]:
        for noted in notes:
            self._say(PromptAnnotated(turn_id=turn_id, note=noted.note, policy=noted.policy))
        context = "\n".join([*(noted.note for noted in notes), *self._servers.news()])
        if not context:
            return {}
        return {
            "hookSpecificOutput": {
                "hookEventName": "UserPromptSubmit",
                "additionalContext": context,
            }
        }

    def _say_blocked(self, turn_id: TurnId, refused: Refused) -> None:
        blocked = PromptBlocked(turn_id=turn_id, reason=refused.reason, policy=refused.policy)
        self._say(blocked)
