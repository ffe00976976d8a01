"""An error of the upstream, as the sandbox is told it: in the API's shape, without what it may say
of the key or of the account behind it."""

from collections.abc import AsyncIterator

import aiohttp
import msgspec
from aiohttp import web

from orchestrator.gateway.answers import error_response
from orchestrator.gateway.failures import explain_status, without_account
from orchestrator.protocol.control_events import UpstreamFailed

_ERROR_LIMIT = 64 << 10
_ABOUT_THE_ACCOUNT = frozenset({401, 402, 403, 429})


class _ApiError(msgspec.Struct):
    type: str = ""
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: _ApiError


async def explained(
    response: aiohttp.ClientResponse, pieces: AsyncIterator[bytes]
) -> tuple[web.Response, UpstreamFailed | None]:
    """What the sandbox is answered, and what its people are told. Raises UpstreamFault."""
    kind, message = _error_of(await _beginning(pieces))
    retry_after = response.headers.get("retry-after")
    failure = explain_status(response.status, message=message, retry_after=retry_after)
    if failure is not None and (failure.status in _ABOUT_THE_ACCOUNT or not kind):
        message = f"{failure.sentence} {failure.advice}"
    answer = error_response(
        response.status,
        kind or "api_error",
        without_account(message) or f"The model API answered with status {response.status}.",
        headers=response.headers.items(),
    )
    return answer, failure


async def _beginning(pieces: AsyncIterator[bytes]) -> bytes:
    content = bytearray()
    async for piece in pieces:
        content += piece
        if len(content) > _ERROR_LIMIT:
            break
    return bytes(content[:_ERROR_LIMIT])


def _error_of(content: bytes) -> tuple[str, str]:
    """Type and message of an error in the API's shape; two empty strings for another shape."""
    try:
        error = msgspec.json.decode(content, type=_ErrorBody).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", ""
    return error.type, error.message
