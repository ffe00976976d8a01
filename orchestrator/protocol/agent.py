"""How the agent in a sandbox is set up: written into the slot as `agent.json`, read by the shim."""

import msgspec

from orchestrator.protocol.event_parts import PermissionMode


class AgentSetup(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The profile's part of `ClaudeAgentOptions`. Holds no secret: Bash can read it."""

    model: str
    permission_mode: PermissionMode = "default"
    system_prompt: str = ""
    """Appended to Claude Code's own."""
    allowed_tools: list[str] = []
    """Whole tools, by name, that run without asking. Leave out what a person shall approve."""
    disallowed_tools: list[str] = []
    max_turns: int | None = None
    """Model rounds within one turn."""
