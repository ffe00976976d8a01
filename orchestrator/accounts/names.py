"""Names of users: one spelling each, so that no two look or compare alike by accident."""

import re

from orchestrator.accounts.errors import BadName

_NAME = re.compile(r"[a-z][a-z0-9._@-]{0,63}")


def normalised(name: str) -> str:
    """Lower case, without surrounding space. Raises BadName for what no user may be called."""
    candidate = name.strip().lower()
    if not _NAME.fullmatch(candidate):
        raise BadName
    return candidate
