"""Memory runs short in a sandbox because of something outside of it, so that the kernel has to kill
what nothing in the sandbox is to blame for: the agent itself.

A tool that takes too much dies alone (see the shim's fence); this here is for the rest.
"""

import re
import subprocess
import sys
from pathlib import Path

from tests.chaos.victims import NoVictim, container_of, docker

CGROUPS = Path("/sys/fs/cgroup")
HEADROOM = 16 << 20
HOG = """
import sys, time
processes, counter = sys.argv[1:]
def kills():
    with open(counter) as lines:
        return [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
before = kills()
with open(processes, "w") as members:
    members.write("0")
held, until = [], time.monotonic() + 10
while kills() == before and time.monotonic() < until:
    held.append(b"x" * (1 << 20))
if kills() != before:
    print(time.perf_counter())
"""
"""It joins the sandbox's cgroup, and goes once something was killed: the agent, which is larger."""


def leave(sandbox_id: str, *, part: float) -> None:
    """Lower the memory limit until this part of it is in use."""
    _limit(sandbox_id, int(_usage(sandbox_id) / part))


def overfill(sandbox_id: str) -> float:
    """Until the kernel killed something; returns when that was, as `time.perf_counter()` has it."""
    _limit(sandbox_id, _usage(sandbox_id) + HEADROOM)
    place, old = _memory_cgroup(sandbox_id)
    counter = place / ("memory.oom_control" if old else "memory.events")
    done = subprocess.run(
        [sys.executable, "-c", HOG, str(place / "cgroup.procs"), str(counter)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode or not done.stdout:
        raise NoVictim(f"Nothing was killed. {done.stderr[-300:]}".strip())
    return float(done.stdout)


def _limit(sandbox_id: str, size: int) -> None:
    limit = str(size)
    docker("update", "--memory", limit, "--memory-swap", limit, container_of(sandbox_id))


def _usage(sandbox_id: str) -> int:
    place, old = _memory_cgroup(sandbox_id)
    try:
        return int((place / ("memory.usage_in_bytes" if old else "memory.current")).read_text())
    except OSError as error:
        raise NoVictim(str(error)) from error


def _memory_cgroup(sandbox_id: str) -> tuple[Path, bool]:
    """Where it is, and whether it is one of the first version."""
    pid = int(docker("inspect", "-f", "{{.State.Pid}}", container_of(sandbox_id)))
    if not pid:
        raise NoVictim("It does not run.")
    lines = Path(f"/proc/{pid}/cgroup").read_text()
    if found := re.search(r"^\d+:(?:\w+,)*memory(?:,\w+)*:/(.+)$", lines, re.MULTILINE):
        return CGROUPS / "memory" / found[1], True
    if found := re.search(r"^0::/(.+)$", lines, re.MULTILINE):
        return CGROUPS / found[1], False
    raise NoVictim("Its memory is not accounted for.")
