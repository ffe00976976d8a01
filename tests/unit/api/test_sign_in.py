"""Signing in, staying signed in, and being signed out."""

import asyncio

import pytest
from litestar.testing import TestClient

PASSWORD = "plain tortoise umbrella"
LOGIN = "/api/v1/auth/login"
REFRESH = "/api/v1/auth/refresh"
ME = "/api/v1/auth/me"


def set_cookies(answer):
    return {c.split("=")[0]: c for c in answer.headers.get_list("set-cookie")}


def test_cookies_are_out_of_reach(door):
    """Scripts see the CSRF token alone; all are Strict; the refresh token goes to auth only."""
    answer = door.anonymous.post(LOGIN, json={"username": "ada", "password": PASSWORD})
    cookies = set_cookies(answer)
    assert set(cookies) == {"casemate_at", "casemate_rt", "casemate_csrf"}
    assert all("samesite=strict" in text.lower() for text in cookies.values())
    assert "httponly" in cookies["casemate_at"].lower()
    assert "httponly" in cookies["casemate_rt"].lower()
    assert "httponly" not in cookies["casemate_csrf"].lower()
    assert "path=/api/v1/auth" in cookies["casemate_rt"].lower()
    assert "token" not in answer.text.replace("has_token", "")


def test_cookies_get_prefixes_with_https(make_door):
    """Behind https the cookies carry their prefixes and are Secure, and answers say HSTS."""
    secure = make_door(url="https://claude.example.org")
    secure.add("ada")
    answer = secure.anonymous.post(LOGIN, json={"username": "ada", "password": PASSWORD})
    cookies = set_cookies(answer)
    assert set(cookies) == {"__Host-casemate_at", "__Secure-casemate_rt", "__Host-casemate_csrf"}
    assert all("; secure" in text.lower() for text in cookies.values())
    assert "max-age" in answer.headers["strict-transport-security"]


def test_there_is_no_user_oracle(door):
    """A wrong password, an unknown user and a disabled one get the same answer."""
    door.run(door.accounts.disable_user(door.run(door.accounts.find_user("bob")).id))
    said = set()
    for name, word in (("ada", "wrong wrong wrong"), ("nobody", PASSWORD), ("bob", PASSWORD)):
        answer = door.anonymous.post(LOGIN, json={"username": name, "password": word})
        said.add((answer.status_code, answer.text))
    assert len(said) == 1
    assert said.pop()[0] == 401


def test_wrong_passwords_are_slowed_down_and_the_right_one_works_later(door):
    """Twenty wrong passwords end in 429 with Retry-After, spoofed X-Forwarded-For or not."""
    answers = [
        door.anonymous.post(
            LOGIN,
            json={"username": "ada", "password": f"wrong wrong {n}"},
            headers={"X-Forwarded-For": f"10.0.0.{n}"},
        )
        for n in range(20)
    ]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 14
    assert int(refused[-1].headers["retry-after"]) >= 1
    door.offset += 400
    answer = door.anonymous.post(LOGIN, json={"username": "ada", "password": PASSWORD})
    assert answer.status_code == 200


def test_one_address_cannot_spray_many_accounts(door):
    """Attempts spread over many names are slowed down by their address."""
    statuses = [
        door.anonymous.post(LOGIN, json={"username": f"user{n}", "password": "x" * 12}).status_code
        for n in range(60)
    ]
    assert 429 in statuses


def test_a_link_signs_in_once(door):
    """The code of a link works one time, sets cookies, and lets its user choose a password."""
    user = door.run(door.accounts.add_user("new", role="user"))
    link = door.run(door.accounts.create_sign_in_link(user.id))
    page = TestClient(door.app, base_url=door.url)
    page.blocking_portal = door.anonymous.blocking_portal
    page.headers.update({"Origin": door.url, "Sec-Fetch-Site": "same-origin"})
    answer = page.post("/api/v1/auth/link", json={"code": link.code})
    assert answer.status_code == 200
    assert answer.json()["has_password"] is False
    again = door.anonymous.post("/api/v1/auth/link", json={"code": link.code})
    assert again.status_code == 401
    assert again.json()["tag"] == "link_void"
    page.headers["X-CSRF-Token"] = page.cookies["casemate_csrf"]
    chosen = page.put("/api/v1/auth/password", json={"new": "four words make one"})
    assert chosen.status_code == 200
    body = {"username": "new", "password": "four words make one"}
    assert door.anonymous.post(LOGIN, json=body).status_code == 200


def test_a_password_is_changed_with_the_old_one_only(door):
    """The current password is asked for; afterwards every older sign-in is dead."""
    page, program = door.browser("ada"), door.bearer("ada")
    wrong = page.client.put(
        "/api/v1/auth/password", json={"new": "another good phrase", "current": "no"}
    )
    assert wrong.status_code == 401
    weak = page.client.put("/api/v1/auth/password", json={"new": "short", "current": PASSWORD})
    assert weak.status_code == 422
    done = page.client.put(
        "/api/v1/auth/password", json={"new": "another good phrase", "current": PASSWORD}
    )
    assert done.status_code == 200
    assert page.client.get(ME).status_code == 200
    assert door.anonymous.get(ME, headers=program).status_code == 401


def test_programs_refresh_by_the_body(door):
    """Each refresh token is good once; reuse of an old one ends the whole sign-in."""
    body = {"username": "ada", "password": PASSWORD}
    first = door.anonymous.post("/api/v1/auth/token", json=body)
    assert "set-cookie" not in first.headers
    old = first.json()["refresh_token"]
    second = door.anonymous.post(REFRESH, json={"refresh_token": old}).json()
    third = door.anonymous.post(REFRESH, json={"refresh_token": second["refresh_token"]}).json()
    alive = {"Authorization": f"Bearer {third['access_token']}"}
    assert door.anonymous.get(ME, headers=alive).status_code == 200
    reused = door.anonymous.post(REFRESH, json={"refresh_token": old})
    assert reused.status_code == 401
    dead = door.anonymous.post(REFRESH, json={"refresh_token": third["refresh_token"]})
    assert dead.status_code == 401
    assert door.anonymous.get(ME, headers=alive).status_code == 401


def test_two_tabs_that_refresh_at_once_stay_signed_in(door):
    """Within the grace the later tab gets 204 without cookies; a program is told 409."""
    page = door.browser("ada")
    old = page.cookie("rt")
    assert page.client.post(REFRESH, json={}).status_code == 200
    late = door.anonymous.post(
        REFRESH,
        json={},
        headers={"Cookie": f"casemate_rt={old}", "Sec-Fetch-Site": "same-origin"},
    )
    assert late.status_code == 204
    assert "set-cookie" not in late.headers
    told = door.anonymous.post(REFRESH, json={"refresh_token": old})
    assert told.status_code == 409
    assert told.json()["tag"] == "refresh_superseded"
    assert page.client.get(ME).status_code == 200


def test_refresh_without_anything_is_not_signed_in(door):
    """No cookie and no token: 401, and a void cookie is taken away."""
    assert door.anonymous.post(REFRESH, json={}).status_code == 401
    void = door.anonymous.post(
        REFRESH,
        json={},
        headers={"Cookie": "casemate_rt=nonsense", "Sec-Fetch-Site": "same-origin"},
    )
    assert void.status_code == 401
    assert all("max-age=0" in c.lower() for c in void.headers.get_list("set-cookie"))


@pytest.mark.parametrize("kind", ["refresh", "link", "csrf"])
def test_no_other_token_serves_as_access_token(door, kind):
    """A refresh token, a link's code or a CSRF token in the place of an access token is 401."""
    page = door.browser("ada")
    user = door.run(door.accounts.find_user("ada"))
    tokens = {
        "refresh": page.cookie("rt"),
        "csrf": page.cookie("csrf"),
        "link": door.run(door.accounts.create_sign_in_link(user.id)).code,
    }
    headers = {"Authorization": f"Bearer {tokens[kind]}"}
    assert door.anonymous.get(ME, headers=headers).status_code == 401
    cookie = {"Cookie": f"casemate_at={tokens[kind]}"}
    assert door.anonymous.get(ME, headers=cookie).status_code == 401


def test_logout_ends_the_sign_in_for_good(door):
    """After logging out neither token works, and the cookies are gone."""
    page = door.browser("ada")
    access, refresh = page.cookie("at"), page.cookie("rt")
    answer = page.client.post("/api/v1/auth/logout", json={})
    assert answer.status_code == 204
    assert not dict(page.client.cookies)
    headers = {"Authorization": f"Bearer {access}"}
    assert door.anonymous.get(ME, headers=headers).status_code == 401
    again = door.anonymous.post(REFRESH, json={"refresh_token": refresh})
    assert again.status_code == 401


def test_logout_works_with_an_access_token_that_expired(door):
    """The refresh cookie alone is enough to log out."""
    page = door.browser("ada")
    refresh = page.cookie("rt")
    door.offset += 700
    assert page.client.get(ME).status_code == 401
    assert page.client.post("/api/v1/auth/logout", json={}).status_code == 204
    assert door.anonymous.post(REFRESH, json={"refresh_token": refresh}).status_code == 401


def test_a_disabled_user_is_out_within_the_age_of_the_cache(door):
    """Disabling ends access tokens of this process at once, of another within `standing_age`."""
    headers = door.bearer("ada")
    assert door.anonymous.get(ME, headers=headers).status_code == 200
    admin = door.bearer("root")
    users = door.anonymous.get("/api/v1/admin/users", headers=admin).json()["users"]
    ada = next(user for user in users if user["name"] == "ada")
    path = f"/api/v1/admin/users/{ada['id']}"
    answer = door.anonymous.patch(path, json={"disabled": True}, headers=admin)
    assert answer.json()["disabled"] is True
    assert door.anonymous.get(ME, headers=headers).status_code == 401


def test_eight_refreshes_at_once_mint_one(door):
    """Of concurrent refreshes with one token exactly one gets the next; nobody is logged out."""
    admission = door.run(door.accounts.login("ada", PASSWORD, address="1.2.3.4", device=""))

    async def race():
        calls = [
            door.accounts.refresh(admission.refresh_token, address="1.2.3.4") for _ in range(8)
        ]
        return await asyncio.gather(*calls, return_exceptions=True)

    results = door.run(race())
    minted = [result for result in results if not isinstance(result, Exception)]
    assert len(minted) == 1
    assert {type(r).__name__ for r in results if isinstance(r, Exception)} == {"RefreshSuperseded"}
    assert door.run(door.accounts.authenticate(minted[0].access_token)).name == "ada"
