"""The audit log and the store of refused hosts, in memory."""

import msgspec

from orchestrator.accounts.audit import AuditEntry, AuditFact, AuditFilter, AuditPage
from orchestrator.protocol.ids import ProfileName
from orchestrator.sessions.refused_hosts import Key, RefusedHost


class MemoryAudit:
    """An AuditTrail that can be read, without a chain: what was recorded, in its order."""

    def __init__(self) -> None:
        self.facts: list[AuditFact] = []

    def record(self, fact: AuditFact) -> None:
        self.facts.append(fact)

    @property
    def actions(self) -> list[str]:
        return [fact.action for fact in self.facts]

    async def page(self, *, before: int | None, limit: int, matching: AuditFilter) -> AuditPage:
        found = [
            AuditEntry(seq=seq, at="2026-01-02T03:04:05.678Z", **msgspec.structs.asdict(fact))
            for seq, fact in enumerate(self.facts, start=1)
            if (before is None or seq < before)
            and matching.action in (None, fact.action)
            and matching.actor in (None, fact.actor)
        ][::-1]
        more = found[limit - 1].seq if len(found) > limit else None
        return AuditPage(entries=found[:limit], next_cursor=more)


class MemoryRefusedHostStore:
    """A RefusedHostStore."""

    def __init__(self) -> None:
        self.hosts: dict[tuple[ProfileName, Key], RefusedHost] = {}
        self.dropped: dict[ProfileName, int] = {}

    async def load(self) -> tuple[list[RefusedHost], dict[ProfileName, int]]:
        hosts = sorted(self.hosts.values(), key=lambda host: host.last_at)
        return hosts, dict(self.dropped)

    async def save(
        self,
        *,
        changed: list[RefusedHost],
        gone: list[RefusedHost],
        dropped: dict[ProfileName, int],
    ) -> None:
        for host in gone:
            self.hosts.pop((host.profile, host.key), None)
        self.hosts.update({(host.profile, host.key): host for host in changed})
        self.dropped.update(dropped)
