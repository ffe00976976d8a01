"""What is done about a sandbox that breaks a bound which an honest one keeps: it is given up."""

from orchestrator.protocol.chat import Ending


class SandboxMisbehaved(Exception):
    """`ending` is what its people are told."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.tag)
        self.ending = ending
