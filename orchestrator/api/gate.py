"""The gate in front of every route: host, origin, who asks, anti-forgery, role. Closed by default.

A guard of the whole application. It runs before anything of the request is decoded, and puts the
principal and how it was proven (`cookie` or `bearer`) into the connection's scope.
"""

import hmac
from typing import Any, Literal

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.exceptions import NotFoundException, PermissionDeniedException
from litestar.handlers.base import BaseRouteHandler

from orchestrator.accounts.errors import NotSignedIn
from orchestrator.accounts.service import Accounts, Principal
from orchestrator.api.access import ACCESS, Access
from orchestrator.api.cookies import Cookies
from orchestrator.api.errors import (
    CsrfTokenWrong,
    ForbiddenForRole,
    ForeignOrigin,
    NotJson,
    UnknownHost,
)
from orchestrator.api.origins import Origins

Credential = Literal["cookie", "bearer"]
Connection = ASGIConnection[Any, Any, Any, Any]

UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
ANY_FORM = frozenset({"upload_file"})
"""A file may be of any form. No form of another site can send a PUT at all."""
ANY_HOST = ("/health/", "/metrics")
"""Probes call by address, and learn nothing that a name would protect."""


class Gate:
    def __init__(
        self, *, accounts: Accounts, cookies: Cookies, origins: Origins, metrics_token: str
    ) -> None:
        self._accounts = accounts
        self._cookies = cookies
        self._origins = origins
        self._metrics_token = metrics_token

    async def admit(self, connection: Connection, handler: BaseRouteHandler) -> None:
        """Raises NotSignedIn, one of the door's own refusals, or NotFound for an unlisted route."""
        access = ACCESS.get(handler.name or "")
        self._check_host(connection)
        if access is None:
            raise NotFoundException
        if access is Access.STREAM:
            return self._check_socket_origin(connection)
        if access is Access.PUBLIC:
            self._check_no_foreign_page(connection)
            return _check_form(connection)
        if access is Access.METRICS and self._has_metrics_token(connection):
            return None
        principal, credential = await self.identify(connection)
        self._check_forgery(connection, principal, credential)
        if handler.name not in ANY_FORM:
            _check_form(connection)
        if not access.admits(principal.role):
            raise ForbiddenForRole
        connection.scope["user"], connection.scope["auth"] = principal, credential
        return None

    async def identify(self, connection: Connection) -> tuple[Principal, Credential]:
        """By the bearer token where one is sent, else by the cookie. Raises NotSignedIn."""
        token = bearer_token(connection)
        if token is not None:
            return await self._accounts.authenticate(token), "bearer"
        cookie = connection.cookies.get(self._cookies.names.access)
        if not cookie:
            raise NotSignedIn
        return await self._accounts.authenticate(cookie), "cookie"

    def _check_host(self, connection: Connection) -> None:
        if connection.scope["path"].startswith(ANY_HOST):
            return
        if connection.headers.get("host", "").lower() not in self._origins.hosts:
            raise UnknownHost

    def _check_socket_origin(self, connection: Connection) -> None:
        """A page may open a socket to anywhere, with cookies: only ours may. Programs with a bearer
        token need no origin, and a page cannot send one. The refusal comes before the accept."""
        origin = connection.headers.get("origin")
        if origin is None and bearer_token(connection) is not None:
            return
        if not self._origins.allows(origin):
            raise PermissionDeniedException("This socket was opened by another site's page.")

    def _check_no_foreign_page(self, connection: Connection) -> None:
        """Signing in, refreshing and signing out: not by another site's page. Programs send neither
        header; a browser sends at least one of them."""
        if not _is_unsafe(connection):
            return
        site = connection.headers.get("sec-fetch-site")
        origin = connection.headers.get("origin")
        if site is not None and site not in {"same-origin", "none"}:
            raise ForeignOrigin
        if origin is not None and not self._origins.allows(origin):
            raise ForeignOrigin

    def _check_forgery(
        self, connection: Connection, principal: Principal, credential: Credential
    ) -> None:
        if credential == "bearer" or not _is_unsafe(connection):
            return
        self.check_own_page(connection)
        token = connection.headers.get("x-csrf-token")
        if not self._cookies.csrf_token_fits(token, principal.sign_in):
            raise CsrfTokenWrong

    def check_own_page(self, connection: Connection) -> None:
        """Positive proof, for what acts by cookie alone. Raises ForeignOrigin."""
        self._check_no_foreign_page(connection)
        if connection.headers.get("sec-fetch-site") is None and not self._origins.allows(
            connection.headers.get("origin")
        ):
            raise ForeignOrigin

    def _has_metrics_token(self, connection: Connection) -> bool:
        token = bearer_token(connection)
        if not self._metrics_token or token is None:
            return False
        return hmac.compare_digest(token.encode(), self._metrics_token.encode())


def bearer_token(connection: Connection) -> str | None:
    kind, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def _is_unsafe(connection: Connection) -> bool:
    if connection.scope["type"] != ScopeType.HTTP:
        return False
    return connection.scope["method"] in UNSAFE


def _has_body(connection: Connection) -> bool:
    headers = connection.headers
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _check_form(connection: Connection) -> None:
    """JSON only: no form of another site can send that without asking first."""
    if not _is_unsafe(connection) or not _has_body(connection):
        return
    kind = connection.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise NotJson
