"""What went wrong on the way to the model API, as a person is told it. Pure.

From a status or a fault to a tag, a plain sentence, and what to do about it.
"""

import re
from typing import Literal

from orchestrator.protocol.control_events import UpstreamFailed

Fault = Literal["dns", "unreachable", "tls", "proxy", "timeout", "cut", "redirected", "unreadable"]
"""How an upstream fails without, or instead of, a proper answer."""

_ADMIN_KEY = "Ask your admin to check ANTHROPIC_API_KEY, then send the prompt again."
_WAIT = "Wait a moment, then send the prompt again."
_ADMIN_NETWORK = "Ask your admin to check the upstream URL and the network of the Casemate server."

_BY_STATUS: dict[int, tuple[str, str, str]] = {
    401: ("upstream_key_refused", "The model API refused Casemate's key.", _ADMIN_KEY),
    402: (
        "upstream_unpaid",
        "The model API account has no credit left.",
        "Ask your admin to check the account's billing.",
    ),
    403: (
        "upstream_forbidden",
        "The model API does not allow this with Casemate's key.",
        "Ask your admin which models and features the key may use, or choose another model.",
    ),
    404: (
        "upstream_model_unknown",
        "The model API does not know this model, or the key may not use it.",
        "Choose another model, or ask your admin to change the profile.",
    ),
    429: ("upstream_rate_limited", "The model API's rate limit is reached.", _WAIT),
    529: ("upstream_overloaded", "The model API is overloaded.", _WAIT),
}

_BY_FAULT: dict[Fault, tuple[str, str, str]] = {
    "dns": (
        "upstream_not_found",
        "The model API's address could not be looked up.",
        _ADMIN_NETWORK,
    ),
    "unreachable": (
        "upstream_unreachable",
        "The model API could not be reached.",
        _ADMIN_NETWORK,
    ),
    "tls": (
        "upstream_untrusted",
        "No secure connection to the model API could be made.",
        "Ask your admin to check the certificate authorities that Casemate trusts.",
    ),
    "proxy": (
        "upstream_proxy_failed",
        "The proxy on the way to the model API failed.",
        "Ask your admin to check the proxy.",
    ),
    "timeout": ("upstream_timeout", "The model API did not answer in time.", _WAIT),
    "cut": (
        "upstream_cut",
        "The connection to the model API broke in the middle of the answer.",
        "Send the prompt again, or write `continue`.",
    ),
    "redirected": (
        "upstream_redirected",
        "The model API answered with a redirection, which is never followed.",
        _ADMIN_NETWORK,
    ),
    "unreadable": (
        "upstream_unreadable",
        "The model API's answer could not be understood.",
        _ADMIN_NETWORK,
    ),
}

_LONGEST_MESSAGE = 2_000
_IDS = re.compile(
    r"\b(?:req|org|wrkspc|acct|key)_[A-Za-z0-9]+|\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b",
    re.IGNORECASE,
)

_BY_ERROR_TYPE = {
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}


def explain_status(
    status: int, *, message: str = "", retry_after: str | None = None
) -> UpstreamFailed | None:
    """None for what is the request's own affair (400, 413): the agent explains that itself."""
    if status == 400 and "credit balance" in message:  # noqa: PLR2004 - how the API says 402
        status = 402
    if status in _BY_STATUS:
        tag, sentence, advice = _BY_STATUS[status]
    elif status >= 500:  # noqa: PLR2004 - HTTP's own border
        tag, sentence, advice = ("upstream_error", "The model API had an internal error.", _WAIT)
    else:
        return None
    if retry_after is not None and retry_after.isdecimal() and advice is _WAIT:
        advice = f"Wait {int(retry_after[:9])} seconds, then send the prompt again."
    return UpstreamFailed(tag=tag, sentence=sentence, advice=advice, status=status)


def explain_fault(fault: Fault) -> UpstreamFailed:
    tag, sentence, advice = _BY_FAULT[fault]
    return UpstreamFailed(tag=tag, sentence=sentence, advice=advice)


def explain_error_event(error_type: str) -> UpstreamFailed:
    """An error that came inside a stream, after a good status."""
    failure = explain_status(_BY_ERROR_TYPE.get(error_type, 500))
    assert failure is not None
    return failure


def explain_budget(limit: int) -> UpstreamFailed:
    """The session's own limit, not the model API's; told in the same way."""
    return UpstreamFailed(
        tag="token_budget_used",
        sentence=f"This session has used its budget of {limit:,} tokens.",
        advice="Start a new session, or ask your admin for a profile with a larger budget.",
        status=403,
    )


_BEYOND_REQUESTS = frozenset(
    _BY_FAULT[fault][0] for fault in ("dns", "unreachable", "tls", "proxy")
)
_FAULT_TAGS = frozenset(tag for tag, _, _ in _BY_FAULT.values())


def is_outage(failure: UpstreamFailed) -> bool:
    """No answer, or the upstream's own error. A rate limit (429) is none: the account has it, the
    answer comes at once and says when to come back."""
    if failure.status is None:
        return failure.tag in _FAULT_TAGS
    return failure.status >= 500  # noqa: PLR2004 - HTTP's own border


def is_beyond_requests(failure: UpstreamFailed) -> bool:
    """Whether nothing that a session can write into its requests causes this."""
    return failure.tag in _BEYOND_REQUESTS


def outage_sentence(failure: UpstreamFailed) -> str:
    """For everybody, while nothing is sent on."""
    return f"{failure.sentence} Prompts fail at once until it answers again."


def explain_outage(sentence: str, *, seconds: float) -> UpstreamFailed:
    """To a session whose request was not sent on."""
    return UpstreamFailed(
        tag="upstream_down",
        sentence=sentence,
        advice=f"Casemate tries again in {max(1, round(seconds))} seconds: then run it again.",
        status=503,
    )


def without_account(message: str) -> str:
    """An upstream's own words without ids of its requests, and of the organisation that pays."""
    return _IDS.sub("…", message[:_LONGEST_MESSAGE])


def status_of_fault(fault: Fault) -> int:
    """What the sandbox is answered when there is no answer to pass on."""
    return 504 if fault == "timeout" else 502
