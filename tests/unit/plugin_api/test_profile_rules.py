import time

import pytest

from orchestrator.plugin_api.policies import Annotate, Block, Forbid, Pass
from orchestrator.plugin_api.profile_rules import (
    MAX_TEXTS,
    BadPattern,
    ProfileRules,
    check_rules,
    texts_of,
)
from orchestrator.protocol.agent import AgentSetup, PromptRule, ToolRule


def tools(*rules: ToolRule) -> ProfileRules:
    return ProfileRules(forbidden=rules)


def prompts(*rules: tuple[str, str, str]) -> ProfileRules:
    made = [PromptRule(pattern=p, action=a, text=t) for p, a, t in rules]  # type: ignore[arg-type]
    return ProfileRules(prompt_rules=made)


@pytest.mark.parametrize(
    ("rule", "tool", "forbidden"),
    [
        ("Bash", "Bash", True),
        ("Bash", "BashOutput", False),
        ("bash", "Bash", False),
        ("mcp__git__*", "mcp__git__push", True),
        ("mcp__git__*", "mcp__other__push", False),
        ("*", "Anything", True),
        ("Task", "Agent", True),
        ("Agent", "Task", True),
        ("Task*", "Agent", True),
        ("KillShell", "TaskStop", True),
        ("KillShell", "KillBash", True),
    ],
)
def test_a_rule_names_its_tools(rule: str, tool: str, forbidden: bool):
    """By the whole name, by what it begins with, and by the name that it had before."""
    verdict = tools(ToolRule(tool=rule)).judge_tool(tool, {})
    assert isinstance(verdict, Forbid) is forbidden


@pytest.mark.parametrize(
    "tool_input",
    [
        {"command": "sudo ls"},
        {"a": {"b": [{"c": ["x", "sudo"]}]}},
        {"sudo": 1},
        {"edits": [{"new_string": "x\nsudo y"}]},
    ],
)
def test_a_pattern_is_found_in_any_text_at_any_depth(tool_input):
    """Nothing hides in a nested field, a list, or a field's name."""
    rules = tools(ToolRule(tool="*", pattern=r"\bsudo\b", reason="no"))
    assert rules.judge_tool("Bash", tool_input) == Forbid(reason="no")
    assert rules.judge_tool("Bash", {"command": "pseudonym"}) == Pass()


@pytest.mark.parametrize(
    "text",
    ["su\u200bdo", "\uff53udo", "s\u00ad\u3164udo", "s\U000e0001ud\ufe0fo", "\u2066sudo\u2069"],
)
def test_nothing_unseen_hides_a_word(text: str):
    """Invisible characters and styled letters within a word do not lead a pattern past it."""
    rules = tools(ToolRule(tool="*", pattern=r"\bsudo\b", reason="no"))
    assert rules.judge_tool("Bash", {"command": f"a {text} b"}) == Forbid(reason="no")
    assert prompts((r"\bsudo\b", "block", "no")).judge_prompt(f"a {text} b") == Block(reason="no")


def test_a_pattern_for_what_is_unseen_is_found():
    """The text counts as it is, too."""
    assert prompts(("\u200b", "block", "no")).judge_prompt("a\u200bb") == Block(reason="no")


def test_the_first_rule_that_holds_gives_the_reason():
    """Rules are read in order."""
    rules = tools(ToolRule(tool="Bash", pattern="x", reason="1"), ToolRule(tool="*", reason="2"))
    assert rules.judge_tool("Bash", {"command": "x"}) == Forbid(reason="1")
    assert rules.judge_tool("Bash", {"command": "y"}) == Forbid(reason="2")


def test_prompts_are_blocked_or_annotated():
    """The first rule that blocks ends it; those that annotate add up."""
    rules = prompts(("a", "annotate", "A"), ("b", "annotate", "B"), ("c", "block", "C"))
    assert rules.judge_prompt("a b") == Annotate(note="A\nB")
    assert rules.judge_prompt("a b c") == Block(reason="C")
    assert rules.judge_prompt("d") == Pass()


@pytest.mark.parametrize(
    "pattern", [r"(a+)+$", r"(a|aa)*b", r"(.*a){20}$", r"^(([a-z])+.)+[A-Z]+$"]
)
def test_no_text_holds_a_pattern_up(pattern: str):
    """Patterns that would keep a backtracking engine busy for ever are done in no time."""
    hostile = "a" * 200_000 + "!"
    began = time.monotonic()
    prompts((pattern, "block", "x")).judge_prompt(hostile)
    tools(ToolRule(tool="*", pattern=pattern)).judge_tool("Bash", {"command": hostile})
    assert time.monotonic() - began < 5


def test_what_is_too_long_to_be_checked_is_refused():
    """A length that nobody looked through is no way past a rule."""
    long = "x" * (MAX_TEXTS + 1)
    rules = tools(ToolRule(tool="Bash", pattern="y"))
    assert isinstance(rules.judge_tool("Bash", {"command": long}), Forbid)
    assert rules.judge_tool("Read", {"file_path": long}) == Pass()
    assert isinstance(prompts(("y", "annotate", "z")).judge_prompt(long), Block)


def test_texts_of_what_is_nested_without_end():
    """Depth is no way to stop the search."""
    deep: dict[str, object] = {"leaf": "found"}
    for _ in range(100_000):
        deep = {"": deep}
    assert "found" in texts_of(deep)


@pytest.mark.parametrize("pattern", ["(", "(?=x)", r"(a)\1", "*", "\ud800", "a{100000}"])
def test_a_pattern_that_cannot_be_used_is_told(pattern: str):
    """The operator hears of it when the profile is read, with the pattern's name."""
    setup = AgentSetup(model="m", forbidden=[ToolRule(tool="Bash", pattern=pattern)])
    with pytest.raises(BadPattern, match="cannot be used"):
        check_rules(setup)
