"""Writes what happened to accounts into the log and passes it on to the metrics."""

import structlog

from orchestrator.accounts.events import AccountEvent, AccountsWatcher

WARNINGS = {"sign_in.refused", "sign_in.throttled", "sign_in.reuse_detected"}


class AccountLog:
    """An AccountsWatcher."""

    def __init__(self, after: AccountsWatcher) -> None:
        self._after = after
        self._log = structlog.stdlib.get_logger("casemate.accounts")

    def account_event(self, event: AccountEvent) -> None:
        fields = {
            "user_id": event.user,
            "by": event.by,
            "sign_in_id": event.sign_in,
            "address": event.address,
            "detail": event.detail,
        }
        write = self._log.warning if event.name in WARNINGS else self._log.info
        write(event.name, **{name: value for name, value in fields.items() if value})
        self._after.account_event(event)
