"""Why a session ends: a tag for programs and a plain sentence for its people. Pure."""

from orchestrator.protocol.chat import Ending
from orchestrator.protocol.sandbox_events import AgentDied
from orchestrator.sessions.errors import NoSandboxFree, RuleBroken, ShuttingDown, StorageFailed

WISHED = frozenset({"ended_by_user"})
"""Endings that somebody asked for: the session is `ended`. Every other one makes it `failed`."""

ENDED_BY_USER = Ending(tag="ended_by_user", sentence="The session was ended.")
NO_SANDBOX_FREE = Ending(
    tag="no_sandbox_free",
    sentence="Every sandbox was in use for too long. Start a new session in a moment.",
)
NOT_STARTED = Ending(
    tag="not_started",
    sentence="No sandbox could be started for this session. Try again, or ask your administrator.",
)
SHUTDOWN = Ending(
    tag="shutdown",
    sentence="Casemate was shut down. The conversation stays readable; start a new session.",
)
CONTROL_PLANE_RESTARTED = Ending(
    tag="control_plane_restarted",
    sentence="Casemate was restarted while this session was open. The conversation stays readable; "
    "start a new session.",
)
SANDBOX_GONE = Ending(
    tag="sandbox_gone",
    sentence="The sandbox of this session is gone. The conversation stays readable; start a new "
    "session.",
)
SANDBOX_MISBEHAVED = Ending(
    tag="sandbox_misbehaved",
    sentence="The sandbox asked more questions at once than it may, and was stopped. Start a new "
    "session.",
)
SAID_TOO_MUCH = Ending(
    tag="said_too_much",
    sentence="This session's conversation grew larger than Casemate keeps for one session, and was "
    "stopped. Start a new session.",
)
STORAGE_FAILED = Ending(
    tag="storage_failed",
    sentence="Casemate could not write this conversation to its database, and stopped the session. "
    "Tell your administrator.",
)
INTERNAL_ERROR = Ending(
    tag="internal_error",
    sentence="Something went wrong in Casemate and the session was stopped. Tell your "
    "administrator.",
)


def is_wished(tag: str) -> bool:
    return tag in WISHED


def agent_died(event: AgentDied) -> Ending:
    """What to tell where the sandbox itself gives no better reason."""
    killed = event.exit_code is not None and event.exit_code < 0
    how = "was killed, most likely for using too much memory" if killed else "ended unexpectedly"
    return Ending(
        tag="agent_died",
        sentence=f"Claude's process in the sandbox {how}. The conversation stays readable; start a "
        "new session.",
    )


def lost(said: Ending | None, *, died: Ending | None) -> Ending:
    """Why a sandbox is gone: its own reason, unless that is only that a dead agent's was
    destroyed."""
    if said is None or (said.tag == "destroyed" and died is not None):
        return died or SANDBOX_GONE
    return said


def refused(refusal: RuleBroken) -> Ending:
    """Why a session never got its sandbox."""
    match refusal:
        case NoSandboxFree():
            return NO_SANDBOX_FREE
        case ShuttingDown():
            return SHUTDOWN
        case StorageFailed():
            return STORAGE_FAILED
        case _:
            return Ending(tag=refusal.tag, sentence=refusal.sentence)
