"""How the gateway says no, in the model API's own words, so that the CLI can show why. Pure.

    Refused        status, kind (the API's `error.type`), sentence; retry_after in seconds or None;
                   final: the CLI shall not try again by itself

Each kind of refusal is a function below; nothing of the sandbox's content is repeated in one.
"""

import msgspec

from orchestrator.protocol.control_events import UpstreamFailed


class Refused(Exception):
    """A request that was not, or not completely, passed on."""

    def __init__(
        self,
        status: int,
        kind: str,
        sentence: str,
        *,
        retry_after: int | None = None,
        final: bool = False,
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.kind = kind
        self.sentence = sentence
        self.retry_after = retry_after
        self.final = final


def error_body(kind: str, sentence: str) -> bytes:
    """The model API's error shape."""
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": sentence}})


def invalid(sentence: str) -> Refused:
    return Refused(400, "invalid_request_error", f"Casemate: {sentence}")


def forbidden(sentence: str) -> Refused:
    return Refused(403, "permission_error", f"Casemate: {sentence}")


def not_admitted() -> Refused:
    return forbidden("this sandbox belongs to no session yet.")


def unknown_path() -> Refused:
    return forbidden("the gateway passes on messages, token counts and the list of models only.")


def wrong_method() -> Refused:
    return Refused(405, "invalid_request_error", "Casemate: that method is not allowed here.")


def too_large(limit: int) -> Refused:
    return Refused(
        413, "request_too_large", f"Casemate: the request is larger than {limit >> 20} MiB."
    )


def too_slow() -> Refused:
    return Refused(408, "timeout_error", "Casemate: the request's body did not arrive in time.")


def too_many(sentence: str, *, retry_after: int) -> Refused:
    return Refused(429, "rate_limit_error", f"Casemate: {sentence}", retry_after=retry_after)


def no_length() -> Refused:
    """Nobody needs chunks here, and a million of one byte each cost a million calls."""
    return Refused(
        411, "invalid_request_error", "Casemate: send the body whole, with a content-length."
    )


def no_expectations() -> Refused:
    return Refused(
        417, "invalid_request_error", "Casemate: send the body at once, without `Expect`."
    )


def upstream_down(failure: UpstreamFailed, *, seconds: float) -> Refused:
    """Tried again by the CLI, it would only delay the word to its person: `x-should-retry: false`
    ends the turn at once, where 503 alone means four attempts and a minute."""
    return Refused(
        503,
        "api_error",
        f"Casemate: {failure.sentence} {failure.advice}",
        retry_after=max(1, round(seconds)),
        final=True,
    )


def budget_used(limit: int) -> Refused:
    """A status that the CLI does not try again after, unlike 401 and 429."""
    return forbidden(f"this session has used its budget of {limit:,} tokens.")


def budget_reserved() -> Refused:
    return too_many(
        "what is left of this session's token budget is reserved by requests under way.",
        retry_after=5,
    )
