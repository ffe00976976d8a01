"""The door on real sockets: uvicorn with uvloop and websockets-sansio, as it is served."""

import asyncio
import json
import socket
import time
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from orchestrator.accounts.service import Accounts
from orchestrator.accounts.settings import AccountsSettings
from orchestrator.api.about_routes import Edition
from orchestrator.api.application import create_api
from orchestrator.api.server import server_config
from orchestrator.api.settings import ApiSettings
from orchestrator.protocol.sandbox_events import TextWritten
from orchestrator.sessions.profiles import FixedProfiles
from orchestrator.sessions.refused_hosts import RefusedHosts
from orchestrator.telemetry.health import summary
from orchestrator.telemetry.metrics import Metrics
from orchestrator.testing.memory_audit import MemoryAudit, MemoryRefusedHostStore
from orchestrator.testing.memory_stores import (
    MemoryRefreshTokenStore,
    MemorySignInLinkStore,
    MemoryUserStore,
)
from orchestrator.testing.session_world import PROFILE, World, eventually

PASSWORD = "plain tortoise umbrella"
SETTINGS = ApiSettings(recheck_seconds=0.1, keep_alive_seconds=0.2, send_seconds=1)


class NoPools:
    def pools(self):
        return []


class Healthy:
    async def health(self):
        return summary([])


class Served:
    """A door that listens; `port` is where."""

    def __init__(self, port):
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.world = World(size=3)
        self.metrics = Metrics()
        self.accounts = Accounts(
            users=MemoryUserStore(),
            tokens=MemoryRefreshTokenStore(),
            links=MemorySignInLinkStore(),
            access_key=b"a" * 32,
            settings=AccountsSettings(argon2_memory_kib=64, standing_age=0.05),
            watcher=self.metrics,
            time=time.time,
        )
        app = create_api(
            public_url=self.url,
            csrf_key=b"c" * 32,
            sessions=self.world.sessions,
            accounts=self.accounts,
            pools=NoPools(),
            catalogue=FixedProfiles([PROFILE]),
            health=Healthy(),
            metrics=self.metrics,
            audit=MemoryAudit(),
            refused_hosts=RefusedHosts(MemoryRefusedHostStore(), now=str),
            watcher=self.metrics,
            edition=Edition(version="1"),
            settings=SETTINGS,
        )
        config = server_config(
            app, host="127.0.0.1", port=port, settings=SETTINGS, shutdown_seconds=2
        )
        self.server = uvicorn.Server(config)

    def ws(self, session, **options):
        url = f"ws://127.0.0.1:{self.port}/api/v1/sessions/{session}/stream"
        return connect(url, compression=None, max_size=None, **options)


@pytest.fixture
async def served():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = Served(port)
    await made.accounts.add_user("ada", role="user", password=PASSWORD)
    serving = asyncio.create_task(made.server.serve())
    await eventually(lambda: made.server.started)
    yield made
    made.server.should_exit = True
    await asyncio.wait_for(serving, 10)
    await made.world.sessions.close()


@pytest.fixture
async def page(served):
    async with httpx.AsyncClient(base_url=served.url) as client:
        client.headers.update({"Origin": served.url, "Sec-Fetch-Site": "same-origin"})
        body = {"username": "ada", "password": PASSWORD}
        assert (await client.post("/api/v1/auth/login", json=body)).status_code == 200
        client.headers["X-CSRF-Token"] = client.cookies["casemate_csrf"]
        yield client


@pytest.fixture
async def session(page):
    return (await page.post("/api/v1/sessions", json={})).json()["id"]


def cookie_header(page):
    return {"Cookie": f"casemate_at={page.cookies['casemate_at']}"}


async def frames_until(ws, kind):
    async with asyncio.timeout(10):
        while True:
            frame = json.loads(await ws.recv())
            if frame["type"] == kind:
                return frame


@asynccontextmanager
async def following(served, page, session):
    async with served.ws(session, origin=served.url, additional_headers=cookie_header(page)) as ws:
        await ws.send('{"type": "resume"}')
        await frames_until(ws, "snapshot")
        yield ws


@pytest.mark.parametrize(
    "origin",
    [None, "null", "https://evil.example", "http://127.0.0.1.evil.example", "https://127.0.0.1"],
)
async def test_foreign_origins_get_403_before_the_accept(served, page, session, origin):
    """The handshake of any page but ours is answered with HTTP 403, in spite of a good cookie."""
    headers = cookie_header(page)
    with pytest.raises(InvalidStatus) as refused:
        async with served.ws(session, origin=origin, additional_headers=headers):
            pytest.fail("it was accepted")
    assert refused.value.response.status_code == 403


async def test_our_page_is_followed_by_its_session(served, page, session):
    """Same origin and cookie: resume, prompt, answer, stop, ping."""
    async with following(served, page, session) as ws:
        await ws.send('{"type": "prompt", "client_id": "c", "text": "hello"}')
        while "turn_ended" not in json.dumps(await frames_until(ws, "events")):
            pass
        await ws.send('{"type": "ping"}')
        assert (await frames_until(ws, "pong"))["seq"] > 0


async def test_a_huge_frame_is_refused_and_a_monstrous_one_ends_it(served, page, session):
    """2 MiB: `too_large`, and the connection lives. Above 4 MiB: 1009."""
    async with following(served, page, session) as ws:
        await ws.send(json.dumps({"type": "prompt", "client_id": "c", "text": "x" * (2 << 20)}))
        assert (await frames_until(ws, "command_refused"))["problem"]["tag"] == "too_large"
        await ws.send(b"\x00\x01")
        assert (await frames_until(ws, "command_refused"))["problem"]["tag"] == "binary_frame"
        await ws.send('{"type": "ping"}')
        await frames_until(ws, "pong")
        await ws.send("y" * ((4 << 20) + 1))
        with pytest.raises(ConnectionClosed) as closed:
            await frames_until(ws, "pong")
        assert closed.value.rcvd.code == 1009


async def test_without_a_token_it_is_told_4401(served, page, session):
    """Our page whose access token is over is accepted and told by the close code."""
    async with served.ws(session, origin=served.url) as ws:
        with pytest.raises(ConnectionClosed) as closed:
            await ws.recv()
    assert closed.value.rcvd.code == 4401


async def test_disabling_reaches_an_open_socket(served, page, session):
    """A disabled user's socket is closed with 4401 within five seconds."""
    async with following(served, page, session) as ws:
        ada = await served.accounts.find_user("ada")
        await served.accounts.disable_user(ada.id)
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionClosed) as closed:
                await frames_until(ws, "pong")
    assert closed.value.rcvd.code == 4401


async def test_stopping_the_server_closes_with_1012(served, page, session):
    """A restart is told as such, so that pages come back by themselves."""
    async with following(served, page, session) as ws:
        served.server.should_exit = True
        with pytest.raises(ConnectionClosed) as closed:
            await frames_until(ws, "pong")
    assert closed.value.rcvd.code == 1012


async def test_events_stream_on_the_same_address(served, page, session):
    """The same path over HTTP gives server-sent events, keeps alive, and resumes by its ids."""
    path = f"/api/v1/sessions/{session}/stream"
    headers = {"Accept": "text/event-stream"}
    async with page.stream("GET", path, headers=headers, timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        lines = answer.aiter_lines()
        seen = []
        async for line in lines:
            seen.append(line)
            if line.startswith(": "):
                break
    ids = [line.removeprefix("id: ") for line in seen if line.startswith("id: ")]
    assert any('"snapshot"' in line for line in seen)
    await page.post(f"/api/v1/sessions/{session}/prompts", json={"text": "hello"})
    headers["Last-Event-ID"] = ids[-1]
    async with page.stream("GET", path, headers=headers, timeout=10) as answer:
        async for line in answer.aiter_lines():
            assert "snapshot" not in line
            if "turn_ended" in line:
                break


async def test_a_page_that_leaves_frees_its_place(served, page, session):
    """Broken connections are noticed; no follower and no place is left behind."""
    for _ in range(5):
        async with following(served, page, session) as ws:
            ws.transport.abort()
    await eventually(lambda: b"casemate_chat_sockets 0.0" in served.metrics.render()[0])


async def test_the_server_tells_nothing_about_itself(served):
    """No Server header; spoofed forwarding headers of strangers are not believed."""
    async with httpx.AsyncClient(base_url=served.url) as client:
        answer = await client.get("/health/live", headers={"X-Forwarded-Proto": "https"})
    assert "server" not in answer.headers


async def test_a_page_that_reads_nothing_is_let_go(served, page, session):
    """However much there is to tell, a stalled connection ends, and others go on meanwhile."""
    headers = cookie_header(page)
    sandbox = served.world.pool.made[-1]
    async with served.ws(
        session, origin=served.url, additional_headers=headers, max_queue=1, close_timeout=0.1
    ) as stalled:
        await stalled.send('{"type": "resume"}')
        async with following(served, page, session) as ws:
            for n in range(60):
                text = TextWritten(message_id=f"m{n}", index=0, text="x" * 500_000)
                sandbox.say(text)
                while f'"m{n}"' not in json.dumps(await frames_until(ws, "events")):
                    pass
            await ws.send('{"type": "ping"}')
            await frames_until(ws, "pong")
        await eventually(
            lambda: b"casemate_chat_sockets 0.0" in served.metrics.render()[0], seconds=15
        )
    assert b'code="4408"' in served.metrics.render()[0]
