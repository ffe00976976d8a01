"""Reading a request's body: bounded in size, in time, and from below in speed."""

import asyncio
import time

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

from orchestrator.gateway import refusals
from orchestrator.gateway.limits import BodyLease
from orchestrator.gateway.settings import GatewaySettings


async def read_body(
    request: web.BaseRequest, *, limit: int, lease: BodyLease, settings: GatewaySettings
) -> bytes:
    """At most `limit` bytes. Raises Refused, for a body that comes more slowly than it may too:
    after `body_grace` seconds it has to have come at `body_bytes_per_second` on average."""
    if (request.content_length or 0) > limit:
        raise refusals.too_large(limit)
    body = bytearray()
    began = time.monotonic()
    try:
        async with asyncio.timeout(settings.body_timeout):
            while piece := await _piece(request, _seconds_left(len(body), began, settings)):
                lease.grow(len(piece))
                body += piece
                if len(body) > limit:
                    raise refusals.too_large(limit)
    except TimeoutError as error:
        raise refusals.too_slow() from error
    except (RequestPayloadError, HttpProcessingError) as error:
        raise refusals.invalid("the body is broken.") from error
    return bytes(body)


async def _piece(request: web.BaseRequest, seconds: float) -> bytes:
    """What has come, or what comes next; nothing at the end. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        return await request.content.readany()


def _seconds_left(size: int, began: float, settings: GatewaySettings) -> float:
    """How long the next piece may take, of a body that has had `size` bytes so far."""
    due = began + settings.body_grace + size / settings.body_bytes_per_second
    return max(0.0, due - time.monotonic())
