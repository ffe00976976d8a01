"""The sandbox's memory, read from its cgroup, of whichever version this host's kernel has."""

from pathlib import Path

from orchestrator.protocol.sandbox_events import MemoryMeasured

CGROUP = Path("/sys/fs/cgroup")
NO_LIMIT = 1 << 60
"""What the first version writes for "no limit" is larger than this."""


def measure_memory(cgroup: Path = CGROUP) -> MemoryMeasured | None:
    """None where there is no cgroup to read."""
    try:
        if (cgroup / "memory.current").exists():
            return _second_version(cgroup)
        return _first_version(cgroup / "memory")
    except (OSError, ValueError):
        return None


def _second_version(cgroup: Path) -> MemoryMeasured:
    return _measured(
        usage=_number(cgroup / "memory.current"),
        limit=_number(cgroup / "memory.max"),
        inactive_file=_field(cgroup / "memory.stat", "inactive_file"),
        oom_kills=_field(cgroup / "memory.events", "oom_kill"),
    )


def _first_version(cgroup: Path) -> MemoryMeasured:
    return _measured(
        usage=_number(cgroup / "memory.usage_in_bytes"),
        limit=_number(cgroup / "memory.limit_in_bytes"),
        inactive_file=_field(cgroup / "memory.stat", "total_inactive_file"),
        oom_kills=_field(cgroup / "memory.oom_control", "oom_kill"),
    )


def _measured(*, usage: int, limit: int, inactive_file: int, oom_kills: int) -> MemoryMeasured:
    """The page cache that the kernel would drop first is no part of the working set."""
    return MemoryMeasured(
        usage=usage,
        working_set=max(0, usage - inactive_file),
        limit=limit if limit < NO_LIMIT else 0,
        oom_kills=oom_kills,
    )


def _number(path: Path) -> int:
    text = path.read_text().strip()
    return NO_LIMIT if text == "max" else int(text)


def _field(path: Path, name: str) -> int:
    """0 where an older kernel does not count it."""
    for line in path.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
