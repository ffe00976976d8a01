"""Files over HTTP: what a browser is told to do with them, and what a forged page cannot."""

import asyncio
import io
import zipfile
from contextlib import AsyncExitStack

import pytest

from orchestrator.api.downloads import DownloadResponse, attachment
from orchestrator.api.file_routes import _body
from orchestrator.protocol.transfers import CHUNK_BYTES
from orchestrator.sessions.files.errors import TransferBroken
from orchestrator.sessions.files.files import Download
from orchestrator.testing.fake_workspace import FakeWorkspace


class Session:
    def __init__(self, door, name="ada"):
        self.door, self.headers = door, door.bearer(name)
        answer = door.anonymous.post("/api/v1/sessions", json={}, headers=self.headers)
        self.id = answer.json()["id"]
        self.base = f"/api/v1/sessions/{self.id}/files"
        self.workspace = door.world.pool.made[-1].workspace

    def get(self, route, **params):
        return self.door.anonymous.get(f"{self.base}{route}", params=params, headers=self.headers)

    def put(self, path, content, headers=None, **params):
        return self.door.anonymous.put(
            f"{self.base}/content",
            params={"path": path, **params},
            content=content,
            headers=self.headers | (headers or {}),
        )


@pytest.fixture
def session(door):
    return Session(door)


def test_up_and_down(session):
    """What was uploaded is listed and downloaded again; a second time it needs to be wished."""
    answer = session.put("docs/plan.md", b"hello")
    assert (answer.status_code, answer.json()) == (201, {"path": "docs/plan.md", "size": 5})
    assert session.put("docs/plan.md", b"again").json()["tag"] == "file_exists"
    assert session.put("docs/plan.md", b"again", overwrite="true").status_code == 201
    listed = session.get("").json()
    assert [entry["kind"] for entry in listed["entries"]] == ["directory"]
    (entry,) = session.get("", path="docs").json()["entries"]
    assert (entry["name"], entry["path"], entry["size"]) == ("plan.md", "docs/plan.md", 5)
    assert session.get("/content", path="docs/plan.md").content == b"again"
    events = session.door.anonymous.get(
        f"/api/v1/sessions/{session.id}/events", headers=session.headers
    ).text
    assert "file_uploaded" in events


def test_a_download_is_only_ever_saved(session):
    """Whatever a file is, it comes as an attachment, under a policy that runs nothing."""
    session.workspace.files["x.html"] = b"<script>alert(1)</script>"
    for path, params in (("/content", {"path": "x.html"}), ("/archive", {})):
        answer = session.get(path, **params)
        headers = answer.headers
        assert answer.status_code == 200
        assert headers["content-disposition"].startswith("attachment;")
        assert headers["content-type"] == "application/octet-stream"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "sandbox; default-src 'none'"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
    assert session.get("/content", path="x.html").headers["content-length"] == "25"


def test_an_archive(session):
    """A directory comes as a zip archive named after it."""
    session.workspace.files = {"src/a.py": b"1", "src/b/c.py": b"2"}
    answer = session.get("/archive", path="src")
    assert "src.zip" in answer.headers["content-disposition"]
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.read("b/c.py") == b"2"


@pytest.mark.parametrize(
    ("name", "plain", "whole"),
    [
        ("plan.md", "plan.md", "plan.md"),
        ('a"b;c\\d%.txt', "a_b_c_d_.txt", "a%22b%3Bc%5Cd%25.txt"),
        ("ümläut", "_ml_ut", "%C3%BCml%C3%A4ut"),
        ("x\r\nSet-Cookie: a", "x__Set-Cookie: a", "x__Set-Cookie%3A%20a"),
        ("gpj\u202eexe", "gpj_exe", "gpj_exe"),
    ],
)
def test_the_name_of_a_download(name, plain, whole):
    """No name leaves its quotes or its header, and none hides its ending."""
    assert attachment(name) == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}"


def test_refusals(session):
    """Names, sizes, room and what is in the way: each with its own status and a sentence."""
    session.workspace.files = {"d/x": b"x"}
    session.workspace.links = {"link": "/etc/shadow"}
    session.workspace.room = 10
    found = {
        "bad": session.get("/content", path="../etc/shadow"),
        "none": session.get("/content", path="none"),
        "directory": session.get("/content", path="d"),
        "link": session.get("/content", path="link"),
        "listed file": session.get("", path="d/x"),
        "no path": session.put("", b"x"),
        "way": session.put("d", b"x"),
        "room": session.put("y", b"x" * 11),
        "large": session.put("y", b"", headers={"Content-Length": str(1 << 40)}),
        "long": session.get("", path="x" * 2000),
    }
    statuses = {what: (answer.status_code, answer.json()["tag"]) for what, answer in found.items()}
    assert statuses == {
        "bad": (422, "bad_file_name"),
        "none": (404, "unknown_file"),
        "directory": (409, "not_a_file"),
        "link": (409, "not_a_file"),
        "listed file": (409, "not_a_directory"),
        "no path": (422, "bad_file_name"),
        "way": (409, "in_the_way"),
        "room": (507, "no_room"),
        "large": (413, "file_too_large"),
        "long": (422, "invalid"),
    }


def test_an_ended_session_has_no_files(session):
    """After its end a session's files are gone, and it says so."""
    session.door.anonymous.delete(f"/api/v1/sessions/{session.id}", headers=session.headers)
    assert session.get("").json()["tag"] == "session_over"
    assert session.put("x", b"x").status_code == 409


def test_another_sites_page_puts_nothing(door):
    """By cookie, an upload needs the page's own origin and token, whatever its form."""
    browser = door.browser("ada")
    session = browser.client.post("/api/v1/sessions", json={}).json()["id"]
    url = f"/api/v1/sessions/{session}/files/content?path=x"
    assert browser.client.put(url, content=b"x").status_code == 201
    workspace = door.world.pool.made[-1].workspace
    for spoilt in (
        {"X-CSRF-Token": "wrong"},
        {"Origin": "https://evil.example.org", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        answer = browser.client.put(f"{url}2", content=b"x", headers=spoilt)
        assert answer.status_code == 403
    assert list(workspace.files) == ["x"]


async def test_an_upload_that_sends_nothing_more_is_let_go():
    """A browser that stalls in the middle of an upload keeps its place no longer than its time."""

    class Stalled:
        async def stream(self):
            yield b"x"
            await asyncio.Event().wait()

    body = _body(Stalled(), patience=0.05)
    async with asyncio.timeout(3):
        assert await anext(body) == b"x"
        with pytest.raises(TransferBroken):
            await anext(body)


async def test_a_download_that_breaks_has_no_end():
    """Where the sandbox goes away the answer never says that it is over, so the server cuts it."""
    workspace, messages = FakeWorkspace(), []
    workspace.files = {"x": b"x" * (3 * CHUNK_BYTES)}
    workspace.breaks = True
    stack = AsyncExitStack()
    content = await stack.enter_async_context(workspace.read_file("x"))
    download = Download(name="x", size=content.entry.size, chunks=content.chunks, stack=stack)

    async def send(message):
        messages.append(message)

    async def receive():
        await asyncio.Event().wait()

    await DownloadResponse(download, send_seconds=1)({"type": "http"}, receive, send)
    assert messages[0]["status"] == 200
    assert all(message["more_body"] for message in messages[1:])
    assert workspace.open == 0


async def test_a_browser_that_takes_nothing_is_let_go():
    """A reader that does not take a chunk in time loses the download, and its place is free."""
    workspace, stack = FakeWorkspace(), AsyncExitStack()
    workspace.files = {"x": b"x"}
    content = await stack.enter_async_context(workspace.read_file("x"))
    download = Download(name="x", size=1, chunks=content.chunks, stack=stack)

    async def send(message):
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive():
        await asyncio.Event().wait()

    async with asyncio.timeout(3):
        await DownloadResponse(download, send_seconds=0.05)({"type": "http"}, receive, send)
    assert workspace.open == 0


async def test_a_browser_that_leaves():
    """Whoever hangs up ends the transfer at once, wherever it is."""
    workspace, stack, gone = FakeWorkspace(), AsyncExitStack(), asyncio.Event()
    workspace.files = {"x": b"x"}
    content = await stack.enter_async_context(workspace.read_file("x"))
    download = Download(name="x", size=1, chunks=content.chunks, stack=stack)

    async def send(message):
        if message["type"] == "http.response.body":
            gone.set()
            await asyncio.Event().wait()

    async def receive():
        await gone.wait()
        return {"type": "http.disconnect"}

    async with asyncio.timeout(3):
        await DownloadResponse(download, send_seconds=60)({"type": "http"}, receive, send)
    assert workspace.open == 0
