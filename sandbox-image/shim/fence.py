"""What the model runs dies of short memory before the agent and the shim do.

The kernel kills the process with the highest score. A container's processes begin at its
`OomScoreAdj`; a tool's raise theirs to the most there is, which their children inherit. What starts
tools does that at once (`SHELL`, and `mcp_process` for its servers); `fence_the_rest` is for what
the CLI starts in other ways, and for what lowered its score again.
"""

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

from shim.cli_process import children

DIRECTORY = Path("/opt/casemate/fence")
SHELL = DIRECTORY / "bash"
CLI_NAME = "claude"
HIGHEST = "1000"
INIT = 1
PROC = Path("/proc")


def fenced_shell() -> dict[str, str]:
    """What tells the CLI to run commands in the fenced shell. It goes by the name of its file."""
    return {"CLAUDE_CODE_SHELL": str(SHELL)} if SHELL.exists() else {}


def agent_processes(*, proc: Path = PROC) -> set[int]:
    """The shim, and the CLI that it started."""
    found = {os.getpid()}
    for pid in children():
        with contextlib.suppress(OSError):
            if (proc / str(pid) / "comm").read_text().strip() == CLI_NAME:
                found.add(pid)
    return found


def fence_the_rest() -> None:
    """All but the agent. Nothing outside an image of ours: there it would be other people's."""
    if DIRECTORY.is_dir():
        raise_scores(agent_processes())


def raise_scores(spared: Collection[int], *, proc: Path = PROC) -> int:
    """Fence every process but the sandbox's first one and those that are spared. Returns how many
    had not been."""
    raised = 0
    for entry in proc.iterdir():
        if entry.name.isdecimal() and int(entry.name) not in {INIT, *spared}:
            with contextlib.suppress(OSError):  # gone, or nothing that this kernel lets us do
                raised += _raise(entry / "oom_score_adj")
    return raised


def _raise(score: Path) -> bool:
    if score.read_text().strip() == HIGHEST:
        return False
    score.write_text(HIGHEST)
    return True
