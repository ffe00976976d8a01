"""The page before a server that says what a test tells it to: for states that are rare or brief.

The page is the one that was built, and the answers have the shapes of the API's own structs; only
what is behind them is staged. What the real server says is the business of the other tests here.
"""

import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from playwright.async_api import Page, Route, WebSocketRoute

from orchestrator.api.checkpoint_routes import CheckpointList, CheckpointView
from orchestrator.api.views import About, Me
from orchestrator.protocol.chat import SequencedEvent, SessionView, Snapshot, server_frame_codec
from orchestrator.protocol.events import Event, event_codec
from orchestrator.protocol.ids import ProfileName, SessionId
from orchestrator.sessions.ports import SessionPage

PAGE = Path(__file__).parents[2] / "web" / "dist"
ORIGIN = "https://casemate.test"
AT = "2026-01-05T10:00:00.000Z"
VIEW = SessionView(
    id=SessionId("s1"),
    title="Find the slow query",
    profile=ProfileName("default"),
    state="idle",
    created_at=AT,
    updated_at=AT,
    model="claude-sonnet-4-5",
    cost_usd=0.42,
    context_used=52_000,
    context_window=200_000,
)


class Stage:
    """`sessions` are what the list shows; the first one is open."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._sockets: list[WebSocketRoute] = []
        self.sessions: list[SessionView] = [VIEW]
        self.events: list[SequencedEvent] = []
        self.checkpoints: list[CheckpointView] = []
        self.heard: list[dict[str, Any]] = []
        """What the page said over its socket."""

    async def open(self) -> None:
        await self._page.route("**/*", self._answer)
        await self._page.route_web_socket("**/stream", self._connect)
        await self._page.goto(f"{ORIGIN}/s/{self.sessions[0].id}")

    def happened(self, events: Sequence[Event], *, minutes: float = 0.2) -> None:
        """Add what happened, so much time apart."""
        for event in events:
            seq = len(self.events) + 1
            body = msgspec.Raw(event_codec.encode(event).encode())
            self.events.append(SequencedEvent(seq=seq, at=_after(seq * minutes), event=body))

    async def show(self, view: SessionView) -> None:
        """From now on the open session is this; its page is told, as by a reconnect."""
        self.sessions[0] = view
        for socket in self._sockets:
            socket.send(self._snapshot())

    def _connect(self, socket: WebSocketRoute) -> None:
        self._sockets.append(socket)

        def heard(frame: str | bytes) -> None:
            said = msgspec.json.decode(frame)
            self.heard.append(said)
            if said["type"] == "resume":
                socket.send(self._snapshot())

        socket.on_message(heard)

    def _snapshot(self) -> str:
        frame = Snapshot(
            seq=len(self.events), epoch="e1", session=self.sessions[0], events=self.events
        )
        return server_frame_codec.encode(frame)

    async def _answer(self, route: Route) -> None:
        path = route.request.url.removeprefix(ORIGIN).split("?")[0]
        if path.startswith("/api/"):
            body = msgspec.json.encode(self._said(path.removeprefix("/api/v1")))
            return await route.fulfill(body=body, content_type="application/json")
        file = PAGE / path.lstrip("/")
        if not file.is_file():
            file = PAGE / "index.html"
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return await route.fulfill(body=file.read_bytes(), content_type=kind)

    def _said(self, path: str) -> Any:
        match path.strip("/").split("/"):
            case ["about"]:
                return About(version="1", model="real", notices=[], profiles=[])
            case ["sessions"]:
                return SessionPage(sessions=self.sessions, next_cursor=None)
            case [*_, "checkpoints"]:
                return CheckpointList(checkpoints=self.checkpoints)
            case [*_, "files"]:
                return {"path": "", "entries": [], "truncated": False, "omitted": 0}
            case ["auth", *_] | ["me"]:
                return Me(
                    id="u1",
                    name="ada",
                    role="user",
                    has_password=True,
                    access_expires_at="2100-01-01T00:00:00.000Z",
                )
            case _:
                return self.sessions[0]


def _after(minutes: float) -> str:
    whole, part = divmod(round(minutes * 60), 60)
    return f"2026-01-05T{10 + whole // 60:02}:{whole % 60:02}:{part:02}.000Z"
