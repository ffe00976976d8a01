"""The figures that Prometheus scrapes, in a registry of their own.

One object implements the small watchers of the other packages (accounts, api, gateway, sandboxes,
sessions): they tell it what happened, it counts. No method blocks or raises. What an agent can
choose freely (a model's name) becomes a label only so often, then counts as `other`.
"""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from orchestrator.accounts.events import AccountEvent
from orchestrator.protocol.chat import SessionState
from orchestrator.protocol.control_events import TurnStarted, UpstreamFailed, UsageMetered
from orchestrator.protocol.events import Event
from orchestrator.protocol.ids import ProfileName, SessionId
from orchestrator.protocol.sandbox_events import (
    BlockDelta,
    TextWritten,
    ThoughtWritten,
    ToolStarted,
    TurnEnded,
)
from orchestrator.sessions.ports import SessionRecord
from orchestrator.telemetry.stay_figures import StayFigures

CONTENT_TYPE = CONTENT_TYPE_LATEST
MAX_MODELS = 50
OTHER = "other"

QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Seconds. A claim takes milliseconds, or as long as somebody waits."""
LONGEST_TURN_MS = 7 * 24 * 3600 * 1000
"""What a sandbox says beyond this would spoil the sum for everybody, or be no number at all."""
LONG = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """Every figure of this process. `render` gives the exposition."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._models: set[str] = set()
        self._upstream_is_open = False
        self._unanswered_since: dict[SessionId, float] = {}
        """Sessions whose turn has begun and whose answer has not, by `time.monotonic()`."""
        self._make_pool_figures()
        self._make_session_figures()
        self._make_model_figures()
        self._make_door_figures()
        self._stays = StayFigures(self.registry)

    def render(self) -> tuple[bytes, str]:
        """The text exposition, and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE

    # --- sandboxes and pools -----------------------------------------------------------------

    def pool_measured(
        self, profile: ProfileName, *, ready: int, starting: int, claimed: int, waiting: int
    ) -> None:
        self._pool.labels(profile, "ready").set(ready)
        self._pool.labels(profile, "starting").set(starting)
        self._pool.labels(profile, "claimed").set(claimed)
        self._waiting.labels(profile).set(waiting)

    def claim_waited(self, profile: ProfileName, *, seconds: float) -> None:
        self._claim_wait.labels(profile).observe(seconds)

    def claim_refused(self, profile: ProfileName) -> None:
        self._claims_refused.labels(profile).inc()

    def sandbox_started(self, profile: ProfileName, *, seconds: float) -> None:
        self._sandbox_start.labels(profile).observe(seconds)

    def sandbox_failed(self, profile: ProfileName, *, reason: str) -> None:
        self._sandbox_failures.labels(profile, reason).inc()

    def sandbox_ended(self, profile: ProfileName, *, reason: str) -> None:
        self._sandbox_ends.labels(profile, reason).inc()

    # --- sessions ----------------------------------------------------------------------------

    def happened(self, session: SessionRecord, event: Event) -> None:
        self._stays.happened(session, event)
        match event:
            case TurnStarted():
                self._unanswered_since[session.id] = time.monotonic()
            case BlockDelta() | TextWritten() | ThoughtWritten() | ToolStarted():
                began = self._unanswered_since.pop(session.id, None)
                if began is not None:
                    self._first_token.observe(time.monotonic() - began)
            case TurnEnded():
                self._unanswered_since.pop(session.id, None)
                self._turns.labels(event.outcome).inc()
                took_ms = max(0, min(event.duration_ms, LONGEST_TURN_MS))
                self._turn_seconds.observe(took_ms / 1000)
            case UsageMetered():
                self._count_usage(event)
            case UpstreamFailed():
                self._upstream_failures.labels(event.tag).inc()
            case _:
                pass

    def state_changed(
        self, session: SessionRecord, *, before: SessionState | None, after: SessionState | None
    ) -> None:
        self._stays.state_changed(session, before=before, after=after)
        if before is not None:
            self._sessions.labels(before).dec()
        if after is not None:
            self._sessions.labels(after).inc()
        else:
            self._unanswered_since.pop(session.id, None)

    def step_taken(self, step: str, outcome: str) -> None:
        self._stays.step_taken(step, outcome)

    def _count_usage(self, metered: UsageMetered) -> None:
        model = self._model_label(metered.model)
        usage = metered.usage
        self._tokens.labels(model, "input").inc(max(0, usage.input_tokens))
        self._tokens.labels(model, "output").inc(max(0, usage.output_tokens))
        self._tokens.labels(model, "cache_read").inc(max(0, usage.cache_read_tokens))
        self._tokens.labels(model, "cache_write").inc(max(0, usage.cache_write_tokens))
        self._cost.labels(model).inc(max(0.0, metered.cost_usd))

    def egress_refused(self, profile: ProfileName, *, tag: str, count: int) -> None:
        """No host: a sandbox can name as many as it likes."""
        self._egress_refusals.labels(profile, tag).inc(max(0, count))

    def upstream_state(self, *, is_open: bool) -> None:
        """Told again while it is open: only the change counts as an opening."""
        if is_open and not self._upstream_is_open:
            self._upstream_openings.inc()
        self._upstream_is_open = is_open
        self._upstream_open.set(is_open)

    # --- the door: HTTP, sockets, accounts ---------------------------------------------------

    def http_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """`route` is the route's template, never the path that was asked for."""
        self._http.labels(method, route, str(status)).inc()
        self._http_seconds.labels(method, route).observe(seconds)

    def socket_opened(self) -> None:
        self._sockets.inc()

    def socket_closed(self, code: int) -> None:
        self._sockets.dec()
        self._socket_ends.labels(str(code)).inc()

    def account_event(self, event: AccountEvent) -> None:
        self._account_events.labels(event.name).inc()

    # --- making them ---------------------------------------------------------------------------

    def _make_pool_figures(self) -> None:
        registry = self.registry
        self._pool = Gauge(
            "casemate_pool_sandboxes", "Sandboxes.", ["profile", "state"], registry=registry
        )
        self._waiting = Gauge(
            "casemate_pool_waiting", "Sessions that wait.", ["profile"], registry=registry
        )
        self._claim_wait = Histogram(
            "casemate_claim_seconds",
            "From asking for a sandbox to having it.",
            ["profile"],
            buckets=QUICK,
            registry=registry,
        )
        self._claims_refused = Counter(
            "casemate_claims_refused", "Claims that got none.", ["profile"], registry=registry
        )
        self._sandbox_start = Histogram(
            "casemate_sandbox_start_seconds",
            "From creating a sandbox to its client being connected.",
            ["profile"],
            buckets=LONG,
            registry=registry,
        )
        self._sandbox_failures = Counter(
            "casemate_sandbox_start_failures",
            "Sandboxes that never became ready.",
            ["profile", "reason"],
            registry=registry,
        )
        self._sandbox_ends = Counter(
            "casemate_sandbox_ends",
            "Sandboxes that were destroyed or died.",
            ["profile", "reason"],
            registry=registry,
        )

    def _make_session_figures(self) -> None:
        registry = self.registry
        self._sessions = Gauge(
            "casemate_sessions", "Sessions by state.", ["state"], registry=registry
        )
        self._turns = Counter("casemate_turns", "Turns that ended.", ["outcome"], registry=registry)
        self._turn_seconds = Histogram(
            "casemate_turn_seconds", "How long a turn took.", buckets=LONG, registry=registry
        )
        self._first_token = Histogram(
            "casemate_first_token_seconds",
            "From a turn's start to the first piece of its answer.",
            buckets=QUICK,
            registry=registry,
        )

    def _make_model_figures(self) -> None:
        registry = self.registry
        self._tokens = Counter(
            "casemate_model_tokens",
            "Tokens, as the gateway metered them.",
            ["model", "kind"],
            registry=registry,
        )
        self._cost = Counter(
            "casemate_model_cost_usd",
            "US dollars, by the price table.",
            ["model"],
            registry=registry,
        )
        self._upstream_failures = Counter(
            "casemate_upstream_failures",
            "Failures of the model API.",
            ["tag"],
            registry=registry,
        )
        self._upstream_open = Gauge(
            "casemate_upstream_open",
            "1 while nothing is sent to the model API because it is down.",
            registry=registry,
        )
        self._upstream_openings = Counter(
            "casemate_upstream_openings",
            "Outages of the model API, each once.",
            registry=registry,
        )

    def _make_door_figures(self) -> None:
        registry = self.registry
        self._egress_refusals = Counter(
            "casemate_egress_refused",
            "What sandboxes tried to reach and may not.",
            ["profile", "tag"],
            registry=registry,
        )
        self._http = Counter(
            "casemate_http_requests",
            "HTTP requests that were answered.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._http_seconds = Histogram(
            "casemate_http_seconds",
            "From a request to the start of its answer.",
            ["method", "route"],
            buckets=QUICK,
            registry=registry,
        )
        self._sockets = Gauge(
            "casemate_chat_sockets", "WebSockets that are open.", registry=registry
        )
        self._socket_ends = Counter(
            "casemate_chat_socket_ends",
            "WebSockets that closed, by code.",
            ["code"],
            registry=registry,
        )
        self._account_events = Counter(
            "casemate_account_events", "Sign-ins and the like.", ["event"], registry=registry
        )

    def _model_label(self, model: str) -> str:
        if model in self._models:
            return model
        if len(self._models) >= MAX_MODELS:
            return OTHER
        self._models.add(model)
        return model
