"""The shim's whole life: connect the agent, say hello, carry both directions until told to stop."""

import asyncio
import time
from pathlib import Path

import claude_agent_sdk
import msgspec

from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.commands import SandboxCommand
from orchestrator.protocol.link import PROTOCOL_VERSION, Hello
from shim.agent import Agent
from shim.agent_client import AgentUnavailable
from shim.contents import HOME, Roots
from shim.link import SOCKET, Link
from shim.loopback_proxy import LoopbackProxy, ProxyUnavailable
from shim.mcp_servers import ToolServers
from shim.measurements import keep_measuring
from shim.options import WORKSPACE
from shim.outbox import EventOutbox
from shim.transcript_answers import nobody_asks
from shim.transfers import Transfers

CLI_VERSION = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude.version"
"""As the SDK records it beside the CLI that it brings along."""


async def serve(
    *,
    setup: Path,
    version: Path,
    import_ms: int,
    socket: Path = SOCKET,
    workspace: str = WORKSPACE,
    home: str = HOME,
    contained: bool = False,
) -> None:
    """Ends when it is cancelled. An agent that could not be connected is told all the same.
    `contained`: nobody else's processes are to be seen from here."""
    outbox = EventOutbox()
    began = time.monotonic()
    proxy = LoopbackProxy()
    agent, failure = await _connected(setup, outbox, workspace, proxy, contained=contained)
    hello = Hello(
        protocol=PROTOCOL_VERSION,
        version=_recorded(version),
        cli_version=_recorded(CLI_VERSION),
        sdk_version=claude_agent_sdk.__version__,
        failure=failure,
        startup_ms={"import": import_ms, "connect": int((time.monotonic() - began) * 1000)},
    )
    roots = Roots(workspace=workspace, home=home)
    transfers = Transfers(
        workspace=workspace,
        home=home,
        socket=socket,
        transcripts=agent.transcripts.sink_for if agent else nobody_asks,
    )
    link = Link(
        hello=hello,
        outbox=outbox,
        on_command=transfers.before(agent.receive if agent else _ignore),
        on_anew=agent.say_open_again if agent else _nothing_open,
        socket=socket,
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(link.run(), name="link")
            tasks.create_task(keep_measuring(outbox.say, roots), name="measurements")
            if agent:
                tasks.create_task(agent.run(), name="agent")
    finally:
        await transfers.close()
        await proxy.close()
        if agent:
            await agent.close()


async def _connected(
    setup: Path, outbox: EventOutbox, workspace: str, proxy: LoopbackProxy, *, contained: bool
) -> tuple[Agent | None, str | None]:
    """The agent, or why there is none. What it shall trust is there before it starts."""
    try:
        agent_setup = _read_setup(setup)
        if agent_setup.egress:
            await proxy.open()
        servers = ToolServers(agent_setup.mcp_servers, say=outbox.say, workspace=workspace)
        await servers.start()
        agent = Agent(
            agent_setup, outbox=outbox, workspace=workspace, servers=servers, contained=contained
        )
        await agent.connect()
    except (OSError, msgspec.DecodeError) as error:
        return None, f"The agent's setup cannot be read: {error}"
    except (AgentUnavailable, ProxyUnavailable) as error:
        return None, error.sentence
    return agent, None


def _read_setup(setup: Path) -> AgentSetup:
    return msgspec.json.decode(setup.read_bytes(), type=AgentSetup)


def _recorded(version: Path) -> str:
    return version.read_text().strip() if version.exists() else ""


def _nothing_open() -> None:
    return None


def _ignore(_command: SandboxCommand) -> None:
    """There is no agent that could obey, and the control plane was told so."""
