"""The real Claude Code CLI on a gateway socket, with a scripted model at the other end."""

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from claude_agent_sdk import (
    AssistantMessage,
    ClaudeAgentOptions,
    ClaudeSDKClient,
    PermissionResultAllow,
    PermissionResultDeny,
    ResultMessage,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
)

from orchestrator.sessions.profiles import Profile
from orchestrator.testing.scripted_model import ScriptedModel

from .conftest import PROFILE, REAL_KEY, Door, RecordingWatcher


class Agent:
    """One connected client, and what it was asked and answered."""

    def __init__(self, client: ClaudeSDKClient) -> None:
        self.client = client

    async def ask(self, prompt: str) -> tuple[list[Any], ResultMessage]:
        """The blocks that the assistant wrote, and the result."""
        await self.client.query(prompt)
        blocks: list[Any] = []
        async for message in self.client.receive_response():
            if isinstance(message, AssistantMessage):
                blocks += message.content
            if isinstance(message, ResultMessage):
                return blocks, message
        raise AssertionError("no result")


class Person:
    """Answers every question: allows, or denies what `denies` names."""

    def __init__(self) -> None:
        self.denies: set[str] = set()
        self.asked: list[str] = []

    async def answer(
        self, tool: str, tool_input: dict[str, Any], context: object
    ) -> PermissionResultAllow | PermissionResultDeny:
        self.asked.append(tool)
        if tool in self.denies:
            return PermissionResultDeny(message="Not this one.")
        if tool == "AskUserQuestion":
            answers = {q["question"]: q["options"][1]["label"] for q in tool_input["questions"]}
            return PermissionResultAllow(updated_input={**tool_input, "answers": answers})
        return PermissionResultAllow()


@pytest.fixture
def person() -> Person:
    return Person()


@pytest.fixture
async def agent(door: Door, tmp_path: Path, person: Person) -> AsyncIterator[Agent]:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    options = ClaudeAgentOptions(
        model="claude-opus-5-5",
        permission_mode="default",
        can_use_tool=person.answer,
        setting_sources=[],
        cwd=workspace,
        env={
            "HOME": str(tmp_path),
            "CLAUDE_CONFIG_DIR": str(tmp_path / ".claude"),
            "ANTHROPIC_UNIX_SOCKET": str(door.path),
            "ANTHROPIC_BASE_URL": "http://gateway.internal",
            "ANTHROPIC_API_KEY": "not-a-secret",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_ENABLE_TODO_TOOLS": "1",
            "CLAUDE_CODE_MAX_RETRIES": "1",
            "NO_PROXY": "*",
        },
    )
    async with ClaudeSDKClient(options) as client:
        yield Agent(client)


def texts(blocks: list[Any]) -> str:
    return "\n".join(block.text for block in blocks if isinstance(block, TextBlock))


def tools(blocks: list[Any]) -> list[str]:
    return [block.name for block in blocks if isinstance(block, ToolUseBlock)]


async def test_a_turn_passes_and_is_metered(
    agent: Agent, model: ScriptedModel, watcher: RecordingWatcher
) -> None:
    """Every request of the CLI passes the gateway's rules, with the real key, and is counted."""
    blocks, result = await agent.ask("hello")
    assert "scripted model" in texts(blocks)
    assert not result.is_error
    assert {seen.headers["x-api-key"] for seen in model.requests} == {REAL_KEY}
    assert all(event.cost_usd > 0 for _, event in watcher.metered_events)
    assert watcher.metered_events
    assert watcher.failures == []
    assert REAL_KEY not in str(os.environ)


async def test_commands_run_one_after_another(agent: Agent, tmp_path: Path) -> None:
    """Lines of one prompt are consecutive steps of one turn, tools included."""
    blocks, result = await agent.ask(
        "!think 9 words\n!say 3 words\n!write notes.txt one\ntwo\n!bash cat notes.txt; touch done"
    )
    assert not result.is_error
    assert [type(block) for block in blocks[:2]] == [ThinkingBlock, TextBlock]
    assert tools(blocks) == ["Write", "Bash"]
    assert (tmp_path / "workspace" / "notes.txt").read_text() == "one\ntwo"
    assert "one\ntwo" in blocks[-1].text


async def test_a_person_is_asked(agent: Agent, person: Person) -> None:
    """A question comes as AskUserQuestion; the answer is quoted in the end."""
    blocks, _ = await agent.ask("!ask")
    assert person.asked == ["AskUserQuestion"]
    assert "Green" in blocks[-1].text


async def test_a_denied_tool_is_said_plainly(agent: Agent, person: Person) -> None:
    """The answer says that the tool was not allowed, and why; later steps still run."""
    person.denies = {"Bash"}
    blocks, _ = await agent.ask("!bash touch x\n!say 2 words")
    assert "not allowed" in texts(blocks)
    assert "Not this one." in texts(blocks)
    assert blocks[-1].text == "the its"


async def test_todos_are_written_with_the_tool_that_is_offered(agent: Agent) -> None:
    """Hidden behind a search for tools or not, the to-do list is made."""
    blocks, result = await agent.ask("!todo")
    assert not result.is_error
    assert tools(blocks)[-1] in ("TaskUpdate", "TodoWrite")


async def test_a_subagent_obeys_too(agent: Agent, tmp_path: Path) -> None:
    """A subagent has its own conversation, in which commands work."""
    blocks, result = await agent.ask("!subagent !bash touch by-subagent\n!say 2 words")
    assert not result.is_error
    assert tools(blocks)[0] == "Agent"
    assert (tmp_path / "workspace" / "by-subagent").exists()


@pytest.mark.parametrize(
    ("command", "tag", "said"),
    [
        ("!fail 401", "upstream_key_refused", "refused Casemate's key"),
        ("!fail 403", "upstream_forbidden", "does not allow this"),
        ("!fail 404", "upstream_model_unknown", "model"),
        ("!fail 429", "upstream_rate_limited", "429"),
        ("!fail 500", "upstream_error", "500"),
        ("!fail 529", "upstream_overloaded", "529"),
        ("!cut", "upstream_cut", "API Error"),
    ],
)
async def test_the_agent_survives_each_failure(
    agent: Agent, watcher: RecordingWatcher, command: str, tag: str, said: str
) -> None:
    """A failure ends the turn with a text about it, is told once, and the next turn works."""
    blocks, result = await agent.ask(command)
    assert result.is_error
    assert said in texts(blocks)
    assert watcher.tags == [tag]
    _, result = await agent.ask("!say 2 words")
    assert not result.is_error
    assert result.result == "the its"


async def test_a_passing_failure_is_retried(agent: Agent, watcher: RecordingWatcher) -> None:
    """An overloaded model that recovers costs the person nothing but a moment."""
    _, result = await agent.ask("!fail 529 1 times\n!say 2 words")
    assert not result.is_error
    assert result.result == "the its"
    assert watcher.tags == ["upstream_overloaded"]


class TestWithABudget:
    @pytest.fixture
    def profile(self) -> Profile:
        return msgspec.structs.replace(PROFILE, token_budget=20)

    async def test_the_agent_stops_at_once(
        self, agent: Agent, model: ScriptedModel, watcher: RecordingWatcher
    ) -> None:
        """The turn that uses the budget up is whole; the next one says why, without a retry."""
        _, result = await agent.ask("!say 30 words")
        assert not result.is_error
        before = len(model.requests)
        began = time.monotonic()
        blocks, result = await agent.ask("!say 3 words")
        assert result.is_error
        assert "budget of 20 tokens" in texts(blocks)
        assert watcher.tags == ["token_budget_used"]
        assert len(model.requests) == before
        assert time.monotonic() - began < 3
