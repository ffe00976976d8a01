"""What happened to accounts, for the log and the metrics. Never holds a password, token or code."""

from typing import Literal, Protocol

import msgspec

from orchestrator.accounts.ports import SignInId
from orchestrator.protocol.ids import UserId

AccountEventName = Literal[
    "sign_in.succeeded",
    "sign_in.refused",
    "sign_in.throttled",
    "sign_in.refreshed",
    "sign_in.reuse_detected",
    "sign_in.ended",
    "sign_in_link.created",
    "user.added",
    "user.changed",
    "user.password_changed",
]


class AccountEvent(msgspec.Struct, frozen=True, kw_only=True):
    name: AccountEventName
    user: UserId | None = None
    by: UserId | None = None
    """Who did it, where that is somebody else; none for the command line."""
    sign_in: SignInId | None = None
    address: str = ""
    detail: str = ""


class AccountsWatcher(Protocol):
    def account_event(self, event: AccountEvent) -> None:
        """Must neither block nor raise."""
