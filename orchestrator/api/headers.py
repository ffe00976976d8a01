"""What every answer carries, whatever made it, and what is counted about it."""

import re
import secrets
import time
from typing import Any

import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.ports import DoorWatcher

ALWAYS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(self), payment=(), usb=()",
    b"x-frame-options": b"DENY",
}
UNLESS_SET = {
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    b"cache-control": b"no-store",
}
HSTS = {b"strict-transport-security": b"max-age=31536000"}

UNMATCHED = "unmatched"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class AnswerHeaders:
    """A `before_send` hook, so that it sees the router's own refusals too."""

    def __init__(self, *, secure: bool, watcher: DoorWatcher) -> None:
        self._always = list({**ALWAYS, **(HSTS if secure else {})}.items())
        self._watcher = watcher

    async def add(self, message: Message, scope: Scope) -> None:
        if message["type"] != "http.response.start":
            return
        state = scope.setdefault("state", {})
        request_id = state.get("request_id") or new_request_id()
        kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in ALWAYS]
        present = {name.lower() for name, _ in kept}
        missing = [pair for pair in UNLESS_SET.items() if pair[0] not in present]
        message["headers"] = [
            *kept,
            *missing,
            *self._always,
            (b"x-request-id", request_id.encode()),
        ]
        self._count(message["status"], scope, state)

    def _count(self, status: int, scope: Scope, state: dict[str, Any]) -> None:
        method = str(scope.get("method", ""))
        seconds = time.perf_counter() - state.get("began", time.perf_counter())
        self._watcher.http_answered(
            method if method in _METHODS else "other", _route_of(scope), status, seconds
        )


class RequestContext:
    """Middleware: gives each request its id and its place in the log."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope.setdefault("state", {})
        state["request_id"] = new_request_id()
        state["began"] = time.perf_counter()
        fields = {"request_id": state["request_id"], **_session_of(scope)}
        with structlog.contextvars.bound_contextvars(**fields):
            await self.app(scope, receive, send)


def new_request_id() -> str:
    return secrets.token_hex(8)


def _session_of(scope: Scope) -> dict[str, str]:
    session = scope.get("path_params", {}).get("session_id")
    return {"session_id": str(session)} if session else {}


def _route_of(scope: Scope) -> str:
    """The template (`/sessions/{session_id}`): what a caller makes up is no label."""
    handler = scope.get("route_handler")
    template = scope.get("path_template")
    if handler is None or not isinstance(template, str):
        return UNMATCHED
    return re.sub(r":[a-z]+}", "}", template) or "/"
