"""One request from a sandbox to the model API and its answer back, a piece at a time."""

import asyncio
import time

import aiohttp
import msgspec
import structlog
from aiohttp import web

from orchestrator.gateway import refusals
from orchestrator.gateway.answers import Answer, error_response, refusal_response
from orchestrator.gateway.credential import Credential
from orchestrator.gateway.failures import explain_fault, explain_status, status_of_fault
from orchestrator.gateway.headers import to_upstream
from orchestrator.gateway.limits import BodyLease
from orchestrator.gateway.refusals import Refused
from orchestrator.gateway.request_rules import BodyLimits, check_body
from orchestrator.gateway.routes import Route, route_of
from orchestrator.gateway.settings import GatewaySettings
from orchestrator.gateway.slot import Admission, Slot
from orchestrator.gateway.upstream import Upstream, UpstreamFault

_log = structlog.get_logger(__name__)

_INLINE_CHECK = 256 << 10
"""Bodies up to this size are checked at once, larger ones in a thread: parsing 32 MiB takes long
enough to be felt by every other session."""

_SLOWED_DOWN = 1.0
"""Seconds before a request over the rate is refused, and not logged: a loop in a sandbox shall cost
the server neither its time nor its disk."""

_CHECKS_AT_ONCE = 2
_ERROR_LIMIT = 64 << 10
_ABOUT_THE_KEY = (401, 403)


class _Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """What passed the rules. `model` is None for what is not metered."""

    route: Route
    body: bytes
    model: str | None


class ModelProxy:
    def __init__(
        self, settings: GatewaySettings, *, credential: Credential, upstream: Upstream
    ) -> None:
        self._settings = settings
        self._credential = credential
        self._upstream = upstream
        self._checks = asyncio.Semaphore(_CHECKS_AT_ONCE)

    async def handle(self, slot: Slot, request: web.BaseRequest) -> web.StreamResponse:
        log = _log.bind(slot_id=slot.slot_id, method=request.method)
        try:
            slot.limits.rate.take()
        except Refused as refused:
            await asyncio.sleep(_SLOWED_DOWN)
            return refusal_response(refused)
        try:
            admission = slot.admission
            route = route_of(request.method, request.raw_path)
            log = log.bind(session_id=admission.session_id, route=route.name)
            with slot.limits.concurrency.hold(), slot.limits.bodies.lease() as lease:
                body = await self._read_body(request, route, lease)
                model = await self._check(body, route, admission)
                outgoing = _Outgoing(route=route, body=body, model=model)
                return await self._pass_on(request, outgoing, admission, log)
        except Refused as refused:
            log.info("gateway_request.refused", status=refused.status, reason=refused.sentence)
            return refusal_response(refused)

    async def _read_body(self, request: web.BaseRequest, route: Route, lease: BodyLease) -> bytes:
        if "content-encoding" in request.headers:
            raise refusals.invalid("the body must not be compressed.")
        limit = self._settings.max_body_bytes if route.method == "POST" else 0
        if (request.content_length or 0) > limit:
            raise refusals.too_large(limit)
        body = bytearray()
        try:
            async with asyncio.timeout(self._settings.body_timeout):
                async for piece in request.content.iter_any():
                    lease.grow(len(piece))
                    body += piece
                    if len(body) > limit:
                        raise refusals.too_large(limit)
        except TimeoutError as error:
            raise refusals.too_slow() from error
        return bytes(body)

    async def _check(self, body: bytes, route: Route, admission: Admission) -> str | None:
        """The model of a request whose answer is metered."""
        if route.name == "models":
            return None
        limits = BodyLimits(
            models=admission.models,
            max_tokens=self._settings.max_tokens,
            max_bytes=self._settings.max_body_bytes,
        )
        answers = route.name == "messages"
        if len(body) <= _INLINE_CHECK:
            model = check_body(body, limits, answers=answers)
        else:
            async with self._checks:
                model = await asyncio.to_thread(check_body, body, limits, answers=answers)
        return model if answers else None

    async def _pass_on(
        self,
        request: web.BaseRequest,
        outgoing: _Outgoing,
        admission: Admission,
        log: structlog.typing.FilteringBoundLogger,
    ) -> web.StreamResponse:
        headers = to_upstream(request.headers.items(), self._credential.headers())
        started = time.monotonic()
        status = 0
        try:
            async with self._upstream.send(
                outgoing.route, body=outgoing.body or None, headers=headers
            ) as response:
                status = response.status
                return await self._pass_answer(request, response, outgoing.model, admission)
        except UpstreamFault as fault:
            failure = explain_fault(fault.fault)
            admission.notices.failed(failure)
            status = status_of_fault(fault.fault)
            return error_response(status, "api_error", f"{failure.sentence} {failure.advice}")
        finally:
            took = round(time.monotonic() - started, 3)
            log.info("gateway_request.passed", status=status, seconds=took, model=outgoing.model)

    async def _pass_answer(
        self,
        request: web.BaseRequest,
        response: aiohttp.ClientResponse,
        model: str | None,
        admission: Admission,
    ) -> web.StreamResponse:
        match response.status // 100:
            case 2:
                answer = Answer(
                    request,
                    response,
                    model=model,
                    notices=admission.notices,
                    write_timeout=self._settings.write_timeout,
                )
                return await answer.pass_on(self._upstream.pieces(response))
            case 4 | 5:
                return await self._pass_error(response, admission)
            case _:
                raise UpstreamFault("redirected")

    async def _pass_error(
        self, response: aiohttp.ClientResponse, admission: Admission
    ) -> web.Response:
        """The upstream's own error, unless it may tell something about the key."""
        kind, message = _error_of(await self._read_error(response))
        retry_after = response.headers.get("retry-after")
        failure = explain_status(response.status, message=message, retry_after=retry_after)
        if failure is not None:
            admission.notices.failed(failure)
        if failure is not None and (response.status in _ABOUT_THE_KEY or not kind):
            message = f"{failure.sentence} {failure.advice}"
        return error_response(
            response.status,
            kind or "api_error",
            message or f"The model API answered with status {response.status}.",
            headers=response.headers.items(),
        )

    async def _read_error(self, response: aiohttp.ClientResponse) -> bytes:
        content = bytearray()
        async for piece in self._upstream.pieces(response):
            content += piece
            if len(content) > _ERROR_LIMIT:
                break
        return bytes(content[:_ERROR_LIMIT])


class _ApiError(msgspec.Struct):
    type: str = ""
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: _ApiError


def _error_of(content: bytes) -> tuple[str, str]:
    """Type and message of an error in the API's shape; two empty strings for another shape."""
    try:
        error = msgspec.json.decode(content, type=_ErrorBody).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", ""
    return error.type, error.message
