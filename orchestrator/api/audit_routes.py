"""The audit log, for administrators."""

from typing import Annotated

import msgspec
from litestar import Router, get
from litestar.params import QueryParameter

from orchestrator.accounts.audit import AuditFilter
from orchestrator.api.dependencies import TheAudit
from orchestrator.api.documented import problems
from orchestrator.api.views import Answer

NEWEST = 1 << 62
"""Above every number of an entry, and within what databases count to."""


class AuditEntryView(Answer, frozen=True, kw_only=True):
    """`actor` did `action` to `object`. Much of it was chosen by sandboxes and strangers: show it
    as plain text."""

    seq: int
    at: str
    actor: str
    action: str
    object: str
    result: str
    """`ok`, `refused` or `failed`."""
    address: str
    detail: str


class AuditList(Answer, frozen=True, kw_only=True):
    entries: list[AuditEntryView]
    """Newest first."""
    next_cursor: str | None
    """The next page's `before`."""


@get("/audit", name="list_audit", responses=problems(422, 503))
async def list_audit(
    audit: TheAudit,
    before: Annotated[int | None, QueryParameter(ge=1, le=NEWEST)] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=200)] = 50,
    action: Annotated[str | None, QueryParameter(max_length=100)] = None,
    by: Annotated[str | None, QueryParameter(name="actor", max_length=100)] = None,
) -> AuditList:
    """Who did what, newest first. `actor` is a user's name, or as an entry has it."""
    matching = AuditFilter(action=action or None, actor=by or None)
    page = await audit.page(before=before, limit=limit, matching=matching)
    cursor = None if page.next_cursor is None else str(page.next_cursor)
    entries = [msgspec.convert(e, AuditEntryView, from_attributes=True) for e in page.entries]
    return AuditList(entries=entries, next_cursor=cursor)


def audit_router() -> Router:
    return Router(path="/admin", tags=["admin"], route_handlers=[list_audit])
