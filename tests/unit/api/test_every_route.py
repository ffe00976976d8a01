"""Every route there is, generated from the application itself: nothing is open by oversight."""

import re
from typing import Any

import pytest

from orchestrator.api.access import ACCESS, Access

ROLES = {"ada": "user", "olga": "operator", "root": "admin"}
UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}


def handlers(door: Any) -> list[tuple[str, str, Any]]:
    return [
        (str(method), route.path_format, handler)
        for route in door.app.routes
        for handler in getattr(route, "route_handlers", [getattr(route, "route_handler", None)])
        for method in getattr(handler, "http_methods", {"WEBSOCKET"})
    ]


def operations(door: Any) -> list[tuple[str, str, str]]:
    document = door.anonymous.get("/api/v1/openapi.json").json()
    return [
        (method.upper(), path, operation["operationId"])
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]


def filled(path: str) -> str:
    return re.sub(r"{[^}]+}", "x1", path)


def call(door: Any, method: str, path: str, headers: dict[str, str] | None = None) -> Any:
    body = {"json": {}} if method in UNSAFE else {}
    if path.endswith("/stream"):
        path = path.replace("x1", "unknown")
    return door.anonymous.request(method, filled(path), headers=headers or {}, **body)


def test_every_named_route_is_in_the_access_table(door):
    """A route that serves anything has its line in the table, and the table has no other lines."""
    named = {h.name for _, path, h in handlers(door) if h.name and "/openapi/" not in path}
    assert named == set(ACCESS)


def test_unlisted_routes_are_closed(door):
    """What is not in the table is closed to everybody: OPTIONS, and the framework's own pages."""
    admin = door.bearer("root")
    unlisted = [(m, p) for m, p, h in handlers(door) if ACCESS.get(h.name or "") is None]
    assert unlisted
    for method, path in unlisted:
        answer = call(door, method, path, admin)
        assert answer.status_code == 404, (method, path, answer.status_code)


def test_nothing_but_the_public_routes_answers_a_stranger(door):
    """Without a token every operation says 401, those excepted that the table calls public."""
    for method, path, name in operations(door):
        if ACCESS[name] is Access.PUBLIC:
            continue
        answer = call(door, method, path)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["tag"] == "not_signed_in"


@pytest.mark.parametrize("token", ["x", "", "a.b.c", "Bearer", "null", "é" * 10, "A" * 9000])
def test_nonsense_for_a_token_opens_nothing(door, token):
    """A bearer token of any shape that is not ours is 401."""
    headers = {"Authorization": f"Bearer {token}".encode()}
    answer = door.anonymous.get("/api/v1/auth/me", headers=headers)
    assert answer.status_code == 401


@pytest.mark.parametrize("name", list(ROLES))
def test_roles_open_what_the_table_says(door, name):
    """For every operation and every role: 403 exactly where the table does not admit the role."""
    headers = door.bearer(name)
    for method, path, operation in operations(door):
        if operation in {"logout", "choose_password", "refresh"}:
            continue
        answer = call(door, method, path, headers)
        admitted = ACCESS[operation].admits(ROLES[name])  # type: ignore[arg-type]
        assert (answer.status_code != 403) is admitted, (method, path, answer.text)
        assert answer.status_code != 500, (method, path, answer.text)


def test_every_error_of_every_operation_is_a_problem(door):
    """Whatever goes wrong, the body is problem details with a tag, a sentence and the status."""
    headers = door.bearer("root")
    for method, path, _ in operations(door):
        answer = call(door, method, path, headers)
        if answer.status_code >= 400 and not path.startswith("/health"):
            assert answer.headers["content-type"] == "application/problem+json", path
            problem = answer.json()
            assert problem["status"] == answer.status_code
            assert problem["tag"]
            assert problem["title"].endswith(".")


def test_somebody_elses_session_is_unknown_everywhere(door):
    """Each route with a session's id answers 404 to all but its owner, whatever their role."""
    mine = door.bearer("ada")
    session = door.anonymous.post("/api/v1/sessions", json={}, headers=mine).json()["id"]
    bodies = {
        "rename_session": {"title": "x"},
        "send_prompt": {"text": "x"},
        "decide_permission": {"choice": "allow", "input_hash": "0" * 64},
        "answer_question": {"answers": {}},
        "choose_model": {"model": "claude-x"},
        "choose_permission_mode": {"mode": "plan"},
    }
    paths = [op for op in operations(door) if "{session_id}" in op[1]]
    assert len(paths) >= 12
    for other in ("bob", "olga", "root"):
        headers = door.bearer(other)
        for method, path, name in paths:
            there = filled(path.replace("{session_id}", session))
            options = {"json": bodies.get(name, {})} if method in UNSAFE else {}
            answer = door.anonymous.request(method, there, headers=headers, **options)
            assert answer.status_code == 404, (other, method, path, answer.text)
            assert answer.json()["tag"] == "unknown_session"
    assert door.anonymous.get(f"/api/v1/sessions/{session}", headers=mine).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/x/login/keys",
        "/api/v1/auth/login/keys",
        "/api/v1/auth/login/../me",
        "/api/v1//auth/me",
        "/api/v1/auth/me?x=/health/live",
        "/api/v1/sessions/health",
        "/metrics/../api/v1/auth/me",
        "/health/../metrics",
        "/API/v1/auth/me",
        "/api/v1/auth/me/",
    ],
)
def test_no_path_that_merely_contains_a_public_one_is_open(door, path):
    """Access hangs on the route that is called, never on a pattern in the path."""
    answer = door.anonymous.request("GET", path)
    assert answer.status_code in {401, 404, 503}
    assert "ada" not in answer.text


def test_operations_have_ids_summaries_and_documented_errors(door):
    """The OpenAPI document is 3.1 and describes each operation, its refusals as problem details."""
    document = door.anonymous.get("/api/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation["operationId"] in ACCESS
            assert operation.get("description"), (method, path)
            if not path.startswith("/health"):
                refusal = operation["responses"]["401"]["content"]
                assert "application/problem+json" in refusal
