"""Profiles: the named recipes for sandboxes. Admins edit them; users pick one."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.ids import ProfileName
from orchestrator.sessions.errors import UnknownProfile

MIB = 1 << 20


class Resources(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of one sandbox. Sizes in bytes; the tmpfs sizes count towards `memory`."""

    memory: int = 1536 * MIB
    cpus: float = 1.5
    pids: int = 256
    tmp: int = 256 * MIB
    home: int = 128 * MIB
    workspace: int = 512 * MIB
    shm: int = 64 * MIB


class Injection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A secret that the egress proxy adds to requests to one host; no sandbox ever holds it.

    `bearer`: `Bearer <secret>`; `basic`: user and secret as HTTP's basic scheme has them; `raw`:
    the secret alone is the header's value.
    """

    secret_file: str
    """Path on the control plane's machine; read anew when it changes."""
    header: str = "authorization"
    scheme: Literal["bearer", "basic", "raw"] = "bearer"
    username: str = ""


class EgressRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A host that sandboxes may reach by name: `pypi.example.org`, or `*.example.org` for every
    name below it. Addresses are never allowed."""

    host: str
    ports: tuple[int, ...] = (443,)
    inject: Injection | None = None
    """Requests to this host are then opened at the proxy, which makes the outer TLS connection."""
    private: bool = False
    """The name may lead to a private address: for a mirror in the operator's own network."""


class Egress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What sandboxes may reach beside the model: nothing, unless it is listed."""

    allow: tuple[EgressRule, ...] = ()
    max_bytes_up: int = 256 * MIB
    """Per session. What is sent counts most: it is how data would leave."""
    max_bytes_down: int = 4096 * MIB
    """Per session."""


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`models` are those that the gateway lets through: exact ids, or a prefix ending in `*`."""

    name: ProfileName
    title: str
    agent: AgentSetup
    description: str = ""
    models: tuple[str, ...] = ("claude-*",)
    resources: Resources = Resources()
    image: str = "casemate-sandbox:current"
    egress: Egress = Egress()
    token_budget: int | None = None
    """Tokens, read and written, that one session may use; None for no limit of its own."""


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
