"""What must hold at the end of a chaos run, whatever was killed. Pure: history in, violations out.

A violation is a sentence that names the session and what it is about. None is the only good answer.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from orchestrator.protocol.control_events import (
    CheckpointTaken,
    PromptAccepted,
    PromptRemoved,
    SandboxLost,
    TurnStarted,
)
from orchestrator.protocol.events import Event
from orchestrator.protocol.ids import ClientId, TurnId
from orchestrator.protocol.sandbox_events import TurnEnded
from tests.chaos.player import Sent


def each_prompt_has_one_outcome(events: Iterable[Event], *, name: str) -> list[str]:
    """Accepted once; then removed once, or one turn that ended once."""
    wrong: list[str] = []
    accepted = Counter(e.client_id for e in events if isinstance(e, PromptAccepted))
    removed = Counter(e.client_id for e in events if isinstance(e, PromptRemoved))
    turns: dict[ClientId, list[TurnId]] = {}
    for event in events:
        if isinstance(event, TurnStarted):
            turns.setdefault(event.client_id, []).append(event.turn_id)
    ended = Counter(e.turn_id for e in events if isinstance(e, TurnEnded))
    for prompt, times in accepted.items():
        outcomes = removed[prompt] + sum(ended[turn] for turn in turns.get(prompt, []))
        if times != 1:
            wrong.append(f"{name}: prompt {prompt} was accepted {times} times")
        if outcomes != 1:
            wrong.append(f"{name}: prompt {prompt} has {outcomes} outcomes")
    started = {turn for of_prompt in turns.values() for turn in of_prompt}
    wrong += [f"{name}: turn {turn} ended and never began" for turn in ended if turn not in started]
    return wrong


def confirmed_prompts_are_kept(
    events: Iterable[Event], sent: Iterable[Sent], *, name: str
) -> list[str]:
    accepted = {e.client_id for e in events if isinstance(e, PromptAccepted)}
    return [
        f"{name}: prompt {one.client_id} was confirmed and is not in the log"
        for one in sent
        if one.confirmed and one.client_id not in accepted
    ]


def browsers_saw_the_log(
    log: Mapping[int, bytes], seen: Mapping[int, bytes], *, name: str
) -> list[str]:
    """Byte for byte: what a browser was shown as durable is what is kept, under the same number."""
    return [
        f"{name}: seq {seq} was shown and is {'another' if seq in log else 'not'} in the log"
        for seq, body in sorted(seen.items())
        if log.get(seq) != body
    ]


def log_is_in_order(numbers: Iterable[int], *, name: str) -> list[str]:
    before, wrong = 0, []
    for seq in numbers:
        if seq <= before:
            wrong.append(f"{name}: seq {seq} after {before}")
        before = seq
    return wrong


def files_are_as_written(
    events: list[tuple[int, Event]], sent: Mapping[ClientId, Sent], journal: str, *, name: str
) -> list[str]:
    """A line that a completed turn wrote and a checkpoint kept is there; none is there more often
    than it was tried to write it; none that nobody wrote."""
    lines = Counter(line for line in journal.splitlines() if line)
    tried = Counter(
        sent[e.client_id].token
        for _, e in events
        if isinstance(e, TurnStarted) and e.client_id in sent and sent[e.client_id].writes
    )
    safe = _kept([event for _, event in events], sent)
    wrong = [f"{name}: {token} was kept and is lost" for token in sorted(safe) if not lines[token]]
    wrong += [
        f"{name}: {line!r} is there {times} times, and was written {tried[line]} times"
        for line, times in sorted(lines.items())
        if times > tried[line]
    ]
    return wrong


def _kept(events: Iterable[Event], sent: Mapping[ClientId, Sent]) -> set[str]:
    """What was written in a sandbox before that one was kept: what it held at its death is gone."""
    by_turn: dict[TurnId, ClientId] = {}
    written, kept = set[str](), set[str]()
    for event in events:
        match event:
            case TurnStarted(turn_id=turn, client_id=prompt):
                by_turn[turn] = prompt
            case TurnEnded(turn_id=turn, outcome="completed"):
                one = sent.get(by_turn.get(turn, ClientId("")))
                written |= {one.token} if one is not None and one.writes else set()
            case CheckpointTaken():
                kept |= written
            case SandboxLost():
                written = set()
    return kept


def model_remembers(
    events: list[tuple[int, Event]], sent: Mapping[ClientId, Sent], conversation: str, *, name: str
) -> list[str]:
    """All that was said in completed turns is in what the model is sent with the last prompt."""
    by_turn = {e.turn_id: e.client_id for _, e in events if isinstance(e, TurnStarted)}
    completed = [
        sent[prompt].token
        for _, e in events
        if isinstance(e, TurnEnded)
        and e.outcome == "completed"
        and (prompt := by_turn.get(e.turn_id, ClientId(""))) in sent
    ]
    return [f"{name}: the model forgot {token}" for token in completed if token not in conversation]


def states_are_well(states: Mapping[str, str]) -> list[str]:
    return [
        f"{name}: the session is {state}"
        for name, state in states.items()
        if state not in ("idle", "hibernated")
    ]


def log_is_clean(text: str) -> list[str]:
    """What a control plane never says of itself, however its world breaks."""
    signs = (
        "Task exception was never retrieved",
        "session.reading_failed",
        "session.end_failed",
        "internal_error",
        "was never awaited",
        "Traceback (most recent call last)",
    )
    said = [(sign, line) for line in text.splitlines() for sign in signs if sign in line]
    times = Counter(sign for sign, _ in said)
    first = dict(reversed(said))
    return [f"the log says {s!r} {n} times, first: {first[s][:2000]}" for s, n in times.items()]
