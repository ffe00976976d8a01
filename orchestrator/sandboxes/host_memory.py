"""How much memory the machine has left for sandboxes: `/proc/meminfo`, which is the host's.

Not the control plane's own cgroup: sandboxes are children of the engine, beside it, so that its
limit, where it has one, says nothing about them. `/proc/meminfo` is the host's in a container, too
(unless something like LXCFS stands before it: then it is the share that was given, which is right).
`MemAvailable` counts the cache that the kernel would give back.
"""

from pathlib import Path

MEMINFO = Path("/proc/meminfo")


class ProcHostMemory:
    def __init__(self, meminfo: Path = MEMINFO) -> None:
        self._meminfo = meminfo

    def available(self) -> int | None:
        """Bytes; None where there is no such file, as on other systems than Linux."""
        try:
            return available_in(self._meminfo.read_text("ascii", "replace"))
        except OSError:
            return None


def available_in(meminfo: str) -> int | None:
    """Of the text of such a file. Pure."""
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        count, _, unit = rest.strip().partition(" ")
        if name == "MemAvailable" and count.isdecimal() and unit == "kB":
            return int(count) << 10
    return None
