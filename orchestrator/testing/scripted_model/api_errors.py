"""The model API's errors, in its own shape, as the scripted model answers them. Pure."""

import secrets

import msgspec

_KINDS = {
    400: ("invalid_request_error", "The request is not valid."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use this resource."),
    404: ("not_found_error", "model: the requested model was not found"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "Request timed out"),
    529: ("overloaded_error", "Overloaded"),
}


def error_body(status: int, message: str | None = None) -> bytes:
    """`{"type": "error", "error": {"type": …, "message": …}, "request_id": …}`."""
    fallback = ("api_error", f"Status {status}") if status >= 500 else _KINDS[400]  # noqa: PLR2004 - HTTP's own border
    kind, text = _KINDS.get(status, fallback)
    error = {"type": kind, "message": message or text}
    return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id()})


def request_id() -> str:
    return f"req_{secrets.token_hex(12)}"
