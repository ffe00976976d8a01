"""Tool servers that hang, flood and die, as real processes, without an agent."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.types import CallToolResult, ImageContent, TextContent, Tool
from shim import mcp_life, mcp_server
from shim.mcp_results import TooManyTools, bounded_result, offered_tools
from shim.mcp_servers import ToolServers

from orchestrator.protocol.agent import McpServer
from orchestrator.protocol.sandbox_events import McpServerFailed

MOODY = Path(__file__).parents[2] / "integration" / "shim" / "tool_server" / "moody.py"


def moody(*mood: str, name: str = "moody", **limits: Any) -> McpServer:
    return McpServer(name=name, command=sys.executable, args=["-I", str(MOODY), *mood], **limits)


class World:
    def __init__(self, tmp_path: Path) -> None:
        self.workspace = str(tmp_path)
        self.said: list[McpServerFailed] = []

    @asynccontextmanager
    async def running(self, *servers: McpServer) -> AsyncIterator[ToolServers]:
        running = ToolServers(servers, say=self.said.append, workspace=self.workspace)
        try:
            async with asyncio.timeout(60):
                await running.start()
                yield running
        finally:
            await running.close()

    @property
    def whys(self) -> list[str]:
        return [event.why for event in self.said]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(mcp_life, "ALIVE_SECONDS", 0.5)
    return World(tmp_path)


async def ask(servers: ToolServers, tool: str, **given: Any) -> str:
    result = await servers._servers[0].call(tool, given)
    return "\n".join(part.text for part in result.content)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_server_is_called(world: World) -> None:
    """Its tools are offered, its answers come, its own failures are answers, and it ends with the
    shim's part."""
    async with world.running(moody()) as servers:
        [server] = servers._servers
        assert "echo" in [tool.name for tool in server.tools]
        assert await ask(servers, "echo", text="hello") == "echo: hello"
        assert (await server.call("fail", {})).is_error
        assert "no tool `other`" in await ask(servers, "other")
        pid = int(await ask(servers, "pid"))
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"
        assert b"CASEMATE_MCP_SERVER=moody" in Path(f"/proc/{pid}/environ").read_bytes()
    assert not Path(f"/proc/{pid}").exists()
    assert not world.said
    assert not servers.news()


async def test_the_clis_variables_are_not_the_servers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no use for the way to the model."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    async with world.running(moody()) as servers:
        pid = int(await ask(servers, "pid"))
        assert b"ANTHROPIC" not in Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (moody("hangs", start_seconds=0.5), "not ready within 0.5 seconds"),
        (moody("dies"), "I do not feel like it."),
        (McpServer(name="no", command="/nowhere/at/all"), "cannot be run"),
        (McpServer(name="no", command="/etc/passwd"), "cannot be run"),
        (McpServer(name="no", command="cat", start_seconds=1.0), ""),
        (McpServer(name="no", command="true"), ""),
    ],
    ids=["hangs", "dies", "absent", "no-program", "parrot", "silent"],
)
async def test_one_that_does_not_start(world: World, server: McpServer, words: str) -> None:
    """It is told once, is not offered, keeps nobody waiting beyond its time, and is left alone."""
    began = time.monotonic()
    async with world.running(server, moody(name="well")) as servers:
        assert time.monotonic() - began < 8
        assert list(servers.options()) == ["well"]
        [event] = world.said
        assert (event.server, event.why) == (server.name, "not_started")
        assert words in event.text
        [news] = servers.news()
        assert "did not start" in news
        assert not servers.news()


async def test_short_lines_without_end(world: World) -> None:
    """However short its lines are, a server that floods is ended at once, and holds nothing else
    up meanwhile."""
    yes = McpServer(name="yes", command="yes", start_seconds=20.0)
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)

    watching = asyncio.create_task(watch())
    async with asyncio.timeout(15), world.running(yes) as servers:
        watching.cancel()
        assert world.whys == ["too_much"]
        assert not servers.options()
    assert longest < 0.5


async def test_a_server_that_dies_comes_back(world: World) -> None:
    """The call that saw its death is answered, as are those before it is back; then it serves."""
    async with world.running(moody()) as servers:
        first = await ask(servers, "pid")
        assert "stopped running" in await ask(servers, "die")
        await until(lambda: world.said)
        assert world.whys == ["died"]
        assert "I was told to die." in world.said[0].text
        assert "Do not call its tools now" in await ask(servers, "echo")
        await until(lambda: servers._servers[0]._lives.session)
        assert await ask(servers, "pid") != first
        [news] = servers.news()
        assert "runs again" in news


async def test_deaths_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last start it is gone for good, and calls say so."""
    monkeypatch.setattr(mcp_server, "FAILURES", 100)
    servers = ToolServers([], say=world.said.append, workspace=world.workspace)
    server = mcp_server.ToolServer(
        moody(),
        on_failure=servers._failed,
        on_return=servers._returned,
        workspace=world.workspace,
        pauses=(0.0, 0.0),
    )
    assert await server.start()
    for deaths in (1, 2, 3):
        await until(lambda: server._lives.session)
        await server.call("die", {})
        await until(lambda deaths=deaths: len(world.said) == deaths)
    await until(lambda: server._lives.is_over)
    result = await server.call("echo", {})
    assert "for the rest of this session" in result.content[0].text
    await server.close()


async def test_a_call_has_a_limit(world: World) -> None:
    """A call that takes too long is taken back and answered; the server, which listens, stays."""
    async with world.running(moody(call_seconds=0.3)) as servers:
        pid = await ask(servers, "pid")
        assert "within 0.3 seconds" in await ask(servers, "wait")
        log = Path(f"/tmp/waited-{pid}")
        await until(log.exists)
        await until(lambda: log.read_text() == "cancelled\n")
        log.unlink()
        assert await ask(servers, "pid") == pid
    assert not world.said


async def test_a_server_that_is_deaf_is_started_anew(world: World) -> None:
    """It does not hear that its call was taken back: it is ended, told, and serves again."""
    async with world.running(moody(call_seconds=0.3)) as servers:
        pid = await ask(servers, "pid")
        assert "within 0.3 seconds" in await ask(servers, "hang")
        await until(lambda: world.whys == ["too_slow"])
        await until(lambda: servers._servers[0]._lives.session)
        assert await ask(servers, "pid") != pid


async def test_stop_takes_calls_back(world: World) -> None:
    """Running calls are answered at once, and the server hears of it."""
    async with world.running(moody()) as servers:
        pid = await ask(servers, "pid")
        calls = [asyncio.create_task(ask(servers, "wait")) for _ in range(3)]
        await until(lambda: len(servers._servers[0]._calls) == 3)
        await asyncio.sleep(0.05)
        servers.stop_calls()
        assert set(await asyncio.gather(*calls)) == {"This call was stopped."}
        log = Path(f"/tmp/waited-{pid}")
        await until(lambda: log.exists() and log.read_text() == "cancelled\n" * 3)
        log.unlink()
        assert await ask(servers, "pid") == pid


async def test_a_caller_that_is_cancelled_takes_its_call_along(world: World) -> None:
    """The CLI took it back: the server hears of it."""
    async with world.running(moody()) as servers:
        pid = await ask(servers, "pid")
        call = asyncio.create_task(ask(servers, "wait"))
        await until(lambda: servers._servers[0]._calls)
        await asyncio.sleep(0.05)
        call.cancel()
        log = Path(f"/tmp/waited-{pid}")
        await until(lambda: log.exists() and log.read_text() == "cancelled\n")
        log.unlink()


async def test_a_flood_ends_the_server(world: World) -> None:
    """A line without an end is not kept, and the rest of the session goes on."""
    async with world.running(moody()) as servers:
        assert "stopped running" in await ask(servers, "flood")
        await until(lambda: world.whys == ["too_much"])
        await until(lambda: servers._servers[0]._lives.session)
        assert await ask(servers, "echo", text="again") == "echo: again"


async def test_long_answers_are_cut(world: World) -> None:
    """To what the profile allows, with a word about it."""
    async with world.running(moody(max_output_chars=1000)) as servers:
        text = await ask(servers, "long", n=1_000_000)
        assert text.startswith("x" * 1000 + "\n[Cut: 999000 more")


async def test_three_failures_break_it_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is not called for a while, told once; afterwards one call tries."""
    now = [1000.0]
    monkeypatch.setattr("circuitbreaker.monotonic", lambda: now[0])
    async with world.running(moody(call_seconds=0.2)) as servers:
        pid = await ask(servers, "pid")
        for _ in range(3):
            assert "within 0.2 seconds" in await ask(servers, "wait", n=60)
        assert world.whys == ["broken_off"]
        assert "not called for 60 seconds" in await ask(servers, "echo")
        now[0] += 61
        assert "within 0.2 seconds" in await ask(servers, "wait", n=60)
        assert "not called for 60 seconds" in await ask(servers, "echo")
        now[0] += 61
        trying = asyncio.create_task(ask(servers, "wait", n=0.1))
        await until(lambda: servers._servers[0]._is_tried)
        assert "not called" in await ask(servers, "echo")
        assert await trying == "waited"
        assert await ask(servers, "echo", text="x") == "echo: x"
        assert world.whys == ["broken_off"]
        Path(f"/tmp/waited-{pid}").unlink()


async def test_nonsense_is_no_answer(world: World) -> None:
    """What no client can read is told as such, and harms nobody."""
    async with world.running(moody()) as servers:
        assert "nonsense" in await ask(servers, "nonsense")
        assert await ask(servers, "echo", text="x") == "echo: x"


def test_a_profile_without_servers_imports_nothing() -> None:
    """What servers need costs time and memory: others do not pay for it."""
    import subprocess

    code = (
        "import sys; from shim.deferred_imports import import_sdk; import_sdk();"
        "from shim.mcp_servers import ToolServers;"
        "assert not ToolServers([], say=print, workspace='/').options();"
        "assert not {'mcp', 'pydantic', 'circuitbreaker'} & set(sys.modules)"
    )
    path = os.pathsep.join(map(str, (MOODY.parents[4], MOODY.parents[4] / "sandbox-image")))
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": path})


def test_results_are_bounded_in_every_form() -> None:
    """Images by their size, parts by their number, structure as text."""
    image = ImageContent(type="image", data="A" * (5 << 20), mime_type="image/png")
    parts = [image, image, *(TextContent(type="text", text="t") for _ in range(300))]
    bounded = bounded_result(CallToolResult(content=parts), max_chars=100)
    assert isinstance(bounded.content[0], ImageContent)
    assert "left out" in bounded.content[1].text
    assert len(bounded.content) <= 202
    assert "more characters were left out" in bounded.content[-1].text
    structured = CallToolResult(content=[], structured_content={"a": "b" * 50})
    bounded = bounded_result(structured, max_chars=20)
    assert bounded.structured_content is None
    assert len(bounded.content[0].text) == 20


def test_tools_are_bounded() -> None:
    """By their number, their length, and their names."""
    tool = Tool(name="a", description="d", input_schema={"type": "object"})
    odd = tool.model_copy(update={"name": "a b"})
    assert [found.name for found in offered_tools([tool, odd])] == ["a"]
    with pytest.raises(TooManyTools):
        offered_tools([tool] * 200)
    with pytest.raises(TooManyTools):
        offered_tools([tool.model_copy(update={"description": "d" * (1 << 20)})])
