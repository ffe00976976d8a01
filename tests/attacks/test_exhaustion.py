"""What a sandbox shares with its neighbours and its host, taken until there is no more."""

import asyncio
import os

import pytest

from orchestrator.protocol.control_events import SandboxLost
from orchestrator.protocol.sandbox_events import ToolFinished, TurnEnded
from orchestrator.testing.running_casemate import RunningCasemate

from .cases import attack
from .intruder import Intruder, docker, script

MIB = 1 << 20
SLACK = 2
"""MiB, or files: what was there before."""


@attack(
    "A15",
    tried="a fork bomb",
    protects="the host's process table, the shim, and the neighbour's turns",
)
async def test_a_fork_bomb_stays_inside(
    intruder: Intruder, neighbour: Intruder, runtime: str
) -> None:
    """Forks end at the limit; the neighbour's turn is answered meanwhile, the own one after. Under
    gVisor, whose own threads count, the limit ends the whole sandbox, which then says so."""
    if runtime == "runsc":
        seq = await intruder.start(script("exhaustion", "forks"))
        lost, turn = await asyncio.gather(
            intruder.chat.next(SandboxLost, after=seq, limit=90),
            neighbour.chat.turn("!say 20 words"),
        )
        assert (lost[1].sentence != "", turn.outcome) == (True, "completed")
        return
    bomb, turn = await asyncio.gather(
        intruder.probe("exhaustion", "forks"), neighbour.chat.turn("!say 20 words")
    )
    assert bomb["met"] == "EAGAIN"
    assert bomb["taken"] < 256
    assert turn.outcome == "completed"
    await intruder.works()


@attack(
    "A16",
    tried="ask for twice the memory that there is",
    protects="the control plane and the neighbours when memory is short",
)
async def test_a_memory_hog_is_the_one_that_dies(
    intruder: Intruder, neighbour: Intruder, casemate: RunningCasemate
) -> None:
    """The kernel takes the hog, or its sandbox, which then says why; nobody else."""
    seq = await intruder.start(script("exhaustion", "memory"))
    ended = await intruder.chat.until(
        lambda c: [e for s, e in c.events if s > seq and isinstance(e, ToolFinished | SandboxLost)]
    )
    if isinstance(ended[0], SandboxLost):
        assert ended[0].tag == "out_of_memory"
    else:
        assert '{"killed_by": 9}' in str(ended[0].content)
        await intruder.works()
    await neighbour.works()
    os.kill(casemate.pid, 0)


@attack(
    "A17",
    tried="fill every file system that can be written to",
    protects="the host's disk",
)
async def test_disks_are_full_at_their_size(intruder: Intruder) -> None:
    """Each is full at its size, and the session lives on once there is room again."""
    taken = await intruder.probe("exhaustion", "disk")
    sizes = {"/tmp": 256, "/home/agent": 128, "/workspace": 512, "/dev/shm": 64}
    assert {folder: taken[folder]["met"] for folder in sizes} == dict.fromkeys(sizes, "ENOSPC")
    assert [f for f, size in sizes.items() if taken[f]["taken"] > size + SLACK] == []
    await intruder.works()


@attack(
    "A18",
    tried="make empty files without end; open too many; make one of ten TiB",
    protects="the kernel's memory and tables",
)
async def test_files_are_counted(intruder: Intruder, runtime: str) -> None:
    """Files, open files and their sizes have limits that cannot be raised. gVisor keeps files in
    the sandbox's own memory, and does not count them: its limit of memory is theirs."""
    inodes = await intruder.probe("exhaustion", "inodes")
    if runtime == "runc":
        met = {folder: found["met"] for folder, found in inodes.items()}
        assert met == {"/tmp": "ENOSPC", "/workspace": "ENOSPC"}
        assert inodes["/tmp"]["taken"] <= 20_000
        assert inodes["/workspace"]["taken"] <= 100_000
    descriptors = await intruder.probe("exhaustion", "descriptors")
    assert (descriptors["met"], descriptors["taken"] <= 4096) == ("EMFILE", True)
    assert await intruder.probe("exhaustion", "file_size") == {"met": "EFBIG", "core": 0}
    assert None not in (await intruder.probe("exhaustion", "raise_limits")).values()
    await intruder.works()


@attack(
    "A19",
    tried="write sixty MiB into the container's log, and as much into a tool's output",
    protects="the host's disk, and the log of the session",
)
async def test_logs_are_bounded(intruder: Intruder, casemate: RunningCasemate) -> None:
    """What is kept of a flood is a few MiB of the container's log and a part of the output."""
    assert (await intruder.probe("exhaustion", "log"))["reached"]
    seq = intruder.chat.seq
    said = await intruder.bash("head -c 60000000 /dev/zero | tr '\\0' x; touch done")
    assert len(said) < 4 * MIB
    kept = sum(len(str(event)) for s, event in intruder.chat.events if s > seq)
    assert kept < 8 * MIB
    assert 0 < len(docker("logs", await intruder.sandbox())) < 4 * MIB
    assert len(casemate.log) < 16 * MIB
    await intruder.works()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give each sandbox a user of its own")
@attack(
    "A33",
    tried="take all inotify instances that a user may have",
    protects="the neighbours' share of what the kernel counts for each user",
)
async def test_a_neighbour_has_its_own_share(intruder: Intruder, neighbour: Intruder) -> None:
    """When one sandbox has them all, another still gets as many."""
    await intruder.start(f"( {script('exhaustion', 'watches', 'stay')}\n) & touch begun")
    await intruder.chat.next(TurnEnded)
    said = ""

    async def taken() -> bool:
        nonlocal said
        said = await asyncio.to_thread(
            docker, "exec", await intruder.sandbox(), "cat", "/workspace/taken"
        )
        return "EMFILE" in said

    async with asyncio.timeout(30):
        while not await taken():
            await asyncio.sleep(0.2)
    theirs = await neighbour.probe("exhaustion", "watches")
    assert theirs["met"] == "EMFILE"
    assert theirs["taken"] > 50
