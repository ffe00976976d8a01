"""The contract of sandboxes on real containers."""

from orchestrator.testing.sandbox_contract import SandboxContract


class TestDocker(SandboxContract):
    pass
