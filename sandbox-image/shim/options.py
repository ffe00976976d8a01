"""The options of the sandbox's one `ClaudeSDKClient`, from its profile's part. Pure.

`setting_sources=[]`: settings files in the workspace are the agent's own to write, and would run
hooks, start servers and allow tools. What is fixed for every sandbox stands here, not in a profile.
"""

from collections.abc import Callable

from claude_agent_sdk import CanUseTool, ClaudeAgentOptions
from claude_agent_sdk.types import SystemPromptPreset

from orchestrator.protocol.agent import AgentSetup

WORKSPACE = "/workspace"
MAX_MESSAGE_BYTES = 64 << 20
"""One message of the CLI. The SDK's own limit, 1 MiB, ends a session at the first large image."""


def agent_options(
    setup: AgentSetup,
    *,
    can_use_tool: CanUseTool,
    stderr: Callable[[str], None],
    workspace: str = WORKSPACE,
) -> ClaudeAgentOptions:
    return ClaudeAgentOptions(
        model=setup.model,
        permission_mode=setup.permission_mode,
        system_prompt=_system_prompt(setup.system_prompt),
        disallowed_tools=setup.disallowed_tools,
        max_turns=setup.max_turns,
        setting_sources=[],
        strict_mcp_config=True,
        include_partial_messages=True,
        forward_subagent_text=True,
        cwd=workspace,
        can_use_tool=can_use_tool,
        stderr=stderr,
        max_buffer_size=MAX_MESSAGE_BYTES,
    )


def _system_prompt(appended: str) -> SystemPromptPreset:
    if appended:
        return {"type": "preset", "preset": "claude_code", "append": appended}
    return {"type": "preset", "preset": "claude_code"}
