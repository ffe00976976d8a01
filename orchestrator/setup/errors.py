"""What can go wrong before Casemate serves. Each is told as a sentence and what to do about it.

SetupFailed                 sentence, advice
├── NoEngine                no Docker engine is to be had here
├── EngineDidNotStart       it was started and does not answer; log names the file that says why
├── PackagesNotInstalled    apt-get failed
├── PageNotBuilt            npm failed
├── ImageNotBuilt           the sandbox image could not be built
└── PortInUse               something else listens on the address
"""


class SetupFailed(Exception):
    """An expected failure: printed as it is, without a traceback."""

    def __init__(self, sentence: str, *, advice: str = "") -> None:
        self.sentence = sentence
        self.advice = advice
        super().__init__(f"{sentence} {advice}".strip())


class NoEngine(SetupFailed):
    pass


class EngineDidNotStart(SetupFailed):
    pass


class PackagesNotInstalled(SetupFailed):
    pass


class PageNotBuilt(SetupFailed):
    pass


class ImageNotBuilt(SetupFailed):
    pass


class PortInUse(SetupFailed):
    pass
