"""Puts the door together: one Litestar application from its collaborators. Nothing is looked up."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from litestar import Litestar, Router, get
from litestar.di import Provide
from litestar.enums import HttpMethod
from litestar.exceptions import NotFoundException
from litestar.handlers import route
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, Reference, SecurityScheme
from litestar.types import ControllerRouterHandler

from orchestrator.accounts.service import Accounts
from orchestrator.api.about_routes import (
    Edition,
    about_router,
    health_live,
    health_ready,
    metrics,
)
from orchestrator.api.admin_routes import admin_router
from orchestrator.api.audit_routes import audit_router
from orchestrator.api.auth_routes import auth_router
from orchestrator.api.chat_socket import chat_socket
from orchestrator.api.checkpoint_routes import checkpoint_router
from orchestrator.api.cookies import Cookies
from orchestrator.api.dependencies import AnyRequest, per_request, provided
from orchestrator.api.egress_routes import egress_router
from orchestrator.api.event_stream import follow_events
from orchestrator.api.file_routes import file_router
from orchestrator.api.gate import Gate
from orchestrator.api.headers import AnswerHeaders, RequestContext
from orchestrator.api.origins import origins_of
from orchestrator.api.page import page_file, page_root, read_page
from orchestrator.api.ports import (
    AuditSource,
    DoorWatcher,
    HealthSource,
    MetricsSource,
    PoolAdmin,
    RefusedHostSource,
)
from orchestrator.api.problems import EXCEPTION_HANDLERS
from orchestrator.api.session_routes import session_router
from orchestrator.api.settings import ApiSettings
from orchestrator.api.streams import StreamPlaces
from orchestrator.sessions.ports import ProfileCatalogue
from orchestrator.sessions.service import Sessions

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]


def create_api(
    *,
    public_url: str,
    csrf_key: bytes,
    sessions: Sessions,
    accounts: Accounts,
    pools: PoolAdmin,
    catalogue: ProfileCatalogue,
    health: HealthSource,
    metrics: MetricsSource,
    audit: AuditSource,
    refused_hosts: RefusedHostSource,
    watcher: DoorWatcher,
    edition: Edition,
    settings: ApiSettings,
    page_directory: Path | None = None,
    lifespan: tuple[Lifespan, ...] = (),
) -> Litestar:
    """The ASGI application. `page_directory` holds the built web page; it is read here and now."""
    origins = origins_of(public_url, settings.origins)
    cookies = Cookies(secure=origins.secure, csrf_key=csrf_key)
    gate = Gate(
        accounts=accounts, cookies=cookies, origins=origins, metrics_token=settings.metrics_token
    )
    given = {
        "sessions": sessions,
        "accounts": accounts,
        "pools": pools,
        "catalogue": catalogue,
        "health": health,
        "figures": metrics,
        "audit": audit,
        "refused_hosts": refused_hosts,
        "watcher": watcher,
        "edition": edition,
        "settings": settings,
        "jar": cookies,
        "gate": gate,
        "public_url": public_url.rstrip("/"),
        "page": read_page(page_directory, origins=origins),
        "places": StreamPlaces(settings.sockets_per_user),
    }
    answer_headers = AnswerHeaders(secure=origins.secure, watcher=watcher)
    return Litestar(
        route_handlers=routes(),
        guards=[gate.admit],
        dependencies=_dependencies(given),
        exception_handlers=EXCEPTION_HANDLERS,
        middleware=[RequestContext],
        before_send=[answer_headers.add],
        openapi_config=_openapi(edition.version, cookies),
        request_max_body_size=settings.body_bytes,
        lifespan=list(lifespan),
        logging_config=None,
        debug=False,
    )


def routes() -> list[ControllerRouterHandler]:
    v1 = Router(
        path="/api/v1",
        route_handlers=[
            auth_router(),
            session_router(),
            file_router(),
            checkpoint_router(),
            about_router(),
            admin_router(),
            audit_router(),
            egress_router(),
            chat_socket,
            follow_events,
            openapi,
        ],
    )
    return [v1, unknown_api_path, health_live, health_ready, metrics, page_root, page_file]


@get("/openapi.json", name="openapi", include_in_schema=False)
async def openapi(request: AnyRequest) -> dict[str, object]:
    """This API, described (OpenAPI 3.1)."""
    return request.app.openapi_schema.to_schema()


@route(
    "/api/{path:path}",
    name="unknown_api_path",
    http_method=[
        HttpMethod.GET,
        HttpMethod.POST,
        HttpMethod.PUT,
        HttpMethod.PATCH,
        HttpMethod.DELETE,
    ],
    include_in_schema=False,
)
async def unknown_api_path() -> None:
    raise NotFoundException


def _dependencies(given: dict[str, object]) -> dict[str, Provide]:
    return {**{name: provided(value) for name, value in given.items()}, **per_request()}


def _openapi(version: str, cookies: Cookies) -> OpenAPIConfig:
    schemes: dict[str, SecurityScheme | Reference] = {
        "bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT"),
        "cookie": SecurityScheme(
            type="apiKey",
            name=cookies.names.access,
            security_scheme_in="cookie",
            description="For the page; what changes anything needs `X-CSRF-Token` as well.",
        ),
    }
    return OpenAPIConfig(
        components=Components(security_schemes=schemes),
        security=[{"bearer": []}, {"cookie": []}],
        use_handler_docstrings=True,
        title="Casemate",
        version=version,
        description="Claude Code in the browser, on your own hardware. Errors are problem details.",
        operation_id_creator=lambda handler, _method, _path: str(handler.name),
        path="/api/v1/openapi",  # the framework's own pages: not in the access table, so closed
    )
