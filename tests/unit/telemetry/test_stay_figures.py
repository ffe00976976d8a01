"""How sessions outlive their sandboxes, in figures, in the log and in the audit log."""

import io
import json
import logging

import pytest
import structlog
from prometheus_client import CollectorRegistry

from orchestrator.protocol.control_events import (
    CheckpointFailed,
    CheckpointTaken,
    LimitReached,
    OutOfMemory,
    PromptLetGo,
    PromptUnfinished,
    RecoveryStopped,
    SandboxAssigned,
    SandboxLost,
    SessionEnded,
    SessionHibernated,
    WentBack,
)
from orchestrator.protocol.sandbox_events import AgentResumed, McpServerFailed, MirrorFailed
from orchestrator.sessions.ports import SessionRecord
from orchestrator.telemetry.audit_watchers import SessionAudit
from orchestrator.telemetry.line_allowance import LINES_AT_ONCE
from orchestrator.telemetry.logs import configure_logs
from orchestrator.telemetry.metrics import Metrics
from orchestrator.telemetry.session_log import SessionLog
from orchestrator.telemetry.settings import TelemetrySettings
from orchestrator.telemetry.stay_figures import MAX_REMEMBERED, MAX_TAGS, StayFigures
from orchestrator.testing.memory_audit import MemoryAudit


def session(session_id="s1"):
    return SessionRecord(
        id=session_id,
        owner="u1",
        title="a secret plan",
        profile="default",
        state="idle",
        created_at="",
        updated_at="",
    )


SESSION = session()
LOST = SandboxLost(tag="oom", sentence="It ran out of memory.")
BACK = SandboxAssigned(sandbox_id="x", reason="recovered")


class Figures:
    def __init__(self):
        self.registry = CollectorRegistry()
        self.now = 0.0
        self.figures = StayFigures(self.registry, now=lambda: self.now)

    def tell(self, *events, about=SESSION):
        for event in events:
            self.figures.happened(about, event)

    def state(self, before, after):
        self.figures.state_changed(SESSION, before=before, after=after)

    def __call__(self, name, **labels):
        return self.registry.get_sample_value(f"casemate_{name}", labels) or 0


@pytest.fixture
def figures():
    return Figures()


@pytest.mark.parametrize(
    ("events", "outcome"),
    [
        ([LOST, BACK], "recovered"),
        ([LOST, LOST], "lost_again"),
        ([LOST, RecoveryStopped(deaths=3, sentence="")], "stopped"),
        ([LOST, SessionHibernated(reason="shutdown", sentence="")], "asleep"),
        ([LOST, SessionEnded(tag="storage_failed", sentence="")], "ended"),
    ],
)
def test_each_death_has_one_outcome(figures, events, outcome):
    """By its tag, and by what came of it; what comes later is no second outcome."""
    figures.tell(*events, BACK, SessionEnded(tag="ended_by_user", sentence=""))
    assert figures("sandbox_deaths_total", tag="oom") == events.count(LOST)
    assert figures("recoveries_total", tag="oom", outcome=outcome) == 1
    outcomes = ("recovered", "lost_again", "stopped", "asleep", "ended")
    total = sum(figures("recoveries_total", tag="oom", outcome=one) for one in outcomes)
    assert total == events.count(LOST)


def test_waking_is_timed_from_its_beginning(figures):
    """By why it woke, also where sandboxes died on the way."""
    figures.state("hibernated", "waking")
    figures.now = 0.4
    figures.state("waking", "waking")
    figures.tell(LOST)
    figures.now = 0.75
    figures.tell(SandboxAssigned(sandbox_id="x", reason="woken"))
    assert figures("wake_seconds_count", reason="woken") == 1
    assert figures("wake_seconds_sum", reason="woken") == 0.75
    figures.tell(SandboxAssigned(sandbox_id="y", reason="recycled"))
    assert figures("wake_seconds_count", reason="recycled") == 0


def test_sleep_checkpoints_limits_and_failures_are_counted(figures):
    """Each under its own closed word; bytes and seconds as histograms."""
    figures.tell(
        SessionHibernated(reason="idle", sentence=""),
        CheckpointTaken(checkpoint_id="k", size=2048, entries=1, took_ms=250),
        CheckpointFailed(tag="checkpoint_too_large", sentence=""),
        LimitReached(limit="memory", sentence=""),
        OutOfMemory(sentence=""),
        McpServerFailed(server="docs", why="died"),
        MirrorFailed(error="x"),
    )
    assert figures("hibernations_total", reason="idle") == 1
    assert figures("checkpoint_bytes_sum") == 2048
    assert figures("checkpoint_seconds_sum") == 0.25
    assert figures("checkpoint_failures_total", tag="checkpoint_too_large") == 1
    assert figures("limits_reached_total", limit="memory") == 1
    assert figures("out_of_memory_total") == 1
    assert figures("mcp_server_failures_total", why="died") == 1
    assert figures("transcript_mirror_errors_total") == 1


def test_nothing_grows_without_a_bound(figures):
    """Neither the labels, however many words there are, nor what is remembered of sessions."""
    for n in range(MAX_TAGS + 20):
        figures.tell(SandboxLost(tag=f"made-up-{n}", sentence=""), about=session(f"s{n}"))
    assert figures("sandbox_deaths_total", tag="other") == 20
    for n in range(MAX_REMEMBERED + 5):
        figures.figures.state_changed(session(f"w{n}"), before="hibernated", after="waking")
    assert len(figures.figures._waking_since) == MAX_REMEMBERED


def test_they_are_part_of_the_metrics():
    """What Prometheus scrapes has them."""
    metrics = Metrics()
    metrics.happened(SESSION, LOST)
    metrics.state_changed(SESSION, before=None, after="waking")
    assert b'casemate_sandbox_deaths_total{tag="oom"} 1.0' in metrics.render()[0]


def test_what_a_person_did_with_a_session_is_audited():
    """Going back, letting go, putting to sleep; not that it fell asleep by itself."""
    trail = MemoryAudit()
    watcher = SessionAudit(trail)
    for event in (
        WentBack(checkpoint_id="k1", by="ada", branch=1),
        PromptLetGo(client_id="c1", by="ada"),
        SessionHibernated(reason="asked", sentence=""),
        SessionHibernated(reason="idle", sentence=""),
        PromptUnfinished(client_id="c1", text="a secret", by="ada", sentence=""),
    ):
        watcher.happened(SESSION, event)
    assert trail.actions == ["session.went_back", "prompt.let_go", "session.hibernated"]
    assert {fact.actor for fact in trail.facts} == {"user/u1"}
    assert {fact.object for fact in trail.facts} == {"session/s1"}
    assert "secret" not in str(trail.facts)


@pytest.fixture
def lines():
    """The log as it is written, decoded."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs(TelemetrySettings(log_level="debug"), stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_the_log_tells_it_without_anybodys_words(lines):
    """One line each, with tags, ids and counts alone."""
    log = SessionLog()
    for event in (
        LOST,
        RecoveryStopped(deaths=3, sentence="private"),
        SessionHibernated(reason="memory", sentence="private"),
        SandboxAssigned(sandbox_id="x", reason="woken", restored_bytes=5),
        AgentResumed(agent_session_id="private", took_ms=7),
        PromptUnfinished(client_id="c", text="private", by="ada", sentence="private"),
        PromptLetGo(client_id="c", by="ada"),
        WentBack(checkpoint_id="k", by="ada", branch=1),
        CheckpointTaken(checkpoint_id="k", size=1, entries=1),
        CheckpointFailed(tag="t", sentence="private"),
        LimitReached(limit="memory", sentence="private"),
        OutOfMemory(sentence="private"),
        McpServerFailed(server="docs\x1b", why="died", text="private"),
    ):
        log.happened(SESSION, event)
    said = lines()
    assert [line["event"] for line in said] == [
        "sandbox.lost",
        "recovery.stopped",
        "session.hibernated",
        "sandbox.assigned",
        "agent.resumed",
        "prompt.left_unfinished",
        "prompt.let_go",
        "session.went_back",
        "checkpoint.taken",
        "checkpoint.failed",
        "limit.reached",
        "sandbox.ran_out_of_memory",
        "mcp_server.failed",
    ]
    assert "private" not in str(said)
    assert "\x1b" not in str(said)


def test_a_sandbox_whose_servers_fail_all_day_fills_no_log(lines):
    """What it can cause as often as it likes has the allowance of what it says."""
    log = SessionLog()
    for n in range(1_000):
        log.happened(SESSION, McpServerFailed(server=f"s{n}", why="died"))
    assert len(lines()) < 2 * LINES_AT_ONCE


def test_steps_are_counted_by_outcome():
    """Freezes, wakes and their like, each with what came of it; outcomes are a closed set."""
    figures = Figures()
    for outcome in ("done", "done", "stuck"):
        figures.figures.step_taken("freeze", outcome)
    for number in range(MAX_TAGS + 5):
        figures.figures.step_taken("wake", f"why-{number}")
    registry = figures.registry

    def count(step, outcome):
        labels = {"step": step, "outcome": outcome}
        return registry.get_sample_value("casemate_stay_steps_total", labels)

    assert (count("freeze", "done"), count("freeze", "stuck")) == (2, 1)
    assert count("wake", "other") == 7
