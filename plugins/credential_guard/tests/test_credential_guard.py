import pytest
from credential_guard import CredentialGuard

from orchestrator.plugin_api.policies import Block, Forbid, Pass, PromptPolicy, ToolPolicy

CREDENTIALS = [
    "-----BEGIN OPENSSH PRIVATE KEY-----",
    "sk-ant-" + "a" * 40,
    "AKIA" + "A" * 16,
    "ghp_" + "a" * 36,
    "github_pat_" + "a" * 70,
    "xoxb-" + "1" * 24,
    "AIza" + "a" * 35,
]


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_credentials_are_kept_out(credential: str):
    """Of prompts, and of what tools are given at any depth; the reason does not repeat them."""
    guard = CredentialGuard()
    blocked = guard.judge_prompt(f"Use {credential}, please.")
    forbidden = guard.judge_tool("Write", {"edits": [{"content": f"key={credential}\n"}]})
    assert isinstance(blocked, Block)
    assert isinstance(forbidden, Forbid)
    assert credential not in blocked.reason + forbidden.reason


@pytest.mark.parametrize(
    "text", ["How do I read a private key?", "sk-ant-...", "AKIA", "ghp_token", "a" * 100_000]
)
def test_talk_about_credentials_passes(text: str):
    """What only mentions one is no credential."""
    guard = CredentialGuard()
    assert guard.judge_prompt(text) == Pass()
    assert guard.judge_tool("Bash", {"command": text}) == Pass()


def test_it_is_a_policy():
    """It judges both, as the plugin API has it."""
    guard = CredentialGuard()
    assert isinstance(guard, PromptPolicy)
    assert isinstance(guard, ToolPolicy)
