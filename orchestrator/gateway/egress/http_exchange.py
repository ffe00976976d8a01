"""One HTTP request to a host and its answer, both read and written anew by h11, a piece at a time.

Nothing that says where a message ends, or that is between two neighbours alone, passes as it came:
there is no border that the sandbox and the host could see in different places.
"""

import asyncio
from collections.abc import Iterable

import h11
import msgspec

from orchestrator.gateway.egress.blocked import bad_answer, bad_request
from orchestrator.gateway.egress.request_head import ReceivedRequest
from orchestrator.gateway.egress.secret_files import SecretHeader
from orchestrator.gateway.egress.streams import ByteStream, StreamBroken

MAX_INTERIM = 20
"""Answers of the kind 1xx before the real one."""
_BETWEEN_NEIGHBOURS = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate"),
        *(b"proxy-authorization", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)
_NOT_TO_HOST = _BETWEEN_NEIGHBOURS | {b"host", b"expect"}
_NOT_TO_SANDBOX = _BETWEEN_NEIGHBOURS | {b"alt-svc"}
_CLOSE = (b"connection", b"close")
_Headers = Iterable[tuple[bytes, bytes]]


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """What the request becomes. `secret` replaces the sandbox's own header of that name; with
    `is_last` both sides are told that the connection ends with this exchange."""

    host: str
    port: int
    host_header: str
    target: str
    secret: SecretHeader | None = None
    is_last: bool = False
    max_head_bytes: int


class Exchange:
    """`has_begun` tells whether a part of the answer was passed on: then no other can be given."""

    def __init__(
        self,
        received: ReceivedRequest,
        destination: Destination,
        *,
        sandbox: ByteStream,
        host: ByteStream,
    ) -> None:
        self.has_begun = False
        self._received = received
        self._destination = destination
        self._sandbox, self._host = sandbox, host
        self._to_sandbox = received.parser
        self._to_host = h11.Connection(
            h11.CLIENT, max_incomplete_event_size=destination.max_head_bytes
        )

    async def run(self) -> bytes | None:
        """What came after the request, to go on with; None where the connections are at their end.

        Raises Blocked, StreamBroken.
        """
        await self._send(self._request())
        sending = asyncio.create_task(self._send_body(), name="egress-request-body")
        answering = asyncio.create_task(self._pass_answer(), name="egress-answer")
        try:
            await asyncio.wait({sending, answering}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                await self._after_sending(sending, answering)
            answering.result()
        finally:
            for task in (sending, answering):
                task.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)
        return self._rest()

    async def _after_sending(
        self, sending: asyncio.Task[None], answering: asyncio.Task[None]
    ) -> None:
        """A host that stops listening may have answered all the same."""
        error = sending.exception()
        if error is not None and not isinstance(error, StreamBroken):
            raise error
        await asyncio.wait({answering})

    def _rest(self) -> bytes | None:
        sides = (self._to_sandbox, self._to_host)
        if any(
            side.our_state is not h11.DONE or side.their_state is not h11.DONE for side in sides
        ):
            return None
        if self._to_host.trailing_data[0]:
            return None
        return self._received.rest

    def _request(self) -> h11.Request:
        sent = self._received.request.headers
        secret = self._destination.secret
        dropped = _NOT_TO_HOST | _named_by_connection(sent)
        if secret is not None:
            dropped |= {secret.name}
        headers = [(b"host", self._destination.host_header.encode("ascii"))]
        headers += [(name, value) for name, value in sent if name not in dropped]
        if any(name == b"transfer-encoding" for name, _ in sent):
            headers.append((b"transfer-encoding", b"chunked"))
        if secret is not None:
            headers.append(secret.field)
        if self._destination.is_last:
            headers.append(_CLOSE)
        return h11.Request(
            method=self._received.request.method, target=self._destination.target, headers=headers
        )

    async def _send_body(self) -> None:
        if self._to_sandbox.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            await self._sandbox.write(self._to_sandbox.send(go_on) or b"")
        while True:
            match await self._next_from_sandbox():
                case h11.Data(data=data):
                    await self._send(h11.Data(data=data))
                case h11.EndOfMessage():
                    await self._send(h11.EndOfMessage())
                    return
                case _:
                    raise bad_request("its body is not complete")

    async def _send(self, event: h11.Event) -> None:
        try:
            data = self._to_host.send(event)
        except h11.LocalProtocolError as error:
            raise bad_request("it makes no sense to the host") from error
        await self._host.write(data or b"")

    async def _next_from_sandbox(self) -> object:
        try:
            while (event := self._to_sandbox.next_event()) is h11.NEED_DATA:
                self._to_sandbox.receive_data(await self._sandbox.read())
        except h11.RemoteProtocolError as error:
            raise bad_request("its body does not fit what its head says") from error
        return event

    async def _pass_answer(self) -> None:
        interim = 0
        while True:
            match await self._next_from_host():
                case h11.InformationalResponse():
                    interim += 1
                    if interim > MAX_INTERIM:
                        raise self._bad_answer("it never comes to the point")
                case h11.Response() as response:
                    await self._pass_on(self._response(response))
                case h11.Data(data=data):
                    await self._pass_on(h11.Data(data=data))
                case h11.EndOfMessage():
                    await self._pass_on(h11.EndOfMessage())
                    return
                case _:
                    raise self._bad_answer("it is not complete")

    async def _next_from_host(self) -> object:
        try:
            while (event := self._to_host.next_event()) is h11.NEED_DATA:
                self._to_host.receive_data(await self._host.read())
        except h11.RemoteProtocolError as error:
            raise self._bad_answer("it is no proper HTTP") from error
        except StreamBroken as error:
            raise self._bad_answer(str(error)) from error
        return event

    async def _pass_on(self, event: h11.Event) -> None:
        try:
            data = self._to_sandbox.send(event)
        except h11.LocalProtocolError as error:
            raise self._bad_answer("it does not fit the request") from error
        self.has_begun = True
        await self._sandbox.write(data or b"")

    def _response(self, response: h11.Response) -> h11.Response:
        """Without the secret, if the host repeats it."""
        dropped = _NOT_TO_SANDBOX | _named_by_connection(response.headers)
        if any(name == b"transfer-encoding" for name, _ in response.headers):
            dropped |= {b"content-length"}
        masked = self._masked
        headers = [(n, masked(v)) for n, v in response.headers if n not in dropped]
        if self._destination.is_last or _is_closing(response):
            headers.append(_CLOSE)
        return h11.Response(
            status_code=response.status_code, headers=headers, reason=masked(response.reason)
        )

    def _masked(self, text: bytes) -> bytes:
        secret = self._destination.secret
        return bytes(text) if secret is None else secret.masked(bytes(text))

    def _bad_answer(self, reason: str) -> Exception:
        return bad_answer(self._destination.host, self._destination.port, reason)


def _named_by_connection(headers: _Headers) -> frozenset[bytes]:
    """What a message declares to be between neighbours; never what frames it."""
    named = {
        part.strip().lower()
        for name, value in headers
        if name == b"connection"
        for part in value.split(b",")
    }
    return frozenset(named - {b"content-length"})


def _is_closing(response: h11.Response) -> bool:
    values = [value.lower() for name, value in response.headers if name == b"connection"]
    return response.http_version < b"1.1" or any(b"close" in value for value in values)
