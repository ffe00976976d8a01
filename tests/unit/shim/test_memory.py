from pathlib import Path

import pytest
from shim.measurements import _is_news
from shim.memory import measure_memory
from shim.stderr import LINES_PER_PERIOD, MAX_LINE, PERIOD, StderrTail

from orchestrator.protocol.sandbox_events import CliStderr, MemoryMeasured

GIB = 1 << 30


def first_version(root: Path, **files: str) -> Path:
    (root / "memory").mkdir()
    given = {
        "memory.usage_in_bytes": f"{GIB}\n",
        "memory.limit_in_bytes": f"{2 * GIB}\n",
        "memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 4}\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    }
    for name, text in (given | files).items():
        (root / "memory" / name).write_text(text)
    return root


def second_version(root: Path, **files: str) -> Path:
    given = {
        "memory.current": f"{GIB}\n",
        "memory.max": f"{2 * GIB}\n",
        "memory.stat": f"anon 5\ninactive_file {GIB // 4}\n",
        "memory.events": "low 0\noom 4\noom_kill 3\n",
    }
    for name, text in (given | files).items():
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize("lay", [first_version, second_version])
def test_both_versions_of_cgroups_are_read(tmp_path: Path, lay):
    """Usage, working set, limit and kills are the same on either kernel interface."""
    assert measure_memory(lay(tmp_path)) == MemoryMeasured(
        usage=GIB, working_set=GIB - GIB // 4, limit=2 * GIB, oom_kills=3
    )


def test_no_limit_is_zero(tmp_path: Path):
    """A cgroup without a limit says so, in both ways of writing it."""
    measured = measure_memory(second_version(tmp_path, **{"memory.max": "max\n"}))
    assert measured is not None
    assert measured.limit == 0


def test_an_old_kernel_counts_no_kills(tmp_path: Path):
    """Where kills are not counted, the rest is still measured."""
    measured = measure_memory(first_version(tmp_path, **{"memory.oom_control": "under_oom 0\n"}))
    assert measured is not None
    assert measured.oom_kills == 0


def test_without_a_cgroup_there_is_no_measurement(tmp_path: Path):
    """No cgroup is no error."""
    assert measure_memory(tmp_path) is None


def test_only_changes_are_news():
    """A sandbox that does nothing says nothing; a kill is always told."""
    told = MemoryMeasured(usage=GIB, working_set=GIB, limit=2 * GIB)
    assert not _is_news(told, MemoryMeasured(usage=GIB, working_set=GIB + 4096, limit=2 * GIB))
    assert _is_news(told, MemoryMeasured(usage=GIB, working_set=GIB // 2, limit=2 * GIB))
    assert _is_news(told, MemoryMeasured(usage=GIB, working_set=GIB, limit=2 * GIB, oom_kills=1))


def test_stderr_is_bounded():
    """A CLI that writes without end fills neither the log nor the memory."""
    said: list[CliStderr] = []
    now = 0.0
    tail = StderrTail(said.append, clock=lambda: now)
    for number in range(LINES_PER_PERIOD * 3):
        tail(f"{number} " + "x" * MAX_LINE * 2)
    assert len(said) == LINES_PER_PERIOD
    assert all(len(line) <= MAX_LINE for line in tail.lines())
    assert tail.lines()[-1].startswith(f"{LINES_PER_PERIOD * 3 - 1} ")
    now = PERIOD
    tail("again")
    assert said[-1].lines == ["again"]
