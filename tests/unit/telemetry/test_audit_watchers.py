"""Which happenings become facts of the audit log, and what is in them."""

import pytest

from orchestrator.accounts.events import AccountEvent
from orchestrator.protocol.control_events import (
    EgressRefused,
    FileUploaded,
    PermissionResolved,
    PromptAccepted,
    SandboxLost,
)
from orchestrator.sessions.ports import SessionRecord
from orchestrator.telemetry.audit_watchers import (
    MAX_ADDRESSES,
    MAX_HOSTS,
    AccountAudit,
    EgressAudit,
    SessionAudit,
    account_fact,
)
from orchestrator.telemetry.metrics import Metrics
from orchestrator.testing.memory_audit import MemoryAudit

SESSION = SessionRecord(
    id="s1",
    owner="u1",
    title="a secret plan",
    profile="default",
    state="running",
    created_at="",
    updated_at="",
)


@pytest.mark.parametrize(
    ("event", "actor", "object_", "result"),
    [
        (AccountEvent(name="sign_in.succeeded", user="u1"), "user/u1", "user/u1", "ok"),
        (AccountEvent(name="sign_in.refused", user="u1"), "user/u1", "user/u1", "refused"),
        (AccountEvent(name="sign_in.refused"), "stranger", "", "refused"),
        (AccountEvent(name="user.changed", user="u1", by="u2"), "user/u2", "user/u1", "ok"),
        (AccountEvent(name="user.changed", user="u1"), "command line", "user/u1", "ok"),
        (AccountEvent(name="sign_in_link.created", user="u1"), "command line", "user/u1", "ok"),
    ],
)
def test_accounts_say_who_did_it_to_whom(event, actor, object_, result):
    """The person themselves, an admin, the machine's own user, or nobody known."""
    found = account_fact(event)
    assert (found.actor, found.object, found.result) == (actor, object_, result)


def test_what_repeats_all_day_is_not_recorded():
    """Refreshes are not; attempts that are held back are, once a minute and address."""
    now = 0.0
    trail = MemoryAudit()
    watcher = AccountAudit(trail, after=Metrics(), now=lambda: now)
    for _ in range(100):
        watcher.account_event(AccountEvent(name="sign_in.refreshed", user="u"))
        watcher.account_event(AccountEvent(name="sign_in.throttled", address="1.2.3.4"))
    watcher.account_event(AccountEvent(name="sign_in.throttled", address="1.2.3.5"))
    assert trail.actions == ["sign_in.throttled"] * 2
    now = 61.0
    watcher.account_event(AccountEvent(name="sign_in.throttled", address="1.2.3.4"))
    assert len(trail.facts) == 3
    for n in range(3 * MAX_ADDRESSES):
        watcher.account_event(AccountEvent(name="sign_in.throttled", address=str(n)))
    assert len(watcher._told) == MAX_ADDRESSES


def test_sessions_tell_decisions_files_and_violations():
    """By whom, on exactly which input, and nothing of what was said."""
    trail = MemoryAudit()
    watcher = SessionAudit(trail)
    for event in (
        PromptAccepted(client_id="c", text="a secret", by="ada"),
        PermissionResolved(
            permission_id="p",
            choice="deny",
            by="ada",
            reason="a secret",
            tool_name="Bash",
            input_hash="abc123",
        ),
        FileUploaded(path="notes.txt", size=7, by="ada"),
        SandboxLost(tag="link_flooded", sentence="The sandbox flooded its link."),
        SandboxLost(tag="out_of_memory", sentence="No."),
    ):
        watcher.happened(SESSION, event)
    watcher.state_changed(SESSION, before=None, after="running")
    assert trail.actions == ["permission.resolved", "file.uploaded", "sandbox.killed"]
    assert trail.facts[0].actor == "user/u1"
    assert trail.facts[0].result == "refused"
    assert "abc123" in trail.facts[0].detail
    assert "secret" not in str(trail.facts)


async def test_refusals_of_the_egress_proxy_are_summed_up():
    """One entry for each host and not for each attempt; a sandbox that makes names up gets few."""
    trail = MemoryAudit()
    refused = EgressRefused(host="a.test", port=443, tag="host_not_allowed", sentence="x")
    async with EgressAudit(trail, seconds=3600) as egress:
        for _ in range(1000):
            egress.refused("s1", "default", refused)
        for n in range(1000):
            made_up = EgressRefused(host=f"{n}.test", port=1, tag="t", sentence="x", count=2)
            egress.refused("s2", "default", made_up)
    assert len(trail.facts) == 1 + MAX_HOSTS + 1
    assert trail.facts[0].object == "host/a.test:443"
    assert "1000 times" in trail.facts[0].detail
    assert trail.facts[0].actor == "session/s1"
    assert trail.facts[-1].detail == f"others, {2 * (1000 - MAX_HOSTS)} times"


def test_refusals_are_counted_without_their_hosts():
    """A label for each host would let a sandbox fill the registry."""
    metrics = Metrics()
    for n in range(50):
        metrics.egress_refused("default", tag="host_not_allowed", count=n)
    exposition = metrics.render()[0].decode()
    line = 'casemate_egress_refused_total{profile="default",tag="host_not_allowed"} 1225.0'
    assert line in exposition
