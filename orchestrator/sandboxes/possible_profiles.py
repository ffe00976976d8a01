"""Whether there can be a sandbox of a profile's resources at all. Pure.

For: whoever takes profiles in, so that one that cannot be is refused there, with a sentence, and
not at the first start of a sandbox.
"""

from orchestrator.sandboxes.container_spec import AGENT_MEMORY, RUNSC_PIDS
from orchestrator.sessions.profiles import MIB, Resources

LEAST_PIDS = 64
"""The agent's own processes and threads, and a shell's."""
LEAST_CPUS = 0.1
"""Below it the agent does not connect within its limit."""


def impossibility(resources: Resources) -> str | None:
    """Why there can be no such sandbox, as a sentence; None where there can be one."""
    places = {name: getattr(resources, name) for name in ("tmp", "home", "workspace", "shm")}
    if empty := [name for name, size in places.items() if size < MIB]:
        return f"{', '.join(empty)}: a sandbox needs at least 1 MiB there."
    needed = sum(places.values()) + AGENT_MEMORY
    if resources.memory < needed:
        return (
            f"memory is {_mib(resources.memory)}, and must be at least {_mib(needed)}: tmp, home, "
            f"workspace and shm are kept in memory, and the agent needs {_mib(AGENT_MEMORY)} too."
        )
    if not LEAST_PIDS <= resources.pids <= RUNSC_PIDS:
        return f"pids is {resources.pids}, and must be from {LEAST_PIDS} to {RUNSC_PIDS}."
    if not resources.cpus >= LEAST_CPUS:  # also for what is not a number
        return f"cpus is {resources.cpus}, and must be at least {LEAST_CPUS}."
    return None


def _mib(size: int) -> str:
    return f"{-(-size // MIB)} MiB"
