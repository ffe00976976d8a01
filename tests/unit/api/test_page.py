"""The web page: its headers, its files, and nothing else of the disk."""

import re

import pytest

INDEX = '<html><meta property="csp-nonce" nonce="__CSP_NONCE__" /><div id="root"></div></html>'


@pytest.fixture
def page_directory(tmp_path):
    built = tmp_path / "dist"
    (built / "assets" / "icons").mkdir(parents=True)
    (built / "index.html").write_text(INDEX)
    (built / "assets" / "index-Ab12_-9z.js").write_text("console.log(1);" * 200)
    (built / "assets" / "icons" / "calm.svg").write_text("<svg/>")
    (tmp_path / "secret.txt").write_text("secret")
    (built / "assets" / "leak.txt").symlink_to(tmp_path / "secret.txt")
    return built


@pytest.fixture
def door(make_door, page_directory):
    return make_door(page=page_directory)


@pytest.mark.parametrize("path", ["/", "/sessions/abc", "/admin", "/sign-in?next=/x"])
def test_every_address_of_the_page_is_the_document(door, path):
    """The page routes by itself: whatever is no file and no API is its document, never cached."""
    answer = door.anonymous.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert '<div id="root">' in answer.text


def test_the_policy_names_the_nonce_and_scripts_by_path(door):
    """Each response has a nonce of its own; scripts come from /assets/ alone; nothing is inline."""
    first, second = door.anonymous.get("/"), door.anonymous.get("/")
    policy = first.headers["content-security-policy"]
    nonce = re.search(r'nonce="([^"]+)"', first.text)[1]
    assert f"style-src 'self' 'nonce-{nonce}'" in policy
    assert nonce not in second.text
    assert "script-src http://127.0.0.1:8080/assets/;" in policy
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "connect-src 'self' ws://127.0.0.1:8080" in policy
    assert "unsafe" not in policy


def test_every_answer_has_the_security_headers(door):
    """Page, file, API, error and unknown address alike."""
    paths = ["/", "/assets/icons/calm.svg", "/api/v1/auth/me", "/api/nope", "/health/live"]
    for path in paths:
        headers = door.anonymous.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "camera=()" in headers["permissions-policy"]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-request-id"]


def test_hashed_files_are_kept_forever_and_others_checked(door):
    """A hash in the name means immutable; without one the browser asks again."""
    script = door.anonymous.get("/assets/index-Ab12_-9z.js")
    assert "immutable" in script.headers["cache-control"]
    assert script.headers["content-type"].startswith("text/javascript")
    assert script.headers["content-encoding"] == "gzip"
    plain = door.anonymous.get("/assets/index-Ab12_-9z.js", headers={"Accept-Encoding": ""})
    assert "content-encoding" not in plain.headers
    assert plain.text == script.text
    icon = door.anonymous.get("/assets/icons/calm.svg")
    assert icon.headers["cache-control"] == "no-cache"
    etag = {"If-None-Match": icon.headers["etag"]}
    assert door.anonymous.get("/assets/icons/calm.svg", headers=etag).status_code == 304
    assert door.anonymous.head("/").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../../secret.txt",
        "/assets/%2e%2e/%2e%2e/secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/assets//etc/passwd",
        "/..%5csecret.txt",
        "/assets/leak.txt",
        "/assets/%00",
        "/assets/unknown.js",
    ],
)
def test_nothing_outside_the_page_is_served(door, path):
    """Neither dots nor links nor odd bytes lead out of the directory; unknown assets are 404."""
    answer = door.anonymous.get(path)
    assert "secret" not in answer.text
    assert "root:" not in answer.text
    assert answer.status_code in {200, 404}
    if path.startswith("/assets/unknown"):
        assert answer.status_code == 404


def test_without_a_page_the_api_works(make_door):
    """Where the page was not built its address says so, and nothing else is affected."""
    door = make_door()
    answer = door.anonymous.get("/")
    assert (answer.status_code, answer.json()["tag"]) == (503, "no_page")
    assert door.anonymous.get("/health/live").status_code == 200
