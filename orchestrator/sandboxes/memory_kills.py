"""How often the kernel killed something in a container for its memory, read from its cgroup.

The engine's events tell it, too, but not those that came while nobody listened. For: the counter of
one container, where this process sees the machine's cgroups. Not where it runs in a container
itself: then there are the engine's events alone.
"""

import re
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PLACES = (
    "memory/docker/{id}/memory.oom_control",
    "memory/system.slice/docker-{id}.scope/memory.oom_control",
    "docker/{id}/memory.events",
    "system.slice/docker-{id}.scope/memory.events",
)
"""cgroup v1 and v2, each as the engine's drivers `cgroupfs` and `systemd` name them."""
_ID = re.compile(r"[0-9a-f]{64}")
_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def memory_kills(container_id: str, *, cgroups: Path = CGROUPS) -> int | None:
    """None where it cannot be told."""
    if not _ID.fullmatch(container_id):
        return None
    for place in PLACES:
        try:
            text = (cgroups / place.format(id=container_id)).read_text()
        except OSError:
            continue
        return _kills_in(text)
    return None


def _kills_in(text: str) -> int | None:
    found = _KILLS.search(text)
    return None if found is None else int(found[1])


class KillCounters:
    """Tells of kills that no event told of. An event and the counter's step are one and the same
    kill, whichever comes first; of several within one look nobody needs to hear twice."""

    def __init__(self, *, cgroups: Path = CGROUPS) -> None:
        self._cgroups = cgroups
        self._seen: dict[str, int] = {}
        self._told: set[str] = set()

    def watch(self, container_id: str) -> None:
        self._seen[container_id] = 0

    def forget(self, container_id: str) -> None:
        self._seen.pop(container_id, None)
        self._told.discard(container_id)

    def told(self, container_id: str) -> None:
        """An event came: the counter's next step is no news."""
        if container_id in self._seen:
            self._told.add(container_id)

    def news(self) -> list[str]:
        """Those that were killed in since the last look, without an event."""
        fresh: list[str] = []
        for container_id, seen in list(self._seen.items()):
            kills = memory_kills(container_id, cgroups=self._cgroups)
            if kills is None or kills <= seen:
                continue
            self._seen[container_id] = kills
            if container_id not in self._told:
                fresh.append(container_id)
            self._told.discard(container_id)
        return fresh
