"""What `casemate audit` does, for whoever may use the machine that Casemate runs on."""

import msgspec

from orchestrator.accounts.audit import AuditEntry, AuditFilter
from orchestrator.accounts.audit_chain import Finding
from orchestrator.app import open_audit
from orchestrator.settings import Settings


async def verify(settings: Settings) -> Finding:
    """Also while Casemate runs."""
    async with open_audit(settings) as audit:
        return await audit.verify()


def verdict(finding: Finding) -> str:
    if finding.is_whole:
        return f"The audit log is whole: {finding.checked} records."
    return (
        f"The audit log is not as it was written. {finding.sentence} "
        f"The {finding.checked} records before that are good."
    )


async def entries(
    settings: Settings, *, action: str | None, actor: str | None, limit: int
) -> list[AuditEntry]:
    """The newest, in the order in which they happened."""
    matching = AuditFilter(action=action, actor=actor)
    async with open_audit(settings) as audit:
        page = await audit.page(before=None, limit=limit, matching=matching)
    return page.entries[::-1]


def line(entry: AuditEntry) -> str:
    parts = [entry.at, entry.actor, entry.action, entry.object]
    parts += ["" if entry.result == "ok" else entry.result, entry.address, entry.detail]
    return "  ".join(part for part in parts if part)


def as_json(entry: AuditEntry) -> str:
    return msgspec.json.encode(entry).decode()
