"""How the agent in a sandbox is set up: written into the slot as `agent.json`, read by the shim.

Unknown fields are errors at both ends: a rule that is misspelt, or that an older shim does not
know, would be no rule.
"""

from typing import Annotated, Literal

import msgspec

from orchestrator.protocol.event_parts import PermissionMode

LOOPBACK_PORT = 3128
"""Of the egress proxy inside a sandbox, on 127.0.0.1."""
CA_BUNDLE = "/home/agent/.casemate/ca-bundle.pem"
"""Whom a sandbox with egress trusts: the image's list, then what the egress proxy hands out."""
CERTIFICATES_URL = "http://casemate.internal/ca.pem"
"""Where the egress proxy hands that out. The name exists at the proxy only."""


class ToolRule(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Tools that never run, whatever a person or a permission mode would allow.

    `tool` is a name, or a prefix that ends in `*`. With `pattern` (a regular expression) the rule
    holds only where it is found in one of the input's texts. `reason` is told to Claude and shown.
    """

    tool: str
    pattern: str = ""
    reason: str = "This profile forbids it."


class PromptRule(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What happens to a prompt in which `pattern` (a regular expression) is found.

    `block`: it does not reach Claude; `text` is the reason that is shown. `annotate`: it goes on,
    with `text` beside it for Claude to heed; shown, too.
    """

    pattern: str
    action: Literal["block", "annotate"]
    text: str


class McpServer(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A tool server (MCP over stdio) that is in the image and runs in the sandbox."""

    name: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{1,40}$")]
    """Its tools are called `mcp__<name>__<tool>`."""
    command: str
    args: list[str] = []
    env: dict[str, str] = {}
    """No secrets: Bash can read it."""
    start_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 20.0
    """From its start to the list of its tools, while the sandbox is made: one that takes longer
    serves no session, and keeps none waiting."""
    call_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 120.0
    """One call; then it is taken back, and Claude is told."""
    max_output_chars: Annotated[int, msgspec.Meta(ge=100, le=1_000_000)] = 100_000
    """Of one answer's texts together; the rest is cut, and Claude is told."""


class AgentSetup(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
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
    forbidden: list[ToolRule] = []
    """Checked before anything else is asked; the first rule that holds refuses the tool."""
    prompt_rules: list[PromptRule] = []
    """Checked in order; the first that blocks ends it, those that annotate add up."""
    policies: list[str] = []
    """Policy plugins in the image, by the name of their `casemate.policies` entry point. One that
    is missing or fails blocks what it was to judge: no policy is skipped in silence."""
    mcp_servers: list[McpServer] = []
    max_output_chars: int = 30_000
    """Of one Bash command's output: what is beyond it is cut, and Claude is told."""
    egress: bool = False
    """There is an egress proxy on the slot; the shim lends it a port on the loopback."""
