"""Why a session ends, rests or loses its sandbox: a tag for programs and a plain sentence for its
people. Pure.

A sentence about a lost sandbox is only the reason: what becomes of the session is said beside it.
"""

from orchestrator.protocol.chat import Ending
from orchestrator.protocol.sandbox_events import AgentDied
from orchestrator.sessions.errors import NoSandboxFree, RuleBroken, StorageFailed

RESTARTED = "restarted"
"""The tag of a loss that came from outside, and counts against no sandbox."""
FINAL = frozenset({"said_too_much", "transcript_too_large"})
"""A sandbox that was stopped for one of these is followed by no other one."""
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
SANDBOX_GONE = Ending(tag="sandbox_gone", sentence="The sandbox of this session is gone.")
SANDBOX_STUCK = Ending(tag="sandbox_stuck", sentence="The sandbox did not answer any more.")
SANDBOX_MISBEHAVED = Ending(
    tag="sandbox_misbehaved",
    sentence="The sandbox said or asked what it must not, and was stopped.",
)
CASEMATE_RESTARTED = Ending(
    tag=RESTARTED, sentence="Casemate was restarted, and the sandbox did not outlast it."
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


def gives_files_up(tag: str) -> bool:
    """Nobody goes on from the checkpoints of a session that ended so."""
    return is_wished(tag) or tag in {"kept_too_long", "no_sandbox_free"}


def agent_died(event: AgentDied) -> Ending:
    """What to tell where the sandbox itself gives no better reason."""
    killed = event.exit_code is not None and event.exit_code < 0
    how = "was killed, most likely for using too much memory" if killed else "ended unexpectedly"
    return Ending(
        tag="agent_died",
        sentence=f"Claude's process in the sandbox {how}.",
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
        case StorageFailed():
            return STORAGE_FAILED
        case _:
            return Ending(tag=refusal.tag, sentence=refusal.sentence)


# --- what is told of a session that goes on ------------------------------------------------------

UPSTREAM_FAILED = (
    "The model could not be reached, so your last message was not finished: run it again?"
)
OFFERED = "Your last message was not finished: run it again?"
RUN_AGAIN = "Your last message was not finished and runs again."


def unfinished(ending: Ending, *, runs: bool) -> str:
    """Why a prompt was not finished, and what comes of it."""
    return f"{ending.sentence} {RUN_AGAIN if runs else OFFERED}"


WITHDRAWN = "What Claude had asked and nobody answered yet is withdrawn."


def stopped_for_memory(sentence: str) -> str:
    return f"{sentence} {OFFERED}"


def recovery_stopped(ending: Ending, *, deaths: int) -> str:
    return (
        f"{ending.sentence} That was sandbox number {deaths} in a row to go, so no other one is "
        "tried by itself. Your conversation and the files of the last checkpoint are kept. Send a "
        "prompt to try once more; if it goes the same way, ask for less at once."
    )


def not_woken(why: str, *, again: bool = True) -> str:
    """Where a sandbox could not be had, or could not be filled; `again`: it may be another time."""
    rests = "The session rests: your conversation and the files of the last checkpoint are kept."
    return f"{why} {rests} Send a prompt to try again." if again else f"{why} {rests}"


NOT_RESTORED = (
    "The session could not be put back into a sandbox, twice in a row. If that goes on, go back to "
    "an earlier checkpoint."
)
INTERRUPTED = "Casemate was restarted before your last message was finished: run it again?"
QUESTION_LOST = (
    "Claude's question could not be taken along into the new sandbox. Your last message was not "
    "finished: run it again?"
)
OUT_OF_MEMORY = (
    "The sandbox's memory was full, and a program in it was stopped. Claude goes on; ask for less "
    "at once if it happens again."
)
RESTS_FOR_SHUTDOWN = "Casemate is being restarted. Open the session again to go on where it was."
RESTS_AFTER_RESTART = (
    "Casemate was restarted. Open the session or send a prompt to go on from what was kept."
)
RESTS_FOR_MEMORY = (
    "The machine is short of memory, so this session's sandbox was given up while nothing ran in "
    "it. Conversation and files are kept; a prompt wakes it."
)
RESTARTING = "Casemate is restarting; your session continues in a moment."
RESTS_AS_ASKED = "The session rests. Open it or send a prompt to wake it."
