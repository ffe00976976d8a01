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


class CheckpointRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of a workspace."""

    excludes: tuple[str, ...] = ("node_modules/", ".venv/", "__pycache__/", "target/", ".cache/")
    """Patterns as in `.gitignore`: what can be made again."""
    max_bytes: int = 512 * MIB
    """Unpacked. A workspace that is larger is not kept, and its people are told."""
    max_entries: int = 50_000
    max_seconds: float = 60.0
    keep: int = 20
    """Of one session, the latest ones."""
    keep_bytes: int = 2048 * MIB
    """All that is kept of one session, packed: the oldest go first, the latest always stays."""


class Lifetimes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a session rests, wakes and ends. Seconds; None for never."""

    freeze_after: float | None = 120.0
    """Idle for so long, its sandbox's processes are stopped; a prompt finds them in 15 ms."""
    hibernate_after: float | None = 1800.0
    """Idle for so long, its sandbox is given up; a prompt finds it in another one in a second."""
    turn: float | None = 3600.0
    """One turn, from prompt to result, without the time that it waits for a person. Then it is
    interrupted, and where that does not help its sandbox is killed."""
    sandbox: float | None = 86_400.0
    """Age at which a sandbox is exchanged for a fresh one, between turns."""
    session: float | None = None
    """Age at which a session is ended."""
    keep: float | None = 90 * 86_400.0
    """A session that has slept for so long is ended, and its checkpoints go."""
    memory_soft: float = 0.8
    """Part of the memory limit in the working set above which a sandbox is exchanged, between
    turns."""
    memory_hard: float = 0.95
    """Part above which a running turn is interrupted for it."""
    storage_soft: float = 0.85
    """Part of a file system (home, workspace) above which people are told; for the home the sandbox
    is exchanged."""


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
    lifetimes: Lifetimes = Lifetimes()
    checkpoints: CheckpointRules = CheckpointRules()
    unfinished: Literal["offer", "run"] = "offer"
    """What happens to a prompt whose sandbox died: its person is asked, or it is run again."""
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
