"""Which users of the host a sandbox's users are, in the engine's own words. Pure.

With `userns-remap` a container's user N is the host's user N plus a base, so that not even the
container's root is anybody outside. A slot must then belong to that user of the host.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from orchestrator.sandboxes.errors import EngineFailure


class UidShift(msgspec.Struct, frozen=True, kw_only=True):
    """Added to a container's user and group id, it is the host's."""

    uid: int = 0
    gid: int = 0


def uid_shift(info: Mapping[str, Any]) -> UidShift:
    """From the answer of `GET /info`. Raises EngineFailure where sandboxes cannot have slots."""
    options = {option.split(",")[0] for option in info.get("SecurityOptions") or []}
    if "name=rootless" in options:
        raise EngineFailure(
            "The Docker engine runs rootless, so no sandbox can reach its slot: user ids in its "
            "containers are none of yours. Use an engine that runs as root."
        )
    if "name=userns" not in options:
        return UidShift()
    # The engine keeps what belongs to each mapping in a directory named after its first ids.
    base = re.search(r"/(\d{1,9})\.(\d{1,9})/?$", str(info.get("DockerRootDir")))
    if base is None:
        raise EngineFailure(
            "The Docker engine maps user ids (userns-remap) and does not say how: its data "
            "directory is not named after the mapping."
        )
    return UidShift(uid=int(base[1]), gid=int(base[2]))
