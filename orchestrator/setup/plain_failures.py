"""Failures that are expected, as the sentence that a person at the command line reads."""

from orchestrator.accounts.errors import AccountError
from orchestrator.accounts.keys import KeyFileUnsafe
from orchestrator.profiles import BadProfiles
from orchestrator.sandboxes.errors import SandboxFailure
from orchestrator.sessions.errors import RuleBroken
from orchestrator.settings import BadSetting
from orchestrator.setup.errors import SetupFailed


def sentence_of(error: Exception) -> str | None:
    """What happened and what to do, or None for what nobody expected: that keeps its traceback."""
    match error:
        case SetupFailed() | AccountError() | RuleBroken():
            return f"{error.sentence} {error.advice}".strip()
        case SandboxFailure():
            return error.sentence
        case BadSetting() | BadProfiles() | KeyFileUnsafe():
            return str(error)
        case PermissionError() if error.filename:
            return f"{error.filename} may not be used: {error.strerror}."
        case _:
            return None
