"""The states of a session and the steps between them. Pure.

    waiting ──assigned──▶ idle ◀──turn_over── running ◀──answered── asking
       │                   └──turn_started──▶    └──────asked──────▶  │
       └───────────────┬───┴───────────────┬─────┴────────────────────┘
                  end_asked                │
                       ▼                   ▼
                    ending ──▶ ended    failed

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
    "end_asked",
    "ended",
    "failed",
]

OVER: frozenset[SessionState] = frozenset({"ended", "failed"})
LIVE: tuple[SessionState, ...] = ("waiting", "idle", "running", "asking")

STEPS: dict[tuple[SessionState, Step], SessionState] = {
    ("waiting", "assigned"): "idle",
    ("idle", "turn_started"): "running",
    ("running", "asked"): "asking",
    ("asking", "answered"): "running",
    ("running", "turn_over"): "idle",
    ("asking", "turn_over"): "idle",
    ("ending", "ended"): "ended",
    ("ending", "failed"): "failed",
    **{(state, "end_asked"): "ending" for state in LIVE},
    **{(state, "ended"): "ended" for state in LIVE},
    **{(state, "failed"): "failed" for state in LIVE},
}


def step(state: SessionState, what: Step) -> SessionState:
    """The state after `what`."""
    return STEPS.get((state, what), state)


def is_over(state: SessionState) -> bool:
    return state in OVER
