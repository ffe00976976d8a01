import asyncio
import subprocess
import sys

import pytest
from shim.turn_processes import Process, begun_since, identities, kill_begun_since, running

INIT, SHIM, CLI, SERVER = 1, 7, 20, 30
BEFORE = [
    Process(INIT, 0, 1),
    Process(SHIM, INIT, 2),
    Process(CLI, SHIM, 3),
    Process(SERVER, SHIM, 4),
    Process(40, CLI, 5),  # a command that an earlier turn left in the background
]


def found(*new: Process) -> set[int]:
    now = {process.pid: process for process in (*BEFORE, *new)}
    return {process.pid for process in begun_since(identities(BEFORE), now, roots={CLI, INIT})}


@pytest.mark.parametrize(
    ("new", "killed"),
    [
        ([Process(50, CLI, 9)], {50}),
        ([Process(50, CLI, 9), Process(51, 50, 9), Process(52, 51, 9)], {50, 51, 52}),
        ([Process(50, INIT, 9)], {50}),
        ([Process(50, SERVER, 9)], set()),
        ([Process(50, SHIM, 9), Process(51, 50, 9)], set()),
        ([Process(50, 40, 9)], set()),
        ([Process(50, 0, 9), Process(51, 50, 9)], set()),
        ([Process(50, CLI, 9, is_dead=True)], set()),
        ([Process(50, 51, 9), Process(51, 50, 9)], set()),
    ],
    ids=["tool", "tree", "orphan", "server's", "shim's", "earlier", "outside", "dead", "circle"],
)
def test_what_a_turn_began(new, killed):
    """A tool's processes and orphans are a turn's; the sandbox's own and earlier ones are not."""
    assert found(*new) == killed


def test_a_number_that_is_used_again_is_another_process():
    """A process that got the number of one that was there before is a new one."""
    now = {process.pid: process for process in BEFORE} | {40: Process(40, CLI, 99)}
    assert [p.pid for p in begun_since(identities(BEFORE), now, roots={CLI, INIT})] == [40]


async def test_a_tree_is_killed():
    """What descends from the CLI's process ends, whatever signals it ignores."""
    script = "trap '' TERM INT; sleep 3005 & wait; sleep 3005"
    runner = "import subprocess,sys; subprocess.run(sys.argv[1:])"
    cli = subprocess.Popen([sys.executable, "-c", runner, "sh", "-c", script])
    before = identities(p for p in running().values() if p.parent != cli.pid)
    try:
        async with asyncio.timeout(10):
            while not any(p.parent == cli.pid for p in running().values()):
                await asyncio.sleep(0.01)
        assert await kill_begun_since(before, roots={cli.pid}) >= 1
        assert not any(p.parent == cli.pid and not p.is_dead for p in running().values())
    finally:
        cli.kill()
        cli.wait()
