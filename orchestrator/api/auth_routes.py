"""Signing in and out. Browsers get cookies that no script sees; programs get a pair of tokens."""

import asyncio
import time
from typing import Any

from litestar import Response, Router, get, post, put
from litestar.params import JSONBody

from orchestrator.accounts.errors import NotSignedIn, RefreshSuperseded, SignInOver
from orchestrator.accounts.service import Admission
from orchestrator.api.cookies import Cookies
from orchestrator.api.dependencies import (
    AnAccounts,
    AnyRequest,
    SignedInRequest,
    TheGate,
    TheJar,
    ThePrincipal,
    TheSettings,
)
from orchestrator.api.documented import problems
from orchestrator.api.gate import Gate, bearer_token
from orchestrator.api.problems import refusal_response
from orchestrator.api.views import (
    Credentials,
    LinkCode,
    Me,
    NewPassword,
    RefreshWish,
    TokenPair,
    me,
    token_pair,
)

MAX_DEVICE = 200


@post("/login", name="login", status_code=200, responses=problems(413, 415, 422, 429, 503))
async def login(
    data: JSONBody[Credentials], request: AnyRequest, accounts: AnAccounts, jar: TheJar
) -> Response[Me]:
    """Sign a browser in with name and password: sets the cookies."""
    admission = await accounts.login(
        data.username, data.password, address=address_of(request), device=device_of(request)
    )
    return _admitted(admission, jar)


@post("/link", name="login_with_link", status_code=200, responses=problems(413, 415, 422, 429))
async def login_with_link(
    data: JSONBody[LinkCode], request: AnyRequest, accounts: AnAccounts, jar: TheJar
) -> Response[Me]:
    """Sign a browser in with the code of a one-time link: sets the cookies."""
    admission = await accounts.sign_in_with_link(
        data.code, address=address_of(request), device=device_of(request)
    )
    return _admitted(admission, jar)


@post("/token", name="get_token", status_code=200, responses=problems(413, 415, 422, 429, 503))
async def get_token(
    data: JSONBody[Credentials], request: AnyRequest, accounts: AnAccounts
) -> TokenPair:
    """Sign a program in: tokens in the body, no cookies. Send `Authorization: Bearer …`."""
    admission = await accounts.login(
        data.username, data.password, address=address_of(request), device=device_of(request)
    )
    return token_pair(admission, now=time.time())


@post("/refresh", name="refresh", status_code=200, responses=problems(409, 413, 415, 422, 429))
async def refresh(
    *,
    request: AnyRequest,
    accounts: AnAccounts,
    jar: TheJar,
    gate: TheGate,
    settings: TheSettings,
    data: JSONBody[RefreshWish | None] = None,
) -> Response[Me] | Response[TokenPair] | Response[None]:
    """The next pair of tokens: by the body for programs, else by the cookie for browsers.

    Where another tab refreshed a moment ago a browser gets 204 (its cookies are new already), a
    program 409.
    """
    if data is not None and data.refresh_token is not None:
        admission = await accounts.refresh(data.refresh_token, address=address_of(request))
        return Response(token_pair(admission, now=time.time()))
    token = request.cookies.get(jar.names.refresh)
    if not token:
        raise NotSignedIn
    gate.check_own_page(request)
    try:
        admission = await accounts.refresh(token, address=address_of(request))
    except RefreshSuperseded:
        await asyncio.sleep(settings.grace_pause)
        return Response(None, status_code=204)
    except SignInOver as error:
        return _with_cookies(refusal_response(request, error), jar)
    return _admitted(admission, jar)


@post("/logout", name="logout", status_code=204, responses=problems(413, 415, 422))
async def logout(
    *,
    request: AnyRequest,
    accounts: AnAccounts,
    jar: TheJar,
    gate: TheGate,
    data: JSONBody[RefreshWish | None] = None,
) -> Response[None]:
    """End this sign-in on the server, whichever of its tokens is sent. Always 204."""
    token = data.refresh_token if data is not None else None
    if token is not None:
        await accounts.logout_with(token)
        return Response(None, status_code=204)
    if bearer_token(request) is None and request.cookies:
        gate.check_own_page(request)
    await _end_what_is_proven(request, accounts, jar, gate)
    return _with_cookies(Response(None, status_code=204), jar)


@get("/me", name="me", responses=problems())
async def who_am_i(principal: ThePrincipal) -> Me:
    """Who is signed in, and until when the access token is good."""
    return me(principal)


@put("/password", name="choose_password", responses=problems(409, 413, 415, 422, 429, 503))
async def choose_password(
    data: JSONBody[NewPassword],
    request: SignedInRequest,
    principal: ThePrincipal,
    accounts: AnAccounts,
    jar: TheJar,
) -> Response[Me] | Response[TokenPair]:
    """Choose one's own password. Every sign-in of the user ends; this client gets a new one."""
    admission = await accounts.choose_password(
        principal,
        current=data.current,
        new=data.new,
        address=address_of(request),
        device=device_of(request),
    )
    if request.auth == "bearer":
        return Response(token_pair(admission, now=time.time()))
    return _admitted(admission, jar)


def auth_router() -> Router:
    return Router(
        path="/auth",
        tags=["auth"],
        route_handlers=[
            login,
            login_with_link,
            get_token,
            refresh,
            logout,
            who_am_i,
            choose_password,
        ],
    )


def address_of(request: AnyRequest) -> str:
    """As the server saw it, or as a trusted proxy told."""
    return request.client.host if request.client else "unknown"


def device_of(request: AnyRequest) -> str:
    return request.headers.get("user-agent", "")[:MAX_DEVICE]


async def _end_what_is_proven(
    request: AnyRequest, accounts: AnAccounts, jar: Cookies, gate: Gate
) -> None:
    refresh_token = request.cookies.get(jar.names.refresh)
    if bearer_token(request) is None and refresh_token:
        await accounts.logout_with(refresh_token)
    try:
        principal, _ = await gate.identify(request)
    except NotSignedIn:
        return
    await accounts.logout(principal.sign_in)


def _admitted(admission: Admission, jar: Cookies) -> Response[Me]:
    return Response(me(admission.principal), status_code=200, cookies=jar.of(admission))


def _with_cookies(response: Response[Any], jar: Cookies) -> Response[Any]:
    response.cookies.extend(jar.cleared())
    return response
