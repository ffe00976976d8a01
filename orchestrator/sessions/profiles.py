"""Profiles: the named recipes for sandboxes. Admins edit them; users pick one."""

from collections.abc import Iterable

import msgspec

from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.ids import ProfileName
from orchestrator.sessions.errors import UnknownProfile

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


class FixedProfiles:
    """A `ProfileCatalogue` of profiles that do not change; the first is the default."""

    def __init__(self, profiles: Iterable[Profile]) -> None:
        self._profiles = {profile.name: profile for profile in profiles}

    def profile(self, name: ProfileName) -> Profile:
        try:
            return self._profiles[name]
        except KeyError:
            raise UnknownProfile from None

    def profiles(self) -> list[Profile]:
        return list(self._profiles.values())
