"""What sandboxes need from their neighbours and from each other, as small Protocols."""

from pathlib import Path
from typing import Protocol

from orchestrator.protocol.ids import ProfileName, SessionId, SlotId
from orchestrator.sessions.ports import Sandbox
from orchestrator.sessions.profiles import Profile


class GatewayDoor(Protocol):
    """A slot's way to the model: listens from the start, lets nothing through until `admit`."""

    async def open(self, slot_id: SlotId, socket_path: Path) -> None: ...
    def admit(self, slot_id: SlotId, *, session_id: SessionId, models: tuple[str, ...]) -> None: ...
    async def close(self, slot_id: SlotId) -> None:
        """Idempotent, also for a slot that was never opened."""


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

    def assign(self, session: SessionId) -> None:
        """From now on it serves this session: the gateway admits it, the link takes commands."""

    async def gone(self) -> None:
        """Returns when its container and its slot are gone, for whatever reason."""


class Launcher(Protocol):
    """Makes sandboxes."""

    async def version(self, profile: Profile) -> str:
        """The id of the image that a sandbox made now would run. Raises SandboxFailure."""

    async def launch(self, profile: Profile) -> Member:
        """A connected sandbox. Raises SandboxFailure, leaving nothing behind."""

    async def sweep(self, *, everything: bool = False) -> int:
        """Destroy what earlier runs of this installation left, with `everything` also what this
        one did; returns how many containers. Raises SandboxFailure."""
