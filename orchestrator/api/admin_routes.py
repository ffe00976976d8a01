"""Pools and users, for those who run Casemate."""

from typing import Annotated

import msgspec
from litestar import Response, Router, get, patch, post, put
from litestar.params import FromPath, JSONBody, QueryParameter

from orchestrator.accounts.audit import AuditFact, user_name_of
from orchestrator.api.auth_routes import address_of
from orchestrator.api.dependencies import (
    AnAccounts,
    APools,
    ASessions,
    SignedInRequest,
    TheAudit,
    ThePrincipal,
    ThePublicUrl,
)
from orchestrator.api.documented import problems
from orchestrator.api.views import (
    LinkView,
    LinkWish,
    ManagedUser,
    NewUser,
    PoolList,
    PoolSizes,
    PoolView,
    SessionFiguresView,
    UserChange,
    UserList,
    managed_user,
    rfc3339,
)
from orchestrator.protocol.ids import ProfileName, UserId


@get("/pools", name="list_pools", responses=problems(503))
async def list_pools(pools: APools, sessions: ASessions) -> PoolList:
    """Every profile's pool, as it is now, and what becomes of sessions beside it."""
    figures = await sessions.figures()
    return PoolList(
        pools=[_pool_view(pool) for pool in pools.pools()],
        sessions=msgspec.convert(figures, SessionFiguresView, from_attributes=True),
    )


@put("/pools/{profile:str}", name="resize_pool", responses=problems(404, 413, 415, 422))
async def resize_pool(
    profile: FromPath[ProfileName],
    data: JSONBody[PoolSizes],
    request: SignedInRequest,
    pools: APools,
    audit: TheAudit,
) -> PoolView:
    """Change a pool's sizes: at once, and for later starts too."""
    pool = await pools.resize(profile, minimum=data.min, maximum=data.max)
    audit.record(
        AuditFact(
            action="pool.resized",
            actor=user_name_of(request.user.user),
            object=f"profile/{profile}",
            address=address_of(request),
            detail=f"min {data.min}, max {data.max}",
        )
    )
    return _pool_view(pool)


@get("/users", name="list_users", responses=problems(422))
async def list_users(
    accounts: AnAccounts,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, QueryParameter(max_length=64)] = None,
) -> UserList:
    """Everybody who has an account, by name."""
    users = await accounts.list_users(limit=limit, after=cursor)
    more = users[-1].name if len(users) == limit else None
    return UserList(users=[managed_user(user) for user in users], next_cursor=more)


@post("/users", name="add_user", responses=problems(409, 413, 415, 422, 503))
async def add_user(
    data: JSONBody[NewUser], principal: ThePrincipal, accounts: AnAccounts
) -> Response[ManagedUser]:
    """Add a user. Without a password, give them a link next."""
    user = await accounts.add_user(
        data.name, role=data.role, password=data.password, by=principal.user
    )
    location = {"Location": f"/api/v1/admin/users/{user.id}"}
    return Response(managed_user(user), status_code=201, headers=location)


@patch("/users/{user_id:str}", name="change_user", responses=problems(404, 409, 413, 415, 422))
async def change_user(
    user_id: FromPath[UserId],
    data: JSONBody[UserChange],
    principal: ThePrincipal,
    accounts: AnAccounts,
) -> ManagedUser:
    """Change a role, disable or enable. Works within seconds, on open streams too."""
    user = await accounts.change_user(
        user_id, role=data.role, disabled=data.disabled, by=principal.user
    )
    return managed_user(user)


@post(
    "/users/{user_id:str}/link",
    name="create_user_link",
    status_code=201,
    responses=problems(404, 409, 413, 415, 422),
)
async def create_user_link(
    user_id: FromPath[UserId],
    data: JSONBody[LinkWish],
    principal: ThePrincipal,
    accounts: AnAccounts,
    public_url: ThePublicUrl,
) -> LinkView:
    """A link that signs the user in once: an invitation, or the way back in."""
    link = await accounts.create_sign_in_link(
        user_id, forget_password=data.forget_password, by=principal.user
    )
    return LinkView(url=f"{public_url}/#link={link.code}", expires_at=rfc3339(link.expires_at))


def admin_router() -> Router:
    return Router(
        path="/admin",
        tags=["admin"],
        route_handlers=[
            list_pools,
            resize_pool,
            list_users,
            add_user,
            change_user,
            create_user_link,
        ],
    )


def _pool_view(pool: object) -> PoolView:
    return msgspec.convert(pool, PoolView, from_attributes=True)
