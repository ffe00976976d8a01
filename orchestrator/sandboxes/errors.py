"""What can go wrong with sandboxes.

SandboxFailure              sentence: for the operator's log and the admin page
├── EngineFailure
│   ├── EngineUnreachable   no daemon answers
│   ├── EngineTooSlow       it answers, but not within the limit
│   ├── EngineRefused       it said no; status is its HTTP status
│   ├── ImageMissing
│   ├── ContainerMissing
│   └── SpecViolated        the container is not what was asked for; violations tells how
├── BrokerFailure
│   ├── BrokerUnreachable   no broker answers, or it went away
│   ├── BrokerTooSlow       it does not answer within the limit
│   ├── BrokerTaken         another control plane of this installation is running
│   └── BrokerRefused       it does not do such a thing; tag
├── SlotFailure             a slot directory cannot be made or used
│   └── SlotsTaken          another process holds them
├── StartFailed             a sandbox did not become ready; tag, and output: its last lines
└── LinkViolated            a sandbox broke the link's protocol; tag

BadPoolSize                 a RuleBroken: an admin asked for a size that cannot be
"""

from orchestrator.sessions.errors import RuleBroken


class SandboxFailure(Exception):
    """Something about sandboxes failed."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class EngineFailure(SandboxFailure):
    """The Docker engine did not do what it was asked for."""


class EngineUnreachable(EngineFailure):
    pass


class EngineTooSlow(EngineFailure):
    pass


class EngineRefused(EngineFailure):
    def __init__(self, sentence: str, *, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class ImageMissing(EngineFailure):
    pass


class ContainerMissing(EngineFailure):
    pass


class SpecViolated(EngineFailure):
    def __init__(self, violations: list[str]) -> None:
        super().__init__(f"The container is not as it was asked for: {'; '.join(violations)}.")
        self.violations = violations


class BrokerFailure(SandboxFailure):
    """The broker did not do what it was asked for."""


class BrokerUnreachable(BrokerFailure):
    pass


class BrokerTooSlow(BrokerFailure):
    pass


class BrokerTaken(BrokerFailure):
    pass


class BrokerRefused(BrokerFailure):
    def __init__(self, sentence: str, *, tag: str) -> None:
        super().__init__(sentence)
        self.tag = tag


class SlotFailure(SandboxFailure):
    pass


class SlotsTaken(SlotFailure):
    pass


class StartFailed(SandboxFailure):
    def __init__(self, sentence: str, *, tag: str, output: list[str] | None = None) -> None:
        super().__init__(sentence)
        self.tag = tag
        self.output = output or []


class LinkViolated(SandboxFailure):
    def __init__(self, sentence: str, *, tag: str) -> None:
        super().__init__(sentence)
        self.tag = tag


class BadPoolSize(RuleBroken, ValueError):
    tag, status = "bad_pool_size", 422
    sentence = "That pool size is not possible."
