"""The states of a session and the steps between them. Pure.

    waiting ──assigned──▶ idle ◀──turn_over── running ◀──answered── asking
       ▲                   └──turn_started──▶    └──────asked──────▶  │
       │  ┌────────────────┴──lost, exchanged──┬──────────────────────┘
       │  ▼                                    │ rested
    waking ──assigned──▶ idle (and on)         ▼
       ▲ └───────────────rested──────────▶ hibernated
       └──────────────────woken────────────────┘
    any of them ──end_asked──▶ ending ──▶ ended    failed

A step that does not fit the state changes nothing: a sandbox may say things late.
"""

from typing import Literal

from orchestrator.protocol.chat import SessionState

Step = Literal[
    "assigned",
    "turn_started",
    "asked",
    "answered",  # the last open question is answered or withdrawn
    "turn_over",
    "lost",  # the sandbox, by nobody's wish
    "exchanged",  # it was given up for another one
    "rested",
    "woken",
    "end_asked",
    "ended",
    "failed",
]

OVER: frozenset[SessionState] = frozenset({"ended", "failed"})
SERVED: frozenset[SessionState] = frozenset({"idle", "running", "asking"})
"""The session has a sandbox that does what it is told."""
LIVE: tuple[SessionState, ...] = ("waiting", "waking", "idle", "running", "asking", "hibernated")
AWAKE: frozenset[SessionState] = frozenset(LIVE) - {"hibernated"}

STEPS: dict[tuple[SessionState, Step], SessionState] = {
    ("waiting", "assigned"): "idle",
    ("waking", "assigned"): "idle",
    ("hibernated", "assigned"): "idle",
    ("idle", "turn_started"): "running",
    ("running", "asked"): "asking",
    ("asking", "answered"): "running",
    ("running", "turn_over"): "idle",
    ("asking", "turn_over"): "idle",
    ("hibernated", "woken"): "waking",
    ("ending", "ended"): "ended",
    ("ending", "failed"): "failed",
    **{(state, "lost"): "waking" for state in SERVED},
    **{(state, "exchanged"): "waking" for state in SERVED},
    **{(state, "rested"): "hibernated" for state in AWAKE},
    **{(state, "end_asked"): "ending" for state in LIVE},
    **{(state, "ended"): "ended" for state in LIVE},
    **{(state, "failed"): "failed" for state in LIVE},
}


def step(state: SessionState, what: Step) -> SessionState:
    """The state after `what`."""
    return STEPS.get((state, what), state)


def is_over(state: SessionState) -> bool:
    return state in OVER
