"""One request from a sandbox to the model API and its answer back, a piece at a time."""

import asyncio
import contextlib
import time

import aiohttp
import msgspec
import structlog
from aiohttp import web

from orchestrator.gateway import refusals
from orchestrator.gateway.answers import Answer, error_response, refusal_response
from orchestrator.gateway.bodies import read_body
from orchestrator.gateway.credential import Credential
from orchestrator.gateway.failures import (
    explain_budget,
    explain_fault,
    explain_outage,
    status_of_fault,
)
from orchestrator.gateway.headers import to_upstream
from orchestrator.gateway.refusals import Refused
from orchestrator.gateway.request_heads import check_head
from orchestrator.gateway.request_rules import Asked, BodyLimits, check_body
from orchestrator.gateway.routes import Route, route_of
from orchestrator.gateway.settings import GatewaySettings
from orchestrator.gateway.slot import Admission, Slot
from orchestrator.gateway.token_budget import Reservation
from orchestrator.gateway.upstream import Upstream, UpstreamFault
from orchestrator.gateway.upstream_breaker import Attempt, UpstreamBreaker, UpstreamDown
from orchestrator.gateway.upstream_errors import explained

_log = structlog.get_logger(__name__)

_INLINE_CHECK = 256 << 10
"""Bodies up to this size are checked at once, larger ones in a thread: parsing 32 MiB takes long
enough to be felt by every other session."""

_SLOWED_DOWN = 1.0
"""Seconds before a request over the rate is refused, and not logged: a loop in a sandbox shall cost
the server neither its time nor its disk."""

_CHECKS_AT_ONCE = 2


class _Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """What passed the rules. `asked` and `reservation` are None for what is not metered."""

    route: Route
    body: bytes
    asked: Asked | None
    reservation: Reservation | None
    attempt: Attempt

    @property
    def model(self) -> str | None:
        return self.asked.model if self.asked else None

    def costs_nothing(self) -> None:
        if self.reservation is not None:
            self.reservation.settle(0)


class ModelProxy:
    def __init__(
        self,
        settings: GatewaySettings,
        *,
        credential: Credential,
        upstream: Upstream,
        breaker: UpstreamBreaker,
    ) -> None:
        self._settings = settings
        self._credential = credential
        self._upstream = upstream
        self._breaker = breaker
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
            check_head((request.version.major, request.version.minor), request.headers.items())
            route = route_of(request.method, request.raw_path)
            log = log.bind(session_id=admission.session_id, route=route.name)
            return await self._handle(slot, request, route, admission, log)
        except Refused as refused:
            log.info("gateway_request.refused", status=refused.status, reason=refused.sentence)
            return refusal_response(refused)

    async def _handle(
        self,
        slot: Slot,
        request: web.BaseRequest,
        route: Route,
        admission: Admission,
        log: structlog.typing.FilteringBoundLogger,
    ) -> web.StreamResponse:
        with contextlib.ExitStack() as held:
            held.enter_context(slot.limits.concurrency.hold())
            lease = held.enter_context(slot.limits.bodies.lease())
            limit = self._settings.max_body_bytes if route.method == "POST" else 0
            body = await read_body(request, limit=limit, lease=lease, settings=self._settings)
            asked = await self._check(body, route, admission)
            attempt = self._attempt(held, admission)
            reservation = None
            if asked is not None:
                reservation = self._reserve(held, admission, asked, prompt_bytes=len(body))
            outgoing = _Outgoing(
                route=route, body=body, asked=asked, reservation=reservation, attempt=attempt
            )
            return await self._pass_on(request, outgoing, admission, log)

    async def _check(self, body: bytes, route: Route, admission: Admission) -> Asked | None:
        """What a request asks for whose answer is metered."""
        if route.name == "models":
            return None
        limits = BodyLimits(
            models=admission.profile.models,
            max_tokens=self._settings.max_tokens,
            max_bytes=self._settings.max_body_bytes,
        )
        answers = route.name == "messages"
        if len(body) <= _INLINE_CHECK:
            asked = check_body(body, limits, answers=answers)
        else:
            async with self._checks:
                asked = await asyncio.to_thread(check_body, body, limits, answers=answers)
        return asked if answers else None

    def _attempt(self, held: contextlib.ExitStack, admission: Admission) -> Attempt:
        """Raises Refused while the upstream is down; the session's people are told once."""
        try:
            return held.enter_context(self._breaker.attempt(admission.session_id))
        except UpstreamDown as down:
            failure = explain_outage(down.sentence, seconds=down.seconds)
            admission.notices.not_sent(failure, outage=down.opening)
            raise refusals.upstream_down(failure, seconds=down.seconds) from down

    def _reserve(
        self,
        held: contextlib.ExitStack,
        admission: Admission,
        asked: Asked,
        *,
        prompt_bytes: int,
    ) -> Reservation:
        """Raises Refused; the people are told once that there is nothing left."""
        budget = admission.budget
        try:
            return held.enter_context(
                budget.reserve(
                    prompt_bytes=prompt_bytes, max_tokens=asked.max_tokens, streams=asked.streams
                )
            )
        except Refused:
            if budget.limit is not None and budget.is_used_up and budget.first_refusal():
                admission.notices.failed(explain_budget(budget.limit))
            raise

    async def _pass_on(
        self,
        request: web.BaseRequest,
        outgoing: _Outgoing,
        admission: Admission,
        log: structlog.typing.FilteringBoundLogger,
    ) -> web.StreamResponse:
        headers = to_upstream(
            request.headers.items(), self._credential.headers(), betas=self._settings.betas
        )
        started = time.monotonic()
        status, upstream_id = 0, None
        try:
            async with self._upstream.send(
                outgoing.route, body=outgoing.body or None, headers=headers
            ) as response:
                status, upstream_id = response.status, response.headers.get("request-id")
                return await self._pass_answer(request, response, outgoing, admission)
        except UpstreamFault as fault:
            outgoing.costs_nothing()
            failure = explain_fault(fault.fault)
            outgoing.attempt.failed(failure)
            admission.notices.failed(failure)
            status = status_of_fault(fault.fault)
            return error_response(status, "api_error", f"{failure.sentence} {failure.advice}")
        finally:
            took = round(time.monotonic() - started, 3)
            log.info(
                "gateway_request.passed",
                status=status,
                seconds=took,
                model=outgoing.model,
                upstream_id=upstream_id,
            )

    async def _pass_answer(
        self,
        request: web.BaseRequest,
        response: aiohttp.ClientResponse,
        outgoing: _Outgoing,
        admission: Admission,
    ) -> web.StreamResponse:
        pieces = self._upstream.pieces(response)
        match response.status // 100:
            case 2:
                answer = Answer(
                    request,
                    response,
                    model=outgoing.model,
                    reservation=outgoing.reservation,
                    notices=admission.notices,
                    attempt=outgoing.attempt,
                    write_timeout=self._settings.write_timeout,
                )
                return await answer.pass_on(pieces)
            case 4 | 5:
                outgoing.costs_nothing()
                told, failure = await explained(response, pieces)
                if failure is None:
                    outgoing.attempt.answered()
                else:
                    outgoing.attempt.failed(failure)
                    admission.notices.failed(failure)
                return told
            case _:
                raise UpstreamFault("redirected")
