"""Another site's page, and what it cannot do with our user's browser."""

import pytest

PASSWORD = "plain tortoise umbrella"
NEW = "/api/v1/sessions"
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:8080.evil.example"},
    {"Origin": "https://127.0.0.1:8080"},
    {"Origin": "http://127.0.0.1:9090"},
]


def test_the_page_itself_may(door):
    """With its own headers and token the page creates a session."""
    page = door.browser("ada")
    assert page.client.post(NEW, json={}).status_code == 201


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_foreign_pages_may_not_act_by_cookie(door, headers):
    """A request that says it comes from elsewhere is 403, even with a right CSRF token."""
    page = door.browser("ada")
    answer = page.client.post(NEW, json={}, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["tag"] == "foreign_origin"


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("path", ["login", "token"])
def test_foreign_pages_may_not_sign_anybody_in(door, headers, path):
    """Signing a victim in as somebody else (login CSRF) is refused."""
    body = {"username": "ada", "password": PASSWORD}
    answer = door.anonymous.post(f"/api/v1/auth/{path}", json=body, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["refresh", "logout"])
def test_cookies_alone_neither_refresh_nor_sign_out(door, path):
    """Without proof that our own page asks, the refresh cookie does nothing."""
    page = door.browser("ada")
    for name in ("Origin", "Sec-Fetch-Site", "X-CSRF-Token"):
        del page.client.headers[name]
    answer = page.client.post(f"/api/v1/auth/{path}", json={})
    assert answer.status_code == 403
    assert page.client.get("/api/v1/auth/me").status_code == 200


def test_the_csrf_token_belongs_to_one_sign_in(door):
    """Missing, made up, of another user, or of another sign-in of the same user: 403."""
    page, bob, other = door.browser("ada"), door.browser("bob"), door.browser("ada")
    tokens = ["", "x", "a.b", bob.cookie("csrf"), other.cookie("csrf"), page.cookie("csrf")[:-1]]
    for token in tokens:
        answer = page.client.post(NEW, json={}, headers={"X-CSRF-Token": token})
        assert answer.status_code == 403, token
        assert answer.json()["tag"] == "csrf_token_wrong"
    assert page.client.post(NEW, json={}).status_code == 201


def test_every_unsafe_operation_needs_the_token(door):
    """No operation that changes anything can be called by cookie without the CSRF token."""
    page = door.browser("root")
    del page.client.headers["X-CSRF-Token"]
    document = page.client.get("/api/v1/openapi.json").json()
    for path, item in document["paths"].items():
        for method in item:
            if method in {"post", "put", "patch", "delete"} and "/auth/" not in path:
                url = path.replace("{", "").replace("}", "")
                answer = page.client.request(method, url, json={})
                assert answer.status_code == 403, (method, path)
    assert page.client.put("/api/v1/auth/password", json={"new": "x"}).status_code == 403


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_only_json_is_taken(door, kind):
    """What a plain form can send is refused: 403 without a token, 415 with one."""
    page = door.browser("ada")
    headers = {"Content-Type": kind}
    assert page.client.post(NEW, content=b"{}", headers=headers).status_code == 415
    headers |= {"X-CSRF-Token": "", "Sec-Fetch-Site": "cross-site"}
    assert page.client.post(NEW, content=b"{}", headers=headers).status_code == 403


def test_bearers_need_no_token(door):
    """A program with a bearer token sends no cookie, no origin and no CSRF token."""
    assert door.anonymous.post(NEW, json={}, headers=door.bearer("ada")).status_code == 201


def test_a_bad_bearer_is_not_saved_by_a_good_cookie(door):
    """Where a bearer token is sent, it alone counts."""
    page = door.browser("ada")
    answer = page.client.get("/api/v1/auth/me", headers={"Authorization": "Bearer x"})
    assert answer.status_code == 401


def test_other_host_names_are_refused(door):
    """A name that was pointed at us (DNS rebinding) gets nothing; probes go by any name."""
    for path in ("/api/v1/auth/me", "/", "/api/v1/openapi.json"):
        answer = door.anonymous.get(path, headers={"Host": "evil.example"})
        assert answer.status_code == 421, path
    answer = door.anonymous.get("/health/live", headers={"Host": "10.0.0.7"})
    assert answer.status_code == 200


def test_no_answer_allows_other_origins(door):
    """There is no CORS: preflights get no permission, answers no Access-Control header."""
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answers = [
        door.anonymous.options(NEW, headers=headers),
        door.anonymous.get("/health/live", headers=headers),
    ]
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control")]
