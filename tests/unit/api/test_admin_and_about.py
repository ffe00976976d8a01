"""Pools, users, the about page, health and metrics."""

import pytest

from orchestrator.api.settings import ApiSettings
from orchestrator.telemetry.health import broker_check, database_check

ADMIN = "/api/v1/admin"


@pytest.fixture
def admin(door):
    return door.browser("root").client


def test_pools_are_shown_and_resized(admin):
    """Sizes change at once; unknown profiles and impossible bodies are refused."""
    assert admin.get(f"{ADMIN}/pools").json()["pools"][0]["min"] == 2
    figures = admin.get(f"{ADMIN}/pools").json()["sessions"]
    assert figures == {"awake": 0, "frozen": 0, "hibernated": 0, "adopted": 0}
    resized = admin.put(f"{ADMIN}/pools/default", json={"min": 3, "max": 9})
    assert (resized.json()["min"], resized.json()["max"]) == (3, 9)
    assert admin.put(f"{ADMIN}/pools/nope", json={"min": 1, "max": 1}).status_code == 404
    for body in ({"min": -1, "max": 1}, {"min": 1}, {"min": 1, "max": 10**9}, {"max": "x"}):
        assert admin.put(f"{ADMIN}/pools/default", json=body).status_code == 422


def test_operators_read_and_do_not_change(door):
    """An operator sees pools and users and changes neither."""
    operator = door.browser("olga").client
    assert operator.get(f"{ADMIN}/pools").status_code == 200
    assert operator.get(f"{ADMIN}/users").status_code == 200
    assert operator.put(f"{ADMIN}/pools/default", json={"min": 0, "max": 0}).status_code == 403
    assert operator.post(f"{ADMIN}/users", json={"name": "eve"}).status_code == 403


def test_users_are_added_and_invited(admin, door):
    """A new user without a password gets a link that leads to the page, once."""
    made = admin.post(f"{ADMIN}/users", json={"name": "Grace", "role": "operator"})
    assert made.status_code == 201
    assert made.json()["name"] == "grace"
    assert "password_hash" not in made.text
    again = admin.post(f"{ADMIN}/users", json={"name": "grace"})
    assert (again.status_code, again.json()["tag"]) == (409, "name_taken")
    link = admin.post(f"{ADMIN}/users/{made.json()['id']}/link", json={}).json()
    prefix, code = link["url"].split("#link=")
    assert prefix == f"{door.url}/"
    signed_in = door.anonymous.post("/api/v1/auth/link", json={"code": code})
    assert signed_in.json()["role"] == "operator"


def test_users_are_listed_in_pages(admin):
    """`next_cursor` leads through all of them by name."""
    names, cursor = [], ""
    while cursor is not None:
        page = admin.get(f"{ADMIN}/users?limit=3{cursor and f'&cursor={cursor}'}").json()
        names += [user["name"] for user in page["users"]]
        cursor = page["next_cursor"]
    assert names == ["ada", "bob", "olga", "root"]


@pytest.mark.parametrize(
    "body",
    [
        {"role": "owner"},
        {"id": "x"},
        {"version": 9},
        {"password_hash": "x"},
        {"name": "x"},
        {"disabled": "yes"},
    ],
    ids=str,
)
def test_only_what_may_be_changed_is_taken(admin, door, body):
    """Smuggled, unknown and mistyped fields are refused (mass assignment)."""
    ada = door.run(door.accounts.find_user("ada"))
    assert admin.patch(f"{ADMIN}/users/{ada.id}", json=body).status_code == 422
    assert door.run(door.accounts.find_user("ada")) == ada


def test_nobody_promotes_themselves_and_one_admin_stays(admin, door):
    """An admin changes neither their own role nor standing; a user reaches none of it."""
    root = door.run(door.accounts.find_user("root"))
    for body in ({"role": "user"}, {"disabled": True}):
        answer = admin.patch(f"{ADMIN}/users/{root.id}", json=body)
        assert (answer.status_code, answer.json()["tag"]) == (409, "not_on_yourself")
    ada = door.run(door.accounts.find_user("ada"))
    own = door.browser("ada").client.patch(f"{ADMIN}/users/{ada.id}", json={"role": "admin"})
    assert own.status_code == 403


def test_about_says_where_answers_come_from(door):
    """Without a key everybody is told that answers are scripted."""
    about = door.anonymous.get("/api/v1/about", headers=door.bearer("ada")).json()
    assert (about["version"], about["model"]) == ("1.2.3", "scripted")
    assert "script" in about["notices"][0]
    assert about["profiles"][0]["name"] == "default"
    profiles = door.anonymous.get("/api/v1/profiles", headers=door.bearer("ada")).json()
    assert profiles == about["profiles"]


def test_health_tells_live_from_ready(door):
    """Live is always 200; ready is 503 with a sentence while something is missing."""
    door.health.checks = [database_check(answers=True), broker_check("The broker went away.")]
    assert door.anonymous.get("/health/live").status_code == 200
    ready = door.anonymous.get("/health/ready")
    assert ready.status_code == 503
    failed = [check for check in ready.json()["checks"] if check["status"] == "failed"]
    assert [check["name"] for check in failed] == ["broker"]
    door.health.checks = [database_check(answers=True)]
    assert door.anonymous.get("/health/ready").json()["status"] == "ok"


def test_metrics_are_for_staff_and_for_the_token(make_door):
    """Neither strangers nor users read the metrics; operators and the token's holder do."""
    door = make_door(api=ApiSettings(metrics_token="scrape-me-please"))
    door.add("ada")
    door.add("olga", "operator")
    assert door.anonymous.get("/metrics").status_code == 401
    assert door.anonymous.get("/metrics", headers=door.bearer("ada")).status_code == 403
    for headers in ({"Authorization": "Bearer scrape-me-please"}, door.bearer("olga")):
        answer = door.anonymous.get("/metrics", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
    assert 'route="/api/v1/auth/token"' in answer.text
    bad = {"Authorization": "Bearer scrape-me-pleasE"}
    assert door.anonymous.get("/metrics", headers=bad).status_code == 401


def test_without_a_metrics_token_an_empty_one_opens_nothing(door):
    """No token set means that none fits."""
    assert door.anonymous.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 401


def test_paths_that_callers_make_up_are_no_labels(door):
    """Metrics count by the route's template, so that nobody can fill the registry."""
    for n in range(50):
        door.anonymous.get(f"/api/v1/made-up-{n}")
        door.anonymous.request(f"VERB{n}", "/api/v1/about")
        door.anonymous.get(f"/api/v1/sessions/made-up-{n}", headers={})
    exposition = door.metrics.render()[0].decode()
    assert "made-up" not in exposition
    assert "VERB" not in exposition
