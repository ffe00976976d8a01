"""The options of the sandbox's one `ClaudeSDKClient`, from its profile's part. Pure.

`setting_sources=[]`: settings files in the workspace are the agent's own to write, and would run
hooks, start servers and allow tools. What is fixed for every sandbox stands here, not in a profile.
"""

import json
from collections.abc import Callable
from typing import Any

from claude_agent_sdk import CanUseTool, ClaudeAgentOptions, HookMatcher, SessionStore
from claude_agent_sdk.types import McpServerConfig, SystemPromptPreset

from orchestrator.protocol.agent import AgentSetup
from shim.fence import fenced_shell

WORKSPACE = "/workspace"
MAX_MESSAGE_BYTES = 64 << 20
"""One message of the CLI. The SDK's own limit, 1 MiB, ends a session at the first large image."""

FILE_TOOLS_STAY = {"blockFileToolReadsOutsideWorkingDirectories": True}
"""The CLI reads what a prompt names as `@path` (a person's, or one that Claude writes for a
subagent) without asking. With this it does so in the workspace only, wherever links lead, and its
file tools stay there, too; a command that leaves the workspace is asked for as ever. The CLI heeds
it from its command line alone: in managed settings it does nothing."""
NO_MENTIONS = {"CLAUDE_CODE_DISABLE_FILE_MENTIONS": "1"}
"""Where tools are judged, Claude reads by a tool what a prompt names: nothing is read unjudged."""


def agent_options(
    setup: AgentSetup,
    *,
    can_use_tool: CanUseTool,
    stderr: Callable[[str], None],
    store: SessionStore | None = None,
    hooks: dict[Any, list[HookMatcher]] | None = None,
    servers: dict[str, McpServerConfig] | None = None,
    workspace: str = WORKSPACE,
    resume: str | None = None,
) -> ClaudeAgentOptions:
    """`resume`: an agent session whose transcript is where the CLI keeps its own. (The SDK's own
    option of that name would put what the store has into another home.)"""
    return ClaudeAgentOptions(
        model=setup.model,
        permission_mode=setup.permission_mode,
        system_prompt=_system_prompt(setup.system_prompt),
        disallowed_tools=setup.disallowed_tools,
        max_turns=setup.max_turns,
        setting_sources=[],
        settings=_settings(setup),
        strict_mcp_config=True,
        mcp_servers=servers or {},
        env=fenced_shell() | (NO_MENTIONS if setup.forbidden or setup.policies else {}),
        hooks=hooks or None,
        include_partial_messages=True,
        forward_subagent_text=True,
        cwd=workspace,
        can_use_tool=can_use_tool,
        stderr=stderr,
        max_buffer_size=MAX_MESSAGE_BYTES,
        session_store=store,
        session_store_flush="eager",
        extra_args={"resume": resume} if resume else {},
    )


def _settings(setup: AgentSetup) -> str:
    """`bashOutputMaxChars`: what a command writes beyond it goes to a file, and Claude is told. The
    CLI takes 4,000 to 128,000."""
    return json.dumps(
        {"permissions": FILE_TOOLS_STAY, "bashOutputMaxChars": setup.max_output_chars}
    )


def _system_prompt(appended: str) -> SystemPromptPreset:
    if appended:
        return {"type": "preset", "preset": "claude_code", "append": appended}
    return {"type": "preset", "preset": "claude_code"}
