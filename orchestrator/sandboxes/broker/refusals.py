"""Failures on the broker's wire: told by the broker as a tag and a sentence, raised again here.

The tags are a closed table, so that nothing is built by a name that came over a wire. Pure.
"""

from orchestrator.protocol.broker import Refused
from orchestrator.sandboxes.errors import (
    BrokerRefused,
    BrokerTooSlow,
    BrokerUnreachable,
    ContainerMissing,
    EngineFailure,
    EngineRefused,
    EngineTooSlow,
    EngineUnreachable,
    ImageMissing,
    SandboxFailure,
    SlotFailure,
    SlotsTaken,
    SpecViolated,
)

PLAIN: dict[str, type[SandboxFailure]] = {
    "engine_unreachable": EngineUnreachable,
    "engine_too_slow": EngineTooSlow,
    "image_missing": ImageMissing,
    "container_missing": ContainerMissing,
    "engine_failed": EngineFailure,
    "slots_taken": SlotsTaken,
    "slot_failed": SlotFailure,
    "broker_unreachable": BrokerUnreachable,
    "broker_too_slow": BrokerTooSlow,
    "sandbox_failed": SandboxFailure,
}
"""Those that are a sentence and nothing else; the more special ones first."""
ENGINE_REFUSED, SPEC_VIOLATED = "engine_refused", "spec_violated"
LONGEST_SENTENCE = 2000
MOST_VIOLATIONS = 50


def refused(n: int, error: SandboxFailure) -> Refused:
    """The answer to request `n` that tells this failure."""
    sentence = error.sentence[:LONGEST_SENTENCE]
    match error:
        case EngineRefused(status=status):
            return Refused(n=n, tag=ENGINE_REFUSED, sentence=sentence, status=status)
        case SpecViolated(violations=violations):
            violations = [one[:LONGEST_SENTENCE] for one in violations[:MOST_VIOLATIONS]]
            return Refused(n=n, tag=SPEC_VIOLATED, sentence=sentence, violations=violations)
        case _:
            return Refused(n=n, tag=tag_of(error), sentence=sentence)


def tag_of(error: SandboxFailure) -> str:
    if isinstance(error, BrokerRefused):
        return error.tag
    return next(tag for tag, kind in PLAIN.items() if isinstance(error, kind))


def failure(answer: Refused) -> SandboxFailure:
    """The failure that the broker told."""
    match answer.tag:
        case "engine_refused":
            return EngineRefused(answer.sentence, status=answer.status or 0)
        case "spec_violated":
            return SpecViolated(answer.violations)
        case tag:
            return failure_tagged(tag, answer.sentence)


def failure_tagged(tag: str, sentence: str) -> SandboxFailure:
    kind = PLAIN.get(tag)
    return BrokerRefused(sentence, tag=tag) if kind is None else kind(sentence)
