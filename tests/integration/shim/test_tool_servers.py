"""A profile's tool servers, in a real sandbox with the real CLI: used, hung, flooded and dead."""

import asyncio
import json
import shlex
from pathlib import Path

import pytest

from orchestrator.protocol import sandbox_events as said
from orchestrator.protocol.agent import McpServer, ToolRule
from orchestrator.protocol.commands import (
    AnswerPermission,
    Interrupt,
    PermissionDecision,
    ResumeAgent,
    SetPermissionMode,
    StartTurn,
)
from orchestrator.protocol.ids import TurnId
from orchestrator.sandboxes import image_builder

FOLDER = Path(__file__).parent / "tool_server"
PROGRAM = "/opt/casemate/lib/tool_servers/tool_server/moody.py"
ALLOWED = [
    f"mcp__moody__{tool}"
    for tool in ("echo", "long", "hang", "wait", "flood", "die", "fail", "hog", "pid")
]
SPOIL = Path(__file__).parents[2] / "attacks" / "probes" / "spoil.sh"


@pytest.fixture(scope="module")
def image(docker_engine):
    """An image as an operator builds it who wants the server."""
    tag = "casemate-test-tool-servers:latest"
    yield image_builder.build_image(tool_servers=[FOLDER], tag=tag)
    docker_engine.images.remove(tag, force=True)


def moody(*mood, name="moody", **limits):
    return McpServer(name=name, command="python3", args=["-I", PROGRAM, *mood], **limits)


@pytest.fixture
def start(start_sandbox, image):
    def starting(*servers, **setup):
        setup = {"allowed_tools": ALLOWED, "mcp_servers": list(servers) or [moody()]} | setup
        return start_sandbox(image=image, **setup)

    return starting


def use(tool, turn_id="t1", *, server="moody", **given):
    text = f"!use mcp__{server}__{tool} {json.dumps(given)}"
    return StartTurn(turn_id=TurnId(turn_id), text=text)


async def used(sandbox, tool, turn_id="t1", **given):
    """What Claude reads as the tool's result."""
    before = len(sandbox.plane.all(said.ToolFinished))
    await sandbox.plane.send(use(tool, turn_id, **given))
    assert (await sandbox.plane.end_of(turn_id)).outcome == "completed"
    return sandbox.plane.all(said.ToolFinished)[before:][-1]


async def begun(sandbox, tool):
    """In the turn t2, and with the server."""
    name = f"mcp__moody__{tool}"
    await sandbox.plane.send(use(tool, "t2"))
    await sandbox.plane.until(lambda: name in [e.name for e in sandbox.plane.all(said.ToolStarted)])
    await asyncio.sleep(0.5)  # nobody tells when a server has begun


def text(finished):
    return "\n".join(part.text for part in finished.content)


async def test_a_server_is_used(start):
    """Its tools are Claude's from the first prompt on; a person is asked, unless the profile allows
    them; an answer comes back."""
    async with start(allowed_tools=[]) as sandbox:
        assert (await sandbox.plane.connected()).failure is None
        await sandbox.plane.send(use("echo", text="hello"))
        request = await sandbox.plane.first(said.PermissionRequested)
        assert request.tool_name == "mcp__moody__echo"
        decision = PermissionDecision(choice="allow", input_hash=request.input_hash)
        await sandbox.plane.send(
            AnswerPermission(permission_id=request.permission_id, decision=decision)
        )
        assert (await sandbox.plane.end_of("t1")).outcome == "completed"
        assert text(sandbox.plane.all(said.ToolFinished)[-1]) == "echo: hello"
        ready = sandbox.plane.all(said.AgentReady)[0]
        assert ready.mcp_servers == {"moody": "connected"}
        assert "mcp__moody__echo" in ready.tools
        assert not sandbox.plane.all(said.McpServerFailed)


@pytest.mark.parametrize("mode", ["default", "acceptEdits", "dontAsk"])
async def test_what_is_forbidden_is_not_called(start, mode):
    """The profile's rules hold for a server's tools as for any other."""
    rules = [ToolRule(tool="mcp__moody__*", pattern="secret", reason="Not that.")]
    async with start(forbidden=rules) as sandbox:
        await sandbox.plane.connected()
        await sandbox.plane.send(SetPermissionMode(mode=mode))
        await sandbox.plane.first(said.PermissionModeChanged)
        await sandbox.plane.send(use("echo", text="secret"))
        await sandbox.plane.end_of("t1")
        [refused] = sandbox.plane.all(said.ToolForbidden)
        assert refused.tool_name == "mcp__moody__echo"
        assert "echo: secret" not in str(sandbox.plane.all(said.ToolFinished))


async def test_one_that_hangs_at_its_start(start, model):
    """The sandbox is ready in the server's time, without its tools; people are told at once, Claude
    with the first prompt, once; the other server serves."""
    slow = moody("hangs", name="slow", start_seconds=2.0)
    async with start(slow, moody()) as sandbox:
        hello = await sandbox.plane.connected()
        assert hello.failure is None
        failed = await sandbox.plane.first(said.McpServerFailed)
        assert (failed.server, failed.why) == ("slow", "not_started")
        assert text(await used(sandbox, "echo", text="x")) == "echo: x"
        assert sandbox.plane.all(said.AgentReady)[0].mcp_servers == {"moody": "connected"}
        prompts = json.dumps([request.body for request in model.requests])
        assert "The tool server `slow` did not start." in prompts


async def test_one_that_dies_in_the_middle(start, model):
    """Its call is answered, Claude reads that it is gone and is told with the next prompt; it runs
    again, and the session never stopped."""
    async with start() as sandbox:
        await sandbox.plane.connected()
        finished = await used(sandbox, "die")
        assert finished.is_error
        assert "Do not call its tools now" in text(finished)
        failed = await sandbox.plane.first(said.McpServerFailed)
        assert failed.why == "died"
        assert "I was told to die." in failed.text
        before = len(model.requests)
        await sandbox.plane.send(StartTurn(turn_id=TurnId("t2"), text="hello"))
        assert (await sandbox.plane.end_of("t2")).outcome == "completed"
        prompts = json.dumps([request.body for request in list(model.requests)[before:]])
        assert "The tool server `moody`" in prompts
        await sandbox.run("sleep 1.5")
        assert text(await used(sandbox, "echo", "t3", text="back")) == "echo: back"


async def test_one_that_hangs_in_calls(start):
    """Each call is taken back in time; a deaf server is started anew; three failures in a row break
    it off, told once."""
    async with start(moody(call_seconds=0.5)) as sandbox:
        await sandbox.plane.connected()
        for n in range(3):
            assert "within 0.5 seconds" in text(await used(sandbox, "wait", f"t{n}"))
        assert [event.why for event in sandbox.plane.all(said.McpServerFailed)] == ["broken_off"]
        assert "is not called for" in text(await used(sandbox, "echo", "t4"))


async def test_one_that_floods(start):
    """It is ended, and neither the shim's memory nor the session suffers."""
    async with start() as sandbox:
        await sandbox.plane.connected()
        assert (await used(sandbox, "flood")).is_error
        assert (await sandbox.plane.first(said.McpServerFailed)).why == "too_much"
        await sandbox.run("sleep 1.5")
        assert text(await used(sandbox, "echo", "t2", text="x")) == "echo: x"


async def test_long_answers_are_cut(start):
    """To what the profile allows."""
    async with start(moody(max_output_chars=500)) as sandbox:
        await sandbox.plane.connected()
        cut = text(await used(sandbox, "long", n=5_000_000))
        assert "Cut: 4999500 more characters" in cut
        assert len(cut) < 700


async def test_one_that_takes_all_memory(start):
    """The kernel takes the server; agent, shim and session stay."""
    async with start() as sandbox:
        await sandbox.plane.connected()
        assert (await used(sandbox, "hog")).is_error
        assert (await sandbox.plane.first(said.McpServerFailed)).why == "died"
        await sandbox.run("sleep 1.5")
        assert text(await used(sandbox, "echo", "t2", text="alive")) == "echo: alive"
        assert not sandbox.plane.all(said.AgentDied)


async def test_stop_takes_a_call_back(start):
    """The turn ends at once, the server hears that nobody waits any more and lives on."""
    async with start() as sandbox:
        await sandbox.plane.connected()
        pid = text(await used(sandbox, "pid"))
        await begun(sandbox, "wait")
        await sandbox.plane.send(Interrupt(turn_id=TurnId("t2")))
        assert (await sandbox.plane.end_of("t2")).outcome == "interrupted"
        for _ in range(50):
            _, log = await sandbox.run(f"cat /tmp/waited-{pid}")
            if log == "cancelled":
                break
        assert log == "cancelled"
        assert text(await used(sandbox, "pid", "t3")) == pid


async def test_stop_ends_a_deaf_server(start):
    """One that does not hear it is ended and started anew."""
    async with start() as sandbox:
        await sandbox.plane.connected()
        pid = text(await used(sandbox, "pid"))
        await begun(sandbox, "hang")
        await sandbox.plane.send(Interrupt(turn_id=TurnId("t2")))
        assert (await sandbox.plane.end_of("t2")).outcome == "interrupted"
        assert (await sandbox.plane.first(said.McpServerFailed)).why == "too_slow"
        await sandbox.run("sleep 1.5")
        assert text(await used(sandbox, "pid", "t3")) != pid


async def test_the_workspace_starts_no_server(start):
    """With servers of the profile's own, files in the workspace and the home start nothing."""
    async with start() as sandbox:
        await sandbox.plane.connected()
        code, output = await sandbox.run(
            f"cd /workspace && printf %s {shlex.quote(SPOIL.read_text())} | /bin/sh"
        )
        assert code == 0, output
        assert text(await used(sandbox, "echo", text="x")) == "echo: x"
        ready = sandbox.plane.all(said.AgentReady)[0]
        assert ready.mcp_servers == {"moody": "connected"}
        assert (await sandbox.run("ls /tmp | grep took"))[1] == ""


async def test_the_agent_that_goes_on_has_them_too(start):
    """A conversation that goes on in another sandbox has its servers there from the first prompt
    on."""
    async with start() as first:
        await first.plane.connected()
        assert text(await used(first, "echo", text="before")) == "echo: before"
        session = first.plane.all(said.AgentReady)[0].agent_session_id
        plane = type(first.plane)(first.plane.store)
    async with start(plane=plane) as second:
        await second.plane.connected()
        await second.plane.send(ResumeAgent(agent_session_id=session))
        await second.plane.first(said.AgentResumed)
        assert text(await used(second, "echo", "t2", text="after")) == "echo: after"
        pid = text(await used(second, "pid", "t3"))
        _, marked = await second.run("grep -slz ^CASEMATE_MCP_SERVER= /proc/[0-9]*/environ")
        assert f"/proc/{pid}/environ" in marked.split("\n")
        assert len([line for line in marked.split("\n") if line.startswith("/proc/")]) == 1
