"""A tool server as the SDK takes one: an MCP server in this process that passes calls on."""

from typing import Any

from claude_agent_sdk.types import McpSdkServerConfig
from mcp.server import Server
from mcp.types import CallToolRequestParams, CallToolResult, ListToolsResult

from shim.mcp_server import ToolServer


def lent(server: ToolServer) -> McpSdkServerConfig:
    """Serves one client."""

    async def list_tools(_context: Any, _params: Any) -> ListToolsResult:
        return ListToolsResult(tools=server.tools)

    async def call_tool(_context: Any, params: CallToolRequestParams) -> CallToolResult:
        return await server.call(params.name, params.arguments or {})

    instance: Server[Any] = Server(server.name, on_list_tools=list_tools, on_call_tool=call_tool)
    return McpSdkServerConfig(type="sdk", name=server.name, instance=instance)
