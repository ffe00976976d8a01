"""How full the sandbox's own file systems are. Both are in memory, and bounded."""

import os

from orchestrator.protocol.sandbox_events import StorageMeasured
from shim.contents import Roots


def measure_storage(roots: Roots) -> StorageMeasured | None:
    """None where one of them cannot be looked at."""
    try:
        home, workspace = os.statvfs(roots.home), os.statvfs(roots.workspace)
    except OSError:
        return None
    return StorageMeasured(
        home_used=_used(home),
        home_size=home.f_blocks * home.f_frsize,
        workspace_used=_used(workspace),
        workspace_size=workspace.f_blocks * workspace.f_frsize,
    )


def _used(seen: os.statvfs_result) -> int:
    return (seen.f_blocks - seen.f_bfree) * seen.f_frsize
