"""What the shim tells of memory and storage, and whom it fences meanwhile."""

import asyncio
import contextlib
import json
import os

import pytest
from shim import fence, measurements
from shim.contents import Roots
from shim.fence import agent_processes, fenced_shell, raise_scores
from shim.options import agent_options
from shim.storage import measure_storage

from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.sandbox_events import MemoryMeasured, StorageMeasured

LIMIT = 1000


class Measured:
    """Measures that a test sets, and what was said of them."""

    def __init__(self):
        self.memory = MemoryMeasured(usage=100, working_set=100, limit=LIMIT)
        self.storage = StorageMeasured(
            home_used=0, home_size=LIMIT, workspace_used=0, workspace_size=LIMIT
        )
        self.looks, self.said = 0, []
        self.looked = asyncio.Event()

    def look(self):
        self.looks += 1
        self.looked.set()
        return self.memory

    async def another_look(self):
        self.looked.clear()
        async with asyncio.timeout(5):
            await self.looked.wait()


@pytest.fixture
async def measured(monkeypatch):
    measured = Measured()
    monkeypatch.setattr(measurements, "measure_memory", measured.look)
    monkeypatch.setattr(measurements, "measure_storage", lambda _roots: measured.storage)
    roots = Roots(workspace="/nowhere", home="/nowhere")
    keeping = measurements.keep_measuring(measured.said.append, roots, period=0.02)
    task = asyncio.create_task(keeping)
    await measured.another_look()
    yield measured
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_only_news_is_said(measured):
    """The first of each, then changes of more than a hundredth of the limit, and every kill."""
    assert measured.said == [measured.memory, measured.storage]
    measured.said.clear()
    measured.memory = MemoryMeasured(usage=105, working_set=105, limit=LIMIT)
    measured.storage = StorageMeasured(
        home_used=9, home_size=LIMIT, workspace_used=9, workspace_size=LIMIT
    )
    for _ in range(3):
        await measured.another_look()
    assert measured.said == []
    measured.memory = MemoryMeasured(usage=105, working_set=105, limit=LIMIT, oom_kills=1)
    measured.storage = StorageMeasured(
        home_used=0, home_size=LIMIT, workspace_used=11, workspace_size=LIMIT
    )
    for _ in range(3):
        await measured.another_look()
    assert measured.said == [measured.memory, measured.storage]


async def test_near_the_limit_it_looks_more_often(measured, monkeypatch):
    """A build can take the rest in seconds."""
    monkeypatch.setattr(measurements, "PERIOD_NEAR_LIMIT", 0.0)
    await measured.another_look()
    measured.memory = MemoryMeasured(usage=800, working_set=800, limit=LIMIT)
    await measured.another_look()
    looks = measured.looks
    await asyncio.sleep(0.02)
    assert measured.looks > looks + 5


def test_storage_is_what_the_file_systems_say(tmp_path):
    """Used and whole size of both; nothing where one is not there."""
    measured = measure_storage(Roots(workspace=str(tmp_path), home=str(tmp_path)))
    seen = os.statvfs(tmp_path)
    assert measured.workspace_size == measured.home_size == seen.f_blocks * seen.f_frsize
    assert 0 < measured.workspace_used <= measured.workspace_size
    assert measure_storage(Roots(workspace=str(tmp_path), home="/nowhere")) is None


# --- the fence ------------------------------------------------------------------------------------


def test_everything_but_the_agent_is_fenced(tmp_path):
    """Scores are raised to the highest, once; the first process and the spared ones keep theirs;
    what is no process, or gone, or not ours to change is passed over."""
    for pid in ("1", "7", "8", "9"):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "oom_score_adj").write_text("500\n")
    (tmp_path / "10").mkdir()
    (tmp_path / "meminfo").touch()
    (tmp_path / "9/oom_score_adj").write_text("1000\n")
    assert raise_scores({7}, proc=tmp_path) == 1
    scores = {pid: (tmp_path / pid / "oom_score_adj").read_text().strip() for pid in "1789"}
    assert scores == {"1": "500", "7": "500", "8": "1000", "9": "1000"}


def test_nothing_is_fenced_outside_of_an_image(monkeypatch, tmp_path):
    """There the other processes are other people's."""
    monkeypatch.setattr(fence, "raise_scores", lambda _spared: pytest.fail("fenced"))
    fence.fence_the_rest()
    assert fenced_shell() == {}


def test_commands_in_an_image_are_fenced(monkeypatch, tmp_path):
    """The CLI is told of a shell that does it."""
    (tmp_path / "bash").touch()
    monkeypatch.setattr(fence, "SHELL", tmp_path / "bash")
    assert fenced_shell() == {"CLAUDE_CODE_SHELL": f"{tmp_path}/bash"}


def test_the_agent_is_the_shim_and_its_cli(tmp_path, monkeypatch):
    """A child of that name; a tool that takes the name is nobody's child of ours."""
    monkeypatch.setattr(fence, "children", lambda: [7, 8, 9])
    for pid, name in (("7", "claude"), ("8", "python3"), ("6", "claude")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "comm").write_text(f"{name}\n")
    assert agent_processes(proc=tmp_path) == {os.getpid(), 7}


def test_output_is_as_long_as_the_profile_says():
    """The CLI is told by a setting of its own."""
    setup = AgentSetup(model="m", max_output_chars=5000)
    options = agent_options(setup, can_use_tool=None, stderr=print)
    assert json.loads(options.settings)["bashOutputMaxChars"] == 5000
    assert json.loads(options.settings)["permissions"] == {
        "blockFileToolReadsOutsideWorkingDirectories": True
    }
