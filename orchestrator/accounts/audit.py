"""The audit log as the rest of Casemate sees it: what is written down, and who may read it.

For: who did what, when, and how it ended, so that it can be proved later. Not for what was said: no
prompt, command, file content, password or token is ever in it. How it is kept from being changed is
in `audit_chain`, how it is written in `audit_log`.
"""

from typing import Literal, Protocol

import msgspec

from orchestrator.accounts.ports import UserStore
from orchestrator.protocol.ids import UserId

COMMAND_LINE = "command line"
CASEMATE = "casemate"
LONGEST_FIELD = 300
"""Characters. Much of what is named was chosen by a sandbox or a stranger."""

USER = "user/"
"""What a user's id is called, as an actor and as an object."""

AuditResult = Literal["ok", "refused", "failed"]


class AuditFact(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done: `actor` did `action` to `object`."""

    action: str
    """`noun.verb_past`, as in the log: `user.changed`, `egress.refused`."""
    actor: str = CASEMATE
    """`user/<id>`, `session/<id>` for what an agent did, `command line`, or `casemate`."""
    object: str = ""
    """`user/<id>`, `session/<id>`, `profile/<name>`, `host/<name>:<port>`, ..."""
    result: AuditResult = "ok"
    address: str = ""
    """From where, if it came over the network."""
    detail: str = ""


class AuditEntry(AuditFact, frozen=True, kw_only=True):
    seq: int
    """From 1, without a gap."""
    at: str
    """RFC 3339 UTC with milliseconds."""


class AuditTrail(Protocol):
    def record(self, fact: AuditFact) -> None:
        """Never blocks and never raises. What cannot be kept is counted, and the count is kept."""


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    entries: list[AuditEntry]
    next_cursor: int | None
    """The `before` of the next page."""


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """None for any."""

    action: str | None = None
    actor: str | None = None


def plain(text: str) -> str:
    """One line without control characters, text-direction codes and the like, of bounded length."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= LONGEST_FIELD else f"{shown[: LONGEST_FIELD - 1]}…"


def user_name_of(user: UserId | None) -> str:
    """How a user is named in a fact; none is whoever works at the machine itself."""
    return COMMAND_LINE if user is None else f"{USER}{user}"


async def with_names(entries: list[AuditEntry], users: UserStore) -> list[AuditEntry]:
    """The same for a person to read: names of users in place of their ids."""
    ids = {part for entry in entries for part in (entry.actor, entry.object)}
    names: dict[str, str] = {}
    for part in ids:
        if part.startswith(USER):
            user = await users.get(UserId(part.removeprefix(USER)))
            names[part] = user.name if user is not None else part
    return [
        msgspec.structs.replace(
            entry,
            actor=names.get(entry.actor, entry.actor),
            object=names.get(entry.object, entry.object),
        )
        for entry in entries
    ]
