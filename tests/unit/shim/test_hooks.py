from typing import Any

import pytest
from shim.hooks import Hooks
from shim.mcp_servers import ToolServers
from shim.policies import Policies
from shim.turns import Turns

from orchestrator.protocol.agent import AgentSetup, PromptRule, ToolRule
from orchestrator.protocol.ids import TurnId
from orchestrator.protocol.sandbox_events import PromptAnnotated, PromptBlocked, ToolForbidden

RULES = AgentSetup(
    model="m",
    forbidden=[ToolRule(tool="Bash", pattern="rm", reason="No deleting.")],
    prompt_rules=[
        PromptRule(pattern="bad", action="block", text="Bad."),
        PromptRule(pattern="odd", action="annotate", text="Odd."),
    ],
)


class Around:
    """Hooks, what they said, and the turns that they ask about."""

    def __init__(self, setup: AgentSetup) -> None:
        self.said: list[Any] = []
        self.policies = Policies(setup)
        self.turns = Turns(self.said.append)
        self.hooks = Hooks(
            self.said.append,
            ToolServers([], say=self.said.append, workspace="/"),
            policies=self.policies,
            turns=self.turns,
        )

    async def prompt(self, text: str) -> Any:
        return await self.hooks.before_prompt({"prompt": text}, None, {})


@pytest.fixture
async def around():
    made = Around(RULES)
    await made.policies.load()
    yield made
    made.policies.close()


async def test_a_forbidden_tool_is_denied_and_told(around):
    """Claude gets the reason, and so does the person."""
    given = {"tool_name": "Bash", "tool_input": {"command": "rm x"}}
    answer = await around.hooks.before_tool(given, "toolu", {})
    assert answer["hookSpecificOutput"]["permissionDecision"] == "deny"
    assert answer["hookSpecificOutput"]["permissionDecisionReason"] == "No deleting."
    assert around.said == [
        ToolForbidden(
            tool_name="Bash", reason="No deleting.", policy="profile", tool_use_id="toolu"
        )
    ]


async def test_what_is_not_forbidden_is_left_to_the_questions(around):
    """No objection is no permission: the hook decides nothing then."""
    assert await around.hooks.before_tool({"tool_name": "Bash", "tool_input": {}}, "t", {}) == {}
    assert around.said == []


@pytest.mark.parametrize("given", [None, {}, {"tool_name": 5, "tool_input": "rm"}, []])
async def test_a_hook_survives_what_is_no_call(around, given):
    """What cannot be read is not forbidden by name, and breaks nothing."""
    assert await around.hooks.before_tool(given, None, {}) == {}


async def test_a_blocked_prompt_is_kept_out(around):
    """A prompt of the CLI's own is blocked with its text left out, and the block is told."""
    answer = await around.prompt("bad idea")
    assert (answer["decision"], answer["reason"]) == ("block", "Bad.")
    assert answer["hookSpecificOutput"]["suppressOriginalPrompt"] is True
    assert around.said == [PromptBlocked(turn_id=TurnId(""), reason="Bad.", policy="profile")]


async def test_a_note_goes_beside_the_prompt(around):
    """Claude reads the note, and the person sees it, once."""
    turn = around.turns.begin(TurnId("t"))
    assert await around.hooks.refusal(turn.id, "odd") is None
    answer = await around.prompt("odd")
    assert answer["hookSpecificOutput"]["additionalContext"] == "Odd."
    assert around.said == [PromptAnnotated(turn_id=TurnId("t"), note="Odd.", policy="profile")]


async def test_a_sent_prompt_is_judged_once_and_another_anew(around):
    """What was judged before it was sent is not asked again; whatever else comes is."""
    turn = around.turns.begin(TurnId("t"))
    assert await around.hooks.refusal(turn.id, "fine") is None
    around.policies.close()
    assert await around.prompt("fine") == {}
    assert (await around.prompt("fine"))["decision"] == "block"


async def test_a_persons_prompt_is_refused_before_it_is_sent(around):
    """The refusal names the turn, the reason and the policy."""
    refused = await around.hooks.refusal(TurnId("t"), "bad")
    assert refused.reason == "Bad."
    assert around.said == [PromptBlocked(turn_id=TurnId("t"), reason="Bad.", policy="profile")]


async def test_hooks_fail_closed_and_outlast_their_policies(around):
    """The CLI blocks when a hook fails or is late, and waits longer than policies may take."""
    matchers = around.hooks.matchers()
    assert set(matchers) == {"PreToolUse", "UserPromptSubmit"}
    for [matcher] in matchers.values():
        assert matcher.on_failure == "block"
        assert matcher.matcher is None
        assert matcher.timeout > 5


async def test_without_rules_there_are_no_hooks():
    """What judges nothing costs no round trip."""
    assert Around(AgentSetup(model="m")).hooks.matchers() == {}
