"""Why a sandbox ended: from what is known to a tag and a sentence for a person. Pure.

The order of the rules is the order of certainty: what we did ourselves, what the sandbox did to the
link, what the kernel did, what the agent said, and only then what Docker tells of the exit. The
sentences say what happened and no more: the session goes on, and how is for others to say.
"""

import msgspec

from orchestrator.protocol.chat import Ending
from orchestrator.protocol.sandbox_events import AgentDied
from orchestrator.sandboxes.errors import LinkViolated

KILLED, TERMINATED = 137, 143
"""128 + SIGKILL and 128 + SIGTERM, as Docker reports them."""
SIGKILLED = -9
"""The first, as Python reports it of a child."""
LONGEST_DETAIL = 300
LINK_TAGS = (
    "link_malformed",
    "link_disorder",
    "link_gap",
    "link_oversize",
    "link_flooded",
    "link_hung",
    "link_protocol",
)
TAGS = (
    "destroyed",
    *LINK_TAGS,
    "out_of_memory",
    "agent_died",
    "broker_lost",
    "engine_restarted",
    "killed",
    "exited",
    "link_lost",
)
"""All that there are."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a sandbox that is of no more use."""

    destroyed: bool = False
    """We gave it up ourselves."""
    violation: LinkViolated | None = None
    agent_died: AgentDied | None = None
    oom_kills: int = 0
    """As the shim last read it from its cgroup."""
    oom_killed: bool = False
    """Docker's flag; it stays false while the main process lives."""
    exited: bool = False
    exit_code: int | None = None
    broker_lost: bool = False
    """What kept its container is gone, or was started anew and removed it."""
    engine_away: bool = False
    """The engine was not there when it ended."""


def ending(evidence: Evidence) -> Ending:
    """With one of `TAGS`."""
    if evidence.destroyed:
        return Ending(tag="destroyed", sentence="The sandbox was given up.")
    if evidence.violation is not None:
        return Ending(tag=evidence.violation.tag, sentence=evidence.violation.sentence)
    if _ran_out_of_memory(evidence):
        return Ending(tag="out_of_memory", sentence="The sandbox ran out of memory.")
    if evidence.agent_died is not None:
        return _agent_died(evidence.agent_died)
    if evidence.broker_lost or evidence.exited:
        return _exited(evidence)
    return Ending(tag="link_lost", sentence="The sandbox did not answer any more.")


def _ran_out_of_memory(evidence: Evidence) -> bool:
    died_by_kill = evidence.exit_code == KILLED or (
        evidence.agent_died is not None and evidence.agent_died.exit_code == SIGKILLED
    )
    return evidence.oom_killed or (died_by_kill and evidence.oom_kills > 0)


def _agent_died(event: AgentDied) -> Ending:
    if event.exit_code == SIGKILLED:
        return Ending(tag="agent_died", sentence="Claude's process in the sandbox was killed.")
    text = event.text[:LONGEST_DETAIL]
    detail = "".join(c if c.isprintable() else " " for c in text).strip().rstrip(".")
    said = f": {detail}" if detail else ""
    return Ending(tag="agent_died", sentence=f"Claude's process in the sandbox ended{said}.")


def _exited(evidence: Evidence) -> Ending:
    code = evidence.exit_code
    if evidence.broker_lost:
        return Ending(
            tag="broker_lost",
            sentence="What runs the sandboxes was restarted, and this sandbox ended with it.",
        )
    if evidence.engine_away:
        return Ending(
            tag="engine_restarted",
            sentence="The Docker engine was restarted, and the sandbox ended with it.",
        )
    if code in (KILLED, TERMINATED):
        return Ending(tag="killed", sentence="The sandbox was stopped from outside.")
    if code == 0:  # its shim does so when it is told to
        return Ending(tag="exited", sentence="The sandbox was told to stop.")
    told = "" if code is None else f" with code {code}"
    return Ending(tag="exited", sentence=f"The sandbox stopped by itself{told}.")
