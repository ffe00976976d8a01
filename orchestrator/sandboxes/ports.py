"""What sandboxes need from their neighbours and from each other, as small Protocols."""

import socket
from collections.abc import Collection
from typing import Protocol

import msgspec

from orchestrator.protocol.broker import BrokeredSandbox
from orchestrator.protocol.ids import ProfileName, SessionId, SlotId
from orchestrator.sandboxes.slot_sockets import SlotSockets
from orchestrator.sessions.ports import Sandbox
from orchestrator.sessions.profiles import Profile


class GatewayDoor(Protocol):
    """A slot's way out: to the model, and to what its profile allows beside it. Listens from the
    start, lets nothing through until `admit`."""

    async def open(
        self, slot_id: SlotId, *, model: socket.socket, egress: socket.socket | None
    ) -> None:
        """Serve these listening sockets, and own them from now on. Raises OSError."""

    def admit(
        self, slot_id: SlotId, *, session_id: SessionId, profile: Profile, used_tokens: int = 0
    ) -> None:
        """`used_tokens`: what the session has had of its budget already."""

    async def close(self, slot_id: SlotId) -> None:
        """Idempotent, also for a slot that was never opened."""


class ContainerExit(msgspec.Struct, frozen=True, kw_only=True):
    """How a container stands. `exit_code` is None while it is not over, and when it is gone."""

    over: bool
    exit_code: int | None = None
    oom_killed: bool = False
    broker_lost: bool = False
    """What kept it is gone, and so nobody knows more."""
    engine_away: bool = False
    """It ended while the engine itself was away."""
    memory_told: bool = False
    """The engine told, just before, that the kernel killed something in it for its memory."""


class BrokeredBuild(msgspec.Struct, frozen=True, kw_only=True):
    """What a sandbox of a profile would be made of now. `profile` is the digest of the profile as
    the broker knows it."""

    image: str
    version: str
    profile: str


class BrokeredStart(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox that was started. The receiver owns the sockets."""

    image: str
    version: str
    sockets: SlotSockets


class Broker(Protocol):
    """Makes and removes sandboxes, by the names of profiles and slots alone. Every call has a limit
    and raises SandboxFailure."""

    async def build(self, profile: ProfileName) -> BrokeredBuild: ...
    async def create(self, profile: ProfileName, slot: SlotId) -> BrokeredStart:
        """Until `destroy` the slot is remembered; also where this failed."""

    async def adopt(self, slot: SlotId) -> BrokeredStart:
        """One that was made before we were started anew; remembered as by `create`."""

    async def claim(self, slot: SlotId) -> None:
        """It serves somebody from now on: a control plane that is started anew takes it for no
        spare one."""

    async def sandboxes(self) -> list[BrokeredSandbox]:
        """All that it keeps for us."""

    async def destroy(self, slot: SlotId) -> None:
        """Idempotent, also for a slot that was never made."""

    async def freeze(self, slot: SlotId) -> None: ...
    async def thaw(self, slot: SlotId) -> None: ...
    async def died(self, slot: SlotId) -> None:
        """Returns when the sandbox no longer runs, for whatever reason."""

    async def ran_out_of_memory(self, slot: SlotId) -> None:
        """Returns when the kernel killed something in it for its memory; what happens between two
        calls is told once."""

    async def exit_of(self, slot: SlotId) -> ContainerExit: ...
    async def output(self, slot: SlotId) -> list[str]: ...
    async def sweep(self, *, everything: bool = False) -> int: ...


class PoolObserver(Protocol):
    """Told what happens, for metrics. Must not block and must not raise."""

    def pool_measured(
        self, profile: ProfileName, *, ready: int, starting: int, claimed: int, waiting: int
    ) -> None: ...
    def claim_waited(self, profile: ProfileName, *, seconds: float) -> None: ...
    def claim_refused(self, profile: ProfileName) -> None: ...
    def sandbox_started(self, profile: ProfileName, *, seconds: float) -> None: ...
    def sandbox_failed(self, profile: ProfileName, *, reason: str) -> None: ...
    def sandbox_ended(self, profile: ProfileName, *, reason: str) -> None: ...


class NoObserver:
    """For those who do not measure."""

    def pool_measured(
        self, profile: ProfileName, *, ready: int, starting: int, claimed: int, waiting: int
    ) -> None: ...
    def claim_waited(self, profile: ProfileName, *, seconds: float) -> None: ...
    def claim_refused(self, profile: ProfileName) -> None: ...
    def sandbox_started(self, profile: ProfileName, *, seconds: float) -> None: ...
    def sandbox_failed(self, profile: ProfileName, *, reason: str) -> None: ...
    def sandbox_ended(self, profile: ProfileName, *, reason: str) -> None: ...


class Member(Sandbox, Protocol):
    """A sandbox as its pool sees it, from ready to gone."""

    @property
    def profile(self) -> Profile: ...
    @property
    def version(self) -> str:
        """The id of the image that it runs."""

    @property
    def alive(self) -> bool:
        """Connected, its container running, its agent not known to be dead."""

    @property
    def memory_usage(self) -> int:
        """Bytes, as last told; 0 before that."""

    def assign(self, session: SessionId, *, used_tokens: int = 0) -> None:
        """From now on it serves this session: the gateway admits it, the link takes commands.
        `used_tokens`: what the session has had of its budget already."""

    async def gone(self) -> None:
        """Returns when its container and its slot are gone, for whatever reason."""


class Launcher(Protocol):
    """Makes sandboxes."""

    async def version(self, profile: Profile) -> str:
        """The id of the image that a sandbox made now would run. Raises SandboxFailure."""

    async def launch(self, profile: Profile) -> Member:
        """A connected sandbox. Raises SandboxFailure, leaving nothing behind."""

    async def survivors(self) -> list[BrokeredSandbox]:
        """What was made before this control plane was started, and is there still. Raises
        SandboxFailure."""

    async def adopt(
        self,
        survivor: BrokeredSandbox,
        profile: Profile,
        *,
        session: SessionId | None,
        held: int = 0,
        used_tokens: int = 0,
    ) -> Member:
        """Connected again, and assigned to the session; without one it is a spare one, which was
        never used. Raises SandboxFailure; then it is of no use."""

    async def discard(self, survivor: BrokeredSandbox) -> None:
        """Destroy one that nobody adopts. Raises SandboxFailure."""

    async def reconcile(self, *, spared: Collection[SlotId]) -> int:
        """Destroy what the broker keeps for us and nobody here knows; returns how many. Raises
        SandboxFailure."""

    async def sweep(self, *, everything: bool = False) -> int:
        """Destroy what nobody keeps, with `everything` also what this one made; returns how many
        containers. Raises SandboxFailure."""
