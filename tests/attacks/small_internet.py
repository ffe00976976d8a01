"""The hosts that sandboxes with egress meet in these tests: a git server that wants a token, a
package index, and one that says what it was asked. All on the loopback, in one thread."""

import asyncio
import base64
import hashlib
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import files
from pathlib import Path

from aiohttp import web

from orchestrator.gateway.egress.authority import Authority
from orchestrator.testing.loopback_network import LoopbackMap

GIT, INDEX, PLAIN, OTHER = "git.test", "pypi.test", "plain.test", "other.test"
ADDRESSES = {
    GIT: "93.184.215.1",
    INDEX: "93.184.215.2",
    PLAIN: "93.184.215.3",
    OTHER: "93.184.215.4",
}
INSIDE = {"inside.test": "10.1.2.3", "metadata.test": "169.254.169.254", "here.test": "127.0.0.1"}
MAPPED = {"mapped.test": "::ffff:169.254.169.254"}
USER = "x-access-token"


class SmallInternet:
    """`requests` are those that arrived, as host, method and path; `map_file` is for Casemate."""

    def __init__(self, folder: Path, *, token: str) -> None:
        self.folder = folder
        self.requests: list[tuple[str, str, str]] = []
        self.authority = Authority(frozenset(ADDRESSES), name="Test hosts")
        self.ca_file = folder / "hosts.pem"
        self.ca_file.write_bytes(self.authority.certificate)
        self.map_file = folder / "map.json"
        encoded = base64.b64encode(f"{USER}:{token}".encode()).decode()
        self._credential = f"Basic {encoded}"
        self._known = LoopbackMap()

    async def serve(self, stopped: asyncio.Event, ready: threading.Event) -> None:
        runners = [
            await self._host(GIT, self._git),
            await self._host(INDEX, self._index),
            await self._host(PLAIN, self._plain, port=80, tls=False),
            await self._host(OTHER, self._plain),
        ]
        for name, address in {**INSIDE, **MAPPED}.items():
            self._known.host(name, address, {443: 1, 80: 1})
        self._known.write(self.map_file)
        ready.set()
        await stopped.wait()
        for runner in runners:
            await runner.cleanup()

    async def _host(self, name, handler, *, port=443, tls=True):  # type: ignore[no-untyped-def]
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            self.requests.append((name, request.method, request.path))
            return await handler(request)

        runner = web.ServerRunner(web.Server(handle))
        await runner.setup()
        context = self.authority.context_for(name) if tls else None
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        self._known.host(name, ADDRESSES[name], {port: runner.addresses[0][1]})
        return runner

    async def _plain(self, request: web.BaseRequest) -> web.StreamResponse:
        async for _ in request.content.iter_any():
            pass
        return web.Response(text=f"{request.method} {request.path} of {request.headers['Host']}\n")

    async def _git(self, request: web.BaseRequest) -> web.StreamResponse:
        """A repository as plain files, for those who know the token."""
        if request.headers.get("Authorization") != self._credential:
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic realm=x"})
        file = self.folder / request.path.lstrip("/")
        return web.FileResponse(file) if file.is_file() else web.Response(status=404)

    async def _index(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/simple/tiny/":
            digest = hashlib.sha256((self.folder / "files" / WHEEL).read_bytes()).hexdigest()
            link = f'<a href="/files/{WHEEL}#sha256={digest}">{WHEEL}</a>'
            return web.Response(text=link, content_type="text/html")
        file = self.folder / request.path.lstrip("/")
        return web.FileResponse(file) if file.is_file() else web.Response(status=404)


WHEEL = "tiny-1.0-py3-none-any.whl"


@contextmanager
def small_internet(folder: Path, *, token: str) -> Iterator[SmallInternet]:
    _make_repository(folder)
    _make_packages(folder / "files")
    internet = SmallInternet(folder, token=token)
    ready, stopped = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(internet.serve(stopped, ready)), name="internet"
    )
    thread.start()
    assert ready.wait(20)
    try:
        yield internet
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(20)
        loop.close()


def _make_repository(folder: Path) -> None:
    """A bare one that plain HTTP can serve, with one commit."""
    work, bare = folder / "work", folder / "repo.git"
    own = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "init.defaultBranch=main"]

    def git(*arguments: str) -> None:
        subprocess.run(["git", *own, *arguments], check=True, capture_output=True)

    git("init", str(work))
    (work / "README").write_text("hello from the repository\n")
    git("-C", str(work), "add", "README")
    git("-C", str(work), "commit", "-m", "first")
    git("clone", "--bare", str(work), str(bare))
    git("-C", str(bare), "update-server-info")


def _make_packages(folder: Path) -> None:
    """A wheel of our own, and pip itself, which the image does not have."""
    folder.mkdir()
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.writestr("tiny.py", "said = 'hello from the index'\n")
        about = "tiny-1.0.dist-info"
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")
    with zipfile.ZipFile(folder / "pip.whl", "w") as wheel:
        for part in files("pip") or []:
            if part.parts[0] == "pip" and part.suffix != ".pyc":
                wheel.writestr(part.as_posix(), part.read_binary())
