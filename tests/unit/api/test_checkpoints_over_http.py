"""Checkpoints over HTTP: whose they are, how they are downloaded, and what can be asked of them."""

import time

import pytest

from orchestrator.testing.memory_checkpoints import CHUNK_BYTES


class Session:
    """One of a user's, with files in its workspace."""

    def __init__(self, door, name="ada", title="Fix <b>it</b>"):
        self.door, self.headers = door, door.bearer(name)
        answer = door.anonymous.post(
            "/api/v1/sessions", json={"title": title}, headers=self.headers
        )
        self.id = answer.json()["id"]
        self.base = f"/api/v1/sessions/{self.id}/checkpoints"
        self.sandbox = door.world.pool.made[-1]

    def get(self, route="", headers=None, **params):
        return self.door.anonymous.get(
            f"{self.base}{route}", params=params, headers=headers or self.headers
        )

    def post(self, route="", headers=None):
        return self.door.anonymous.post(f"{self.base}{route}", headers=headers or self.headers)

    def until(self, condition):
        limit = time.monotonic() + 5
        while not (value := condition()):
            assert time.monotonic() < limit
        return value

    def accepted(self, route=""):
        """Ask for it until what was asked before is done."""
        answer = self.until(lambda: (a := self.post(route)).status_code != 409 and a)
        assert answer.status_code == 202, answer.text

    def taken(self, count=1, **files):
        """Keep these files, and wait until it is done; the checkpoint."""
        self.sandbox.workspace.files.update(files)
        self.accepted()
        kept = self.until(lambda: (k := self.get().json()["checkpoints"])[count - 1 :] and k)
        return kept[0]


@pytest.fixture
def session(door):
    return Session(door)


def test_kept_and_listed(session):
    """What was kept is listed, newest first, with what a person wants to know of it."""
    assert session.get().json() == {"checkpoints": []}
    first = session.taken(a=b"1")
    assert (first["entries"], first["unpacked"], first["omitted"]) == (1, 1, 0)
    second = session.taken(2, b=b"22")
    listed = session.get().json()["checkpoints"]
    assert [one["id"] for one in listed] == [second["id"], first["id"]]
    assert len(session.get(limit=1).json()["checkpoints"]) == 1
    assert "blob" not in listed[0]
    assert "fingerprint" not in listed[0]


@pytest.mark.parametrize("limit", ["0", "-1", "201", "x", str(1 << 70)])
def test_page_size_is_bounded(session, limit):
    """A page size that cannot be is refused."""
    assert session.get(limit=limit).status_code in {400, 422}


def test_download_is_only_ever_saved(session):
    """The archive comes whole, as an attachment with a name that says what it is, under a policy
    that runs nothing."""
    taken = session.taken(big=b"x" * (3 * CHUNK_BYTES))
    answer = session.get(f"/{taken['id']}/content")
    (content,) = session.door.world.blobs.blobs.values()
    assert (answer.status_code, answer.content) == (200, content)
    headers = answer.headers
    assert headers["content-length"] == str(taken["size"])
    assert headers["content-disposition"].startswith('attachment; filename="Fix _b_it__b')
    assert ".tar.zst" in headers["content-disposition"]
    assert headers["content-type"] == "application/octet-stream"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


def test_somebody_else_finds_nothing(session):
    """Another user, an administrator too, is told that there is no such session: by every route."""
    taken = session.taken(a=b"1")
    for name in ("bob", "olga", "root"):
        other = session.door.bearer(name)
        answers = [
            session.get(headers=other),
            session.post(headers=other),
            session.get(f"/{taken['id']}/content", headers=other),
            session.post(f"/{taken['id']}/go-back", headers=other),
        ]
        found = {(answer.status_code, answer.json()["tag"]) for answer in answers}
        assert found == {(404, "unknown_session")}


@pytest.mark.parametrize("name", ["none", "0" * 16, "..", "%2e%2e", "%00", "x" * 3000, "a'--"])
def test_unknown_checkpoint_is_unknown(session, name):
    """A name that is none, and that of another session's checkpoint, lead nowhere."""
    for answer in (session.get(f"/{name}/content"), session.post(f"/{name}/go-back")):
        assert answer.status_code == 404, answer.text


def test_checkpoint_of_another_session(session):
    """A checkpoint belongs to one session, also between sessions of one user."""
    taken = session.taken(a=b"1")
    other = Session(session.door)
    for answer in (other.get(f"/{taken['id']}/content"), other.post(f"/{taken['id']}/go-back")):
        assert (answer.status_code, answer.json()["tag"]) == (404, "unknown_checkpoint")


def test_going_back(session):
    """After going back, the files are what they were, and the stream says so."""
    first = session.taken(a=b"1")
    session.taken(2, a=b"2")
    session.accepted(f"/{first['id']}/go-back")

    def went_back():
        events = session.door.anonymous.get(
            f"/api/v1/sessions/{session.id}/events", headers=session.headers
        ).text
        return "went_back" in events

    session.until(went_back)
    made = session.door.world.pool.made
    session.until(lambda: made[-1].workspace.files == {"a": b"1"})


def test_few_downloads_at_once(session):
    """A session's downloads share the places of its other transfers."""
    taken = session.taken(a=b"1")
    places = session.door.world.sessions.files.places
    places._of_session[session.id] = 99
    answer = session.get(f"/{taken['id']}/content")
    assert (answer.status_code, answer.json()["tag"]) == (429, "too_many_transfers")
    del places._of_session[session.id]
    for _ in range(10):
        assert session.get(f"/{taken['id']}/content").status_code == 200


def test_content_that_is_gone(session):
    """Content that cannot be read is told as such, before the first byte."""
    taken = session.taken(a=b"1")
    session.door.world.blobs.blobs.clear()
    answer = session.get(f"/{taken['id']}/content")
    assert answer.status_code == 503
    assert "The stored files of this session cannot be read." in answer.text


def test_nothing_is_kept_after_the_end(session):
    """What was kept of a session goes when it ends, and nothing more is kept of it."""
    taken = session.taken(a=b"1")
    ended = session.door.anonymous.post(
        f"/api/v1/sessions/{session.id}/end", headers=session.headers
    )
    assert ended.status_code in {200, 202, 204}
    session.until(lambda: session.get().json()["checkpoints"] == [])
    assert session.get(f"/{taken['id']}/content").status_code == 404
    assert session.post().status_code == 409
