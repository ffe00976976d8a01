"""Where memory runs short in a real container, what the model runs dies, and nothing else."""

import asyncio
import textwrap

import pytest

from orchestrator.protocol import sandbox_events
from orchestrator.protocol.commands import StartTurn
from orchestrator.protocol.ids import TurnId

HOG = """
import sys
held = []
while True:
    held.append(bytearray(8 << 20))
"""
MAPPED = """
import mmap
while True:
    mapped = mmap.mmap(-1, 64 << 20)
    for page in range(0, 64 << 20, 4096):
        mapped[page] = 1
    globals().setdefault("kept", []).append(mapped)
"""
MANY = """
import os, time
for _ in range(60):
    if os.fork() == 0:
        held = bytearray(60 << 20)
        for page in range(0, len(held), 4096):
            held[page] = 1
        time.sleep(3)
        os._exit(0)
for _ in range(60):
    os.wait()
"""
FORGETFUL = (
    """
open("/proc/self/oom_score_adj", "w").write("500")
"""
    + HOG
)


async def run(sandbox, command, *, turn):
    await sandbox.plane.send(StartTurn(turn_id=TurnId(turn), text=f"!bash {command}"))
    return await sandbox.plane.end_of(turn)


async def score_of(sandbox, name):
    _, output = await sandbox.run(
        f"for p in /proc/[0-9]*; do [ \"$(cat $p/comm)\" = '{name}' ] && cat $p/oom_score_adj; done"
    )
    return output.split()


@pytest.fixture
async def sandbox(start_sandbox):
    async with start_sandbox(allowed_tools=["Bash"]) as running:
        hello = await running.plane.connected()
        assert hello.failure is None
        yield running


async def survived(sandbox, *, oom_kills):
    """The same shim and CLI answer the next prompt."""
    assert sandbox.plane.hellos == 1
    assert not sandbox.plane.all(sandbox_events.AgentDied)
    assert (await run(sandbox, "echo still here", turn="after")).outcome == "completed"
    memory = await sandbox.plane.until(
        lambda: [
            one
            for one in sandbox.plane.all(sandbox_events.MemoryMeasured)
            if one.oom_kills >= oom_kills
        ]
    )
    assert memory


@pytest.mark.parametrize("program", [HOG, MAPPED, MANY], ids=["hog", "mapped", "many"])
async def test_a_command_that_takes_all_memory_dies_alone(sandbox, program):
    """Five times in a row: the kernel kills it, Claude is told, the turn ends, and agent and shim
    are the same as before."""
    await sandbox.run(f"cat > /workspace/hog.py <<'END'\n{textwrap.dedent(program)}\nEND")
    for number in range(5):
        ended = await run(sandbox, "python3 /workspace/hog.py; echo was $?", turn=f"t{number}")
        assert ended.outcome == "completed"
    results = sandbox.plane.all(sandbox_events.ToolFinished)
    assert len(results) == 5
    await survived(sandbox, oom_kills=5)


async def test_a_hog_in_the_background_dies_alone(sandbox):
    """One that outlives its command's shell as well."""
    await sandbox.run(f"cat > /workspace/hog.py <<'END'\n{HOG}\nEND")
    command = "setsid nohup python3 /workspace/hog.py >/dev/null 2>&1 & sleep 0.1"
    assert (await run(sandbox, command, turn="t0")).outcome == "completed"
    await survived(sandbox, oom_kills=1)


async def test_a_hog_that_goes_back_dies_alone(sandbox):
    """One that lowers its score again is no better off than the agent, and larger."""
    await sandbox.run(f"cat > /workspace/hog.py <<'END'\n{FORGETFUL}\nEND")
    ended = await run(sandbox, "python3 /workspace/hog.py; echo was $?", turn="t0")
    assert ended.outcome == "completed"
    await survived(sandbox, oom_kills=1)


async def test_scores(sandbox):
    """A command and its children have the highest; the shim's and the CLI's are the container's;
    what was started past the CLI is fenced within seconds."""
    command = "cat /proc/self/oom_score_adj >/workspace/score"
    await run(sandbox, command, turn="t0")
    assert await sandbox.run("cat /workspace/score") == (0, "1000")
    assert await score_of(sandbox, "claude") == ["500"]
    assert "500" in await score_of(sandbox, "python3")
    beside = asyncio.create_task(sandbox.run("sleep 30"))
    async with asyncio.timeout(15):
        while await score_of(sandbox, "sleep") != ["1000"]:
            await asyncio.sleep(0.2)
    await sandbox.run("kill $(grep -l '^sleep$' /proc/[0-9]*/comm | cut -d/ -f3)")
    await beside


async def test_long_output_is_cut_where_the_profile_says(start_sandbox):
    """Claude gets the beginning and is told where the rest is; the turn goes on."""
    lengths = {}
    for most in (4000, 60_000):
        async with start_sandbox(allowed_tools=["Bash"], max_output_chars=most) as sandbox:
            await sandbox.plane.connected()
            command = "head -c 50000 /dev/zero | tr '\\0' x"
            assert (await run(sandbox, command, turn="t0")).outcome == "completed"
            finished = await sandbox.plane.first(sandbox_events.ToolFinished)
            lengths[most] = sum(len(getattr(part, "text", "")) for part in finished.content)
    assert lengths[4000] < 8000
    assert lengths[60_000] >= 50_000
