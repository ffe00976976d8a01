"""Logs, figures and health."""

import io
import json
import logging

import pytest
import structlog

from orchestrator.accounts.events import AccountEvent
from orchestrator.protocol.control_events import (
    SandboxLost,
    SessionEnded,
    TurnStarted,
    UpstreamFailed,
    UsageMetered,
)
from orchestrator.protocol.event_parts import Usage
from orchestrator.protocol.ids import ClientId, ProfileName, SessionId, TurnId, UserId
from orchestrator.protocol.sandbox_events import (
    AgentDied,
    BlockDelta,
    CommandFailed,
    TextWritten,
    TurnEnded,
)
from orchestrator.sessions.ports import SessionRecord
from orchestrator.telemetry.account_log import AccountLog
from orchestrator.telemetry.health import (
    PoolFigures,
    broker_check,
    database_check,
    pool_check,
    summary,
)
from orchestrator.telemetry.line_allowance import LINES_AT_ONCE
from orchestrator.telemetry.logs import configure_logs
from orchestrator.telemetry.metrics import MAX_MODELS, Metrics
from orchestrator.telemetry.redaction import REDACTED, redact
from orchestrator.telemetry.session_log import MAX_WORD, SessionLog
from orchestrator.telemetry.settings import TelemetrySettings

SESSION = SessionRecord(
    id=SessionId("s1"),
    owner=UserId("u1"),
    title="private title",
    profile=ProfileName("default"),
    state="running",
    created_at="",
    updated_at="",
)
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"


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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("password", "x"),
        ("new_password", "x"),
        ("access_token", "x"),
        ("refresh_token", "x"),
        ("Authorization", "x"),
        ("cookies", {"a": "x"}),
        ("set_cookie", ["x"]),
        ("api_key", "x"),
        ("ANTHROPIC_API_KEY", "x"),
        ("client_secret", "x"),
        ("csrf_token", "x"),
        ("code", "x"),
        ("headers", {"Authorization": "x"}),
        ("nested", {"deep": [{"password": "x"}]}),
    ],
)
def test_fields_with_secret_names_are_redacted(name, value):
    """At whatever depth, whatever is in them."""
    said = redact(None, "info", {"event": "e", name: value})
    assert REDACTED in str(said)
    assert "'x'" not in str(said)


@pytest.mark.parametrize(
    "secret",
    [
        JWT,
        "sk-ant-api03-abcdefghijklmnop",
        "0" * 32 + "." + "A" * 43,
        "Bearer abcdefgh12345",
        "bearer abcdefgh12345",
        "$argon2id$v=19$m=47104,t=1,p=1$c2FsdA$aGFzaA",
    ],
)
def test_values_that_look_like_secrets_are_redacted(secret):
    """In any field, in the event, in an exception's text, in an object's repr."""

    class Holder:
        def __repr__(self):
            return f"Holder({secret})"

    said = redact(
        None,
        "info",
        {
            "event": f"got {secret}",
            "url": f"/x?t={secret}",
            "raw": secret.encode(),
            "object": Holder(),
            "list": [f"a {secret}"],
        },
    )
    assert secret not in str(said)


def test_counts_of_tokens_are_no_secrets():
    """What only sounds like a secret stays readable."""
    fields = {"input_tokens": 5, "tokens": 7, "max_tokens": "64000", "session_id": "0" * 32}
    assert redact(None, "info", dict(fields)) == fields


def test_a_line_is_json_with_its_fields(lines):
    """Ours and the libraries' come out alike, with level, time and context."""
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.stdlib.get_logger("casemate.test").info("thing.done", session_id="s1")
    logging.getLogger("some.library").warning("plain %s", "text", extra={"session_id": "s2"})
    ours, theirs = lines()
    assert (ours["event"], ours["session_id"], ours["request_id"]) == ("thing.done", "s1", "r1")
    assert (ours["level"], ours["logger"]) == ("info", "casemate.test")
    assert ours["timestamp"].endswith("Z")
    assert (theirs["event"], theirs["session_id"]) == ("plain text", "s2")


def test_tracebacks_show_no_secret(lines):
    """An exception that carries a token is logged without it."""
    try:
        int(f"Bearer {JWT}")
    except ValueError:
        structlog.stdlib.get_logger("casemate.test").exception("thing.failed")
    assert JWT not in str(lines())
    assert "ValueError" in lines()[0]["exception"]


def test_sessions_are_logged_without_their_contents(lines):
    """Turns and troubles with ids and tags; never a prompt, an answer or a title."""
    log = SessionLog()
    for event in (
        TurnStarted(turn_id=TurnId("t1"), client_id=ClientId("c1")),
        TextWritten(message_id="m", index=0, text="private answer"),
        TurnEnded(turn_id=TurnId("t1"), outcome="completed", text="private answer"),
        SandboxLost(tag="oom", sentence="private sentence"),
    ):
        log.happened(SESSION, event)
    log.state_changed(SESSION, before="idle", after="running")
    said = lines()
    assert [line["event"] for line in said] == [
        "turn.started",
        "turn.ended",
        "sandbox.lost",
        "session.state_changed",
    ]
    assert all(line["session_id"] == "s1" for line in said)
    assert "private" not in str(said)


def test_a_sandbox_cannot_flood_the_log(lines):
    """Its names are short and printable in it, its lines are counted, and what people and the
    control plane did is written all the same, with how many lines were left out."""
    log = SessionLog()
    for _ in range(1_000):
        log.happened(SESSION, CommandFailed(command="\x1b[2J\n" + "x" * 100_000, text="private"))
    log.happened(SESSION, AgentDied(exit_code=10**1000))
    ended = TurnEnded(turn_id=TurnId("t1"), outcome="completed", duration_ms=10**1000)
    Metrics().happened(SESSION, ended)
    log.happened(SESSION, SessionEnded(tag="ended_by_user", sentence="private"))
    said = lines()
    failed = [line for line in said if line["event"] == "command.failed"]
    assert LINES_AT_ONCE <= len(failed) < 2 * LINES_AT_ONCE
    assert all(len(line["command"]) <= MAX_WORD + 1 for line in failed)
    assert "\x1b" not in str(said)
    assert said[-1]["event"] == "session.ended"
    assert len(said) + sum(line.get("lines_left_out", 0) for line in said) == 1_002
    log.state_changed(SESSION, before="ended", after=None)


def test_accounts_are_logged_and_counted(lines):
    """Refusals warn; each event reaches the figures too."""
    metrics = Metrics()
    AccountLog(metrics).account_event(AccountEvent(name="sign_in.refused", address="192.0.2.1"))
    assert lines()[0]["level"] == "warning"
    assert lines()[0]["address"] == "192.0.2.1"
    assert sample(metrics, "casemate_account_events_total", event="sign_in.refused") == 1


def sample(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


def test_turns_are_measured():
    """The first piece of an answer stops the clock; the end counts by outcome."""
    metrics = Metrics()
    turn = TurnId("t1")
    metrics.happened(SESSION, TurnStarted(turn_id=turn, client_id=ClientId("c")))
    for _ in range(2):
        delta = BlockDelta(message_id="m", index=0, kind="text", offset=0, text="a")
        metrics.happened(SESSION, delta)
    metrics.happened(SESSION, TurnEnded(turn_id=turn, outcome="failed", duration_ms=1500))
    assert sample(metrics, "casemate_first_token_seconds_count") == 1
    assert sample(metrics, "casemate_turns_total", outcome="failed") == 1
    assert sample(metrics, "casemate_turn_seconds_sum") == 1.5


def test_sessions_are_counted_by_state():
    """As they come, change and go; none is left over."""
    metrics = Metrics()
    for before, after in ((None, "idle"), ("idle", "running"), ("running", "ended")):
        metrics.state_changed(SESSION, before=before, after=after)
    assert sample(metrics, "casemate_sessions", state="ended") == 1
    metrics.state_changed(SESSION, before="ended", after=None)
    states = ("idle", "running", "ended")
    assert [sample(metrics, "casemate_sessions", state=state) for state in states] == [0, 0, 0]


def test_models_that_a_sandbox_makes_up_fill_no_registry():
    """A model's name becomes a label only so often, then counts as `other`."""
    metrics = Metrics()
    for n in range(MAX_MODELS + 20):
        usage = UsageMetered(model=f"m{n}", usage=Usage(input_tokens=1), cost_usd=0.5)
        metrics.happened(SESSION, usage)
    assert sample(metrics, "casemate_model_tokens_total", model="other", kind="input") == 20
    assert sample(metrics, "casemate_model_cost_usd_total", model="other") == 10


def test_numbers_that_cannot_be_do_no_harm():
    """Negative counts and durations, as a broken sandbox could cause, are taken for zero."""
    metrics = Metrics()
    bad = UsageMetered(model="m", usage=Usage(output_tokens=-5), cost_usd=-1.0)
    metrics.happened(SESSION, bad)
    metrics.happened(SESSION, TurnEnded(turn_id=TurnId("t"), outcome="failed", duration_ms=-1))
    failed = UpstreamFailed(tag="overloaded", sentence="", advice="")
    metrics.happened(SESSION, failed)
    assert sample(metrics, "casemate_upstream_failures_total", tag="overloaded") == 1


def test_two_registries_do_not_meet():
    """There is no global state: figures of one object never show in another."""
    one, other = Metrics(), Metrics()
    one.pool_measured(ProfileName("default"), ready=2, starting=1, claimed=3, waiting=4)
    labels = {"profile": "default", "state": "ready"}
    assert sample(one, "casemate_pool_sandboxes", **labels) == 2
    assert sample(other, "casemate_pool_sandboxes", **labels) is None
    body, kind = one.render()
    assert b"casemate_pool_waiting" in body
    assert kind.startswith("text/plain")


def test_the_pools_watcher_is_implemented():
    """Each call of the sandboxes' observer is counted."""
    metrics, default = Metrics(), ProfileName("default")
    metrics.claim_waited(default, seconds=0.002)
    metrics.claim_refused(default)
    metrics.sandbox_started(default, seconds=1.5)
    metrics.sandbox_failed(default, reason="too_slow")
    metrics.sandbox_ended(default, reason="oom")
    assert sample(metrics, "casemate_claim_seconds_count", profile="default") == 1
    failures = {"profile": "default", "reason": "too_slow"}
    assert sample(metrics, "casemate_sandbox_start_failures_total", **failures) == 1


@pytest.mark.parametrize(
    ("pool", "status"),
    [
        (PoolFigures(profile="p", min=0, ready=0, claimed=0), "ok"),
        (PoolFigures(profile="p", min=2, ready=1, claimed=0), "ok"),
        (PoolFigures(profile="p", min=2, ready=0, claimed=1), "ok"),
        (PoolFigures(profile="p", min=2, ready=0, claimed=0), "failed"),
        (PoolFigures(profile="p", min=2, ready=0, claimed=0, reached_ready=True), "ok"),
        (PoolFigures(profile="p", min=2, ready=0, claimed=0, problem="No image."), "failed"),
    ],
)
def test_a_pool_is_ready_once_it_had_a_sandbox(pool, status):
    """Starting is not ready; busy is; what cannot start says why."""
    check = pool_check(pool)
    assert check.status == status
    assert bool(check.sentence) or status == "ok"
    if pool.problem:
        assert check.sentence == pool.problem


def test_one_failed_check_fails_the_whole():
    """And each keeps its own sentence."""
    health = summary([database_check(answers=True), broker_check("The broker went away.")])
    assert health.status == "failed"
    assert summary([database_check(answers=True)]).status == "ok"
    assert summary([]).status == "ok"


def test_an_outage_is_one_opening():
    """Told again at each attempt that fails, it is counted once; the gauge follows it."""
    metrics = Metrics()
    for is_open in (True, True, False, True):
        metrics.upstream_state(is_open=is_open)
    text = metrics.render()[0].decode()
    assert "casemate_upstream_openings_total 2.0" in text
    assert "casemate_upstream_open 1.0" in text
