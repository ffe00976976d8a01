"""What sandboxes tried to reach and may not, for those who write the profiles."""

import msgspec
from litestar import Router, get

from orchestrator.api.dependencies import TheRefusedHosts
from orchestrator.api.documented import problems
from orchestrator.api.views import Answer


class RefusalView(Answer, frozen=True, kw_only=True):
    """`host` is as a sandbox spelled it: show it as plain text."""

    profile: str
    host: str
    port: int
    tag: str
    """Why: `host_not_allowed`, `private_address`, ..."""
    count: int
    first_at: str
    last_at: str


class RefusalList(Answer, frozen=True, kw_only=True):
    refusals: list[RefusalView]
    """Newest first."""
    dropped: int
    """Hosts that are no longer here because of newer ones."""


@get("/egress", name="list_refused_hosts", responses=problems())
async def list_refused_hosts(refused_hosts: TheRefusedHosts) -> RefusalList:
    """Refused hosts of each profile, counted."""
    rows = refused_hosts.rows()
    return RefusalList(
        refusals=[msgspec.convert(row, RefusalView, from_attributes=True) for row in rows],
        dropped=refused_hosts.dropped,
    )


def egress_router() -> Router:
    return Router(path="/admin", tags=["admin"], route_handlers=[list_refused_hosts])
