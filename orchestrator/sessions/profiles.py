"""Profiles: the named recipes for sandboxes. Admins edit them; users pick one."""

import msgspec

from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.ids import ProfileName

MIB = 1 << 20


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one sandbox. Sizes in bytes; the tmpfs sizes count towards `memory`."""

    memory: int = 1536 * MIB
    cpus: float = 1.5
    pids: int = 256
    tmp: int = 256 * MIB
    home: int = 128 * MIB
    workspace: int = 512 * MIB
    shm: int = 64 * MIB


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """`models` are those that the gateway lets through: exact ids, or a prefix ending in `*`."""

    name: ProfileName
    title: str
    agent: AgentSetup
    description: str = ""
    models: tuple[str, ...] = ("claude-*",)
    resources: Resources = Resources()
    image: str = "casemate-sandbox:current"
