"""Run in a sandbox: starts one more agent, with the shim's own options, where files are already."""

import asyncio
import sys
from typing import Any

import claude_agent_sdk as sdk
from shim.options import agent_options

from orchestrator.protocol.agent import AgentSetup


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")


async def deny(tool_name: str, tool_input: dict[str, Any], _context: Any) -> Any:
    say("asked", tool_name, tool_input.get("command", ""))
    return sdk.PermissionResultDeny(message="No.")


async def main() -> None:
    options = agent_options(
        AgentSetup(model="claude-sonnet-4-5"), can_use_tool=deny, stderr=lambda _line: None
    )
    async with sdk.ClaudeSDKClient(options) as client:
        for prompt in sys.argv[1:]:
            await client.query(prompt)
            async for message in client.receive_response():
                if isinstance(message, sdk.SystemMessage) and message.subtype == "init":
                    names = ("model", "permissionMode", "mcp_servers", "agents", "skills")
                    say("has", {name: message.data.get(name) for name in names})


asyncio.run(main())
