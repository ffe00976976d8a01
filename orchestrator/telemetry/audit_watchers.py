"""What happens, as facts of the audit log: watchers that pass on to an AuditTrail.

No text of a person, of Claude or of a tool gets in: a permission is named by its tool and the hash
of its input, a file by its path, a host by its name.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Self

from orchestrator.accounts.audit import (
    CASEMATE,
    USER,
    AuditFact,
    AuditResult,
    AuditTrail,
    user_name_of,
)
from orchestrator.accounts.events import AccountEvent, AccountsWatcher
from orchestrator.protocol.chat import SessionState
from orchestrator.protocol.control_events import (
    EgressRefused,
    FileUploaded,
    PermissionResolved,
    PromptLetGo,
    SandboxLost,
    SessionHibernated,
    WentBack,
)
from orchestrator.protocol.events import Event
from orchestrator.protocol.ids import ProfileName, SessionId
from orchestrator.sessions.ports import SessionRecord

UNREMARKABLE = frozenset({"sign_in.refreshed"})
"""Each page does it every few minutes."""
REFUSED = frozenset({"sign_in.refused", "sign_in.throttled", "sign_in.reuse_detected"})
ONCE_A_MINUTE = frozenset({"sign_in.throttled"})
"""From one address: a flood of attempts shall not become a flood of entries."""
VIOLATIONS = frozenset(
    {
        "link_disorder",
        "link_flooded",
        "link_gap",
        "link_malformed",
        "link_oversize",
        "link_protocol",
        "sandbox_misbehaved",
    }
)
"""Why a sandbox is killed that did what no shim does."""
MAX_ADDRESSES = 1_000
MAX_HOSTS = 20
"""Different refusals of one session that are counted one by one between two writings: a sandbox
that makes names up shall not fill a log from which nothing is ever removed."""
WRITE_SECONDS = 60.0


class AccountAudit:
    """An AccountsWatcher."""

    def __init__(
        self,
        trail: AuditTrail,
        *,
        after: AccountsWatcher,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trail, self._after, self._now = trail, after, now
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()

    def account_event(self, event: AccountEvent) -> None:
        if event.name not in UNREMARKABLE and not self._is_repeated(event):
            self._trail.record(account_fact(event))
        self._after.account_event(event)

    def _is_repeated(self, event: AccountEvent) -> bool:
        if event.name not in ONCE_A_MINUTE:
            return False
        key, now = (event.name, event.address), self._now()
        if now - self._told.get(key, -60.0) < 60.0:  # noqa: PLR2004 - a minute
            return True
        self._told[key] = now
        self._told.move_to_end(key)
        if len(self._told) > MAX_ADDRESSES:
            self._told.popitem(last=False)
        return False


def account_fact(event: AccountEvent) -> AuditFact:
    """Who signs in acts for themselves; without a user it is nobody whom Casemate knows."""
    user = "" if event.user is None else f"{USER}{event.user}"
    by_machine = event.by is None and not event.name.startswith("sign_in.")
    actor = user_name_of(event.by) if event.by is not None or by_machine else user or "stranger"
    result: AuditResult = "refused" if event.name in REFUSED else "ok"
    return AuditFact(
        action=event.name,
        actor=actor,
        object=user,
        result=result,
        address=event.address,
        detail=event.detail,
    )


class SessionAudit:
    """A SessionListener."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail

    def happened(self, session: SessionRecord, event: Event) -> None:
        match event:
            case (
                PermissionResolved()
                | FileUploaded()
                | SandboxLost()
                | WentBack()
                | PromptLetGo()
                | SessionHibernated()
            ):
                fact = session_fact(session, event)
                if fact is not None:
                    self._trail.record(fact)
            case _:
                pass

    def state_changed(
        self, session: SessionRecord, *, before: SessionState | None, after: SessionState | None
    ) -> None: ...


Remarkable = (
    PermissionResolved | FileUploaded | SandboxLost | WentBack | PromptLetGo | SessionHibernated
)


def session_fact(session: SessionRecord, event: Remarkable) -> AuditFact | None:
    """Only its owner acts in a session, so the owner is who did it."""
    there, owner = f"session/{session.id}", f"{USER}{session.owner}"
    match event:
        case PermissionResolved():
            changed = ", changed" if event.changed_input else ""
            return AuditFact(
                action="permission.resolved",
                actor=owner,
                object=there,
                result="ok" if event.choice.startswith("allow") else "refused",
                detail=f"{event.choice} {event.tool_name} input {event.input_hash}{changed}",
            )
        case FileUploaded():
            detail = f"{event.size} bytes to {event.path}"
            return AuditFact(action="file.uploaded", actor=owner, object=there, detail=detail)
        case SandboxLost(tag=tag) if tag in VIOLATIONS:
            return AuditFact(
                action="sandbox.killed", actor=CASEMATE, object=there, result="failed", detail=tag
            )
        case _:
            return _changed_by_owner(event, there=there, owner=owner)


def _changed_by_owner(event: Remarkable, *, there: str, owner: str) -> AuditFact | None:
    """What a person did with the session itself. That it slept by itself is no deed."""
    match event:
        case WentBack(checkpoint_id=checkpoint):
            return AuditFact(
                action="session.went_back", actor=owner, object=there, detail=checkpoint
            )
        case PromptLetGo(client_id=client_id):
            return AuditFact(action="prompt.let_go", actor=owner, object=there, detail=client_id)
        case SessionHibernated(reason="asked"):
            return AuditFact(action="session.hibernated", actor=owner, object=there)
        case _:
            return None


class EgressAudit:
    """Refusals of the egress proxy, summed up: an async context manager that writes now and then,
    and what is left at its end."""

    def __init__(self, trail: AuditTrail, *, seconds: float = WRITE_SECONDS) -> None:
        self._trail = trail
        self._seconds = seconds
        self._counts: dict[SessionId, dict[tuple[ProfileName, str, int, str], int]] = {}
        self._others: dict[SessionId, int] = {}
        self._writing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._writing = asyncio.create_task(self._write_often(), name="egress-audit")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writing is not None:
            self._writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writing
        self._write()

    def refused(self, session: SessionId, profile: ProfileName, event: EgressRefused) -> None:
        key = (profile, event.host, event.port, event.tag)
        counts = self._counts.setdefault(session, {})
        if key in counts or len(counts) < MAX_HOSTS:
            counts[key] = counts.get(key, 0) + event.count
        else:
            self._others[session] = self._others.get(session, 0) + event.count

    async def _write_often(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            self._write()

    def _write(self) -> None:
        counts, self._counts = self._counts, {}
        others, self._others = self._others, {}
        for session, hosts in counts.items():
            for (profile, host, port, tag), count in hosts.items():
                said = f"{tag}, {count} times, profile {profile}"
                self._record(session, object_=f"host/{host}:{port}", detail=said)
        for session, count in others.items():
            self._record(session, object_="host/*", detail=f"others, {count} times")

    def _record(self, session: SessionId, *, object_: str, detail: str) -> None:
        self._trail.record(
            AuditFact(
                action="egress.refused",
                actor=f"session/{session}",
                object=object_,
                result="refused",
                detail=detail,
            )
        )
