"""The audit log and the refused hosts, as those who run Casemate read them."""

import pytest

from orchestrator.accounts.audit import AuditFact
from orchestrator.protocol.control_events import EgressRefused

ADMIN = "/api/v1/admin"


def test_the_audit_log_is_read_in_pages(door):
    """Newest first; `next_cursor` is the next `before`; filters hold."""
    for n in range(7):
        door.audit.record(AuditFact(action="user.changed", actor="command line", detail=str(n)))
    door.audit.record(AuditFact(action="pool.resized", actor="ada"))
    admin = door.browser("root").client
    seen, before = [], ""
    while before is not None:
        query = f"limit=3&action=user.changed{before and f'&before={before}'}"
        page = admin.get(f"{ADMIN}/audit?{query}").json()
        seen += [entry["detail"] for entry in page["entries"]]
        before = page["next_cursor"]
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]
    [entry] = admin.get(f"{ADMIN}/audit?actor=ada").json()["entries"]
    fields = {"seq", "at", "actor", "action", "object", "result", "address", "detail"}
    assert set(entry) == fields
    assert entry["action"] == "pool.resized"


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=9999", "before=0", "before=x", f"before={1 << 70}", "actor=" + "x" * 200],
)
def test_impossible_pages_are_refused(door, query):
    """422, with problem details."""
    answer = door.browser("root").client.get(f"{ADMIN}/audit?{query}")
    assert answer.status_code == 422


def test_the_audit_log_is_for_admins_alone(door):
    """Operators and users do not read who did what."""
    for name in ("ada", "olga"):
        assert door.browser(name).client.get(f"{ADMIN}/audit").status_code == 403


def test_who_resizes_a_pool_is_recorded(door):
    """With the new sizes; a refused wish is not."""
    client = door.browser("root").client
    client.put(f"{ADMIN}/pools/nope", json={"min": 1, "max": 2})
    client.put(f"{ADMIN}/pools/default", json={"min": 1, "max": 2})
    root = door.run(door.accounts.find_user("root"))
    [fact] = door.audit.facts
    assert (fact.action, fact.actor) == ("pool.resized", f"user/{root.id}")
    assert (fact.object, fact.detail) == ("profile/default", "min 1, max 2")


def test_refused_hosts_are_for_staff(door):
    """Operators and admins see what sandboxes may not reach; users do not."""
    refused = EgressRefused(host="a.test", port=443, tag="host_not_allowed", sentence="x", count=3)
    door.refused_hosts.add("default", refused)
    for name in ("olga", "root"):
        answer = door.browser(name).client.get(f"{ADMIN}/egress").json()
        [row] = answer["refusals"]
        assert (row["profile"], row["host"], row["port"]) == ("default", "a.test", 443)
        assert (row["tag"], row["count"]) == ("host_not_allowed", 3)
        assert row["first_at"] == row["last_at"]
        assert answer["dropped"] == 0
    assert door.browser("ada").client.get(f"{ADMIN}/egress").status_code == 403
