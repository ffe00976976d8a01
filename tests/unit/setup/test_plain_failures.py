import errno

import pytest

from orchestrator.accounts.errors import LastAdmin
from orchestrator.sandboxes.errors import SandboxFailure
from orchestrator.sessions.errors import StorageFailed
from orchestrator.settings import BadSetting
from orchestrator.setup.errors import NoEngine
from orchestrator.setup.plain_failures import sentence_of


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (NoEngine("There is none.", advice="Install it."), "There is none. Install it."),
        (LastAdmin(), "last administrator"),
        (StorageFailed(), "database"),
        (SandboxFailure("It broke."), "It broke."),
        (BadSetting("X: there is no such setting."), "no such setting"),
        (PermissionError(errno.EACCES, "Permission denied", "/data"), "/data may not be used"),
    ],
)
def test_expected_failures_are_sentences(error: Exception, part: str):
    """What is expected to go wrong is told without a traceback."""
    assert part in (sentence_of(error) or "")


def test_a_bug_keeps_its_traceback():
    """What nobody expected is not dressed up as a sentence."""
    assert sentence_of(KeyError("x")) is None
