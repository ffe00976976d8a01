"""Answers to a sandbox: the gateway's own, and the upstream's as it comes.

The pieces are passed on as they arrive; nothing is kept but the meter's few numbers. A sandbox that
reads slowly slows the upstream down; one that hangs up ends the upstream's work.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable

import aiohttp
from aiohttp import web

from orchestrator.gateway.failures import explain_error_event, explain_fault
from orchestrator.gateway.headers import to_sandbox
from orchestrator.gateway.metering import Meter
from orchestrator.gateway.notices import Notices
from orchestrator.gateway.refusals import Refused, error_body
from orchestrator.gateway.token_budget import Reservation
from orchestrator.gateway.upstream import UpstreamFault
from orchestrator.gateway.upstream_breaker import Attempt
from orchestrator.protocol.control_events import UpstreamFailed
from orchestrator.sessions.view.usage import total_tokens


def error_response(
    status: int, kind: str, sentence: str, *, headers: Iterable[tuple[str, str]] = ()
) -> web.Response:
    """In the model API's shape; of the upstream's `headers` only those that may pass."""
    passed = to_sandbox(headers) | {"content-type": "application/json"}
    return web.Response(status=status, body=error_body(kind, sentence), headers=passed)


def refusal_response(refused: Refused) -> web.Response:
    response = error_response(refused.status, refused.kind, refused.sentence)
    if refused.retry_after is not None:
        response.headers["retry-after"] = str(refused.retry_after)
    if refused.final:
        response.headers["x-should-retry"] = "false"
    response.force_close()  # what is left of the request's body is not read
    return response


class Answer:
    """One good answer of the upstream. `model` is None for what is not metered."""

    def __init__(
        self,
        request: web.BaseRequest,
        response: aiohttp.ClientResponse,
        *,
        model: str | None,
        reservation: Reservation | None,
        notices: Notices,
        attempt: Attempt,
        write_timeout: float,
    ) -> None:
        self._request = request
        self._streams = response.content_type == "text/event-stream"
        self._meter = None if model is None else Meter(model=model, streams=self._streams)
        self._reservation = reservation
        self._notices = notices
        self._attempt = attempt
        self._write_timeout = write_timeout
        self._out = web.StreamResponse(
            status=response.status, headers=to_sandbox(response.headers.items())
        )

    async def pass_on(self, pieces: AsyncIterator[bytes]) -> web.StreamResponse:
        """Raises UpstreamFault only while the sandbox has not been answered anything."""
        try:
            await self._pass_pieces(pieces)
        except UpstreamFault as fault:
            if not self._out.prepared:
                raise
            if self._reservation is not None:  # not the sandbox's doing
                self._reservation.settle(self._reservation.prompt)
            self._fail(explain_fault(fault.fault))
            self._hang_up()
        except (ConnectionError, TimeoutError):
            self._hang_up()  # the sandbox did, or does not read any more
        finally:
            self._account()
        return self._out

    def _account(self) -> None:
        metered = self._meter.finish() if self._meter else None
        if metered is not None:
            self._notices.metered(metered)
            if self._reservation is not None:
                self._reservation.settle(total_tokens(metered.usage))

    async def _pass_pieces(self, pieces: AsyncIterator[bytes]) -> None:
        async for piece in pieces:
            if not self._out.prepared:
                self._attempt.begins_well()
                await self._out.prepare(self._request)
            if self._meter is not None:
                self._meter.feed(piece)
            async with asyncio.timeout(self._write_timeout):
                await self._out.write(piece)
        if not self._out.prepared:
            await self._out.prepare(self._request)
        self._judge_end()
        async with asyncio.timeout(self._write_timeout):
            await self._out.write_eof()

    def _judge_end(self) -> None:
        """A stream may end well for HTTP and still not have said its last word."""
        if self._meter is not None and self._streams:
            if self._meter.error_type is not None:
                return self._fail(explain_error_event(self._meter.error_type))
            if not self._meter.stopped:
                raise UpstreamFault("cut")
        self._attempt.answered()
        return self._notices.succeeded()

    def _fail(self, failure: UpstreamFailed) -> None:
        self._attempt.failed(failure)
        self._notices.failed(failure)

    def _hang_up(self) -> None:
        """So that the agent sees a broken answer as one."""
        if self._request.transport is not None:
            self._request.transport.abort()
