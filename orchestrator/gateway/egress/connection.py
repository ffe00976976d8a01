"""One connection of a sandbox to the egress proxy, from its first byte to its last."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

from orchestrator.gateway.egress import answers, blocked
from orchestrator.gateway.egress.blocked import Blocked
from orchestrator.gateway.egress.host_names import BadHostName, authority, host_header
from orchestrator.gateway.egress.http_exchange import Destination, Exchange
from orchestrator.gateway.egress.opened_tunnel import OpenedTunnel
from orchestrator.gateway.egress.passage import Passage, Stalled
from orchestrator.gateway.egress.reaching import Place, Surroundings, passage_to
from orchestrator.gateway.egress.request_head import BadHead, ReceivedRequest, read_head
from orchestrator.gateway.egress.rules import rule_for
from orchestrator.gateway.egress.slot import EgressSlot
from orchestrator.gateway.egress.streams import ByteStream, SocketStream, StreamBroken
from orchestrator.gateway.egress.tunnel import carry, first_message
from orchestrator.gateway.refusals import Refused
from orchestrator.protocol.agent import CERTIFICATES_URL

HTTP_PORT = 80
SLOWED_DOWN = 1.0
"""Seconds before a connection over the rate is refused: a loop shall cost the server little."""
LINGERING = 1.0
"""Seconds for a sandbox to read a refusal: closed at once, what it still sends would destroy it."""
LINGERING_READS = 64
_ABSOLUTE = re.compile(r"http://([^/?#@\\]*)(/[^#\\]*)?")


class EgressConnection:
    def __init__(self, slot: EgressSlot, stream: SocketStream, around: Surroundings) -> None:
        self._slot = slot
        self._sandbox = stream
        self._around = around
        self._settings = around.settings
        self._reply: ByteStream | None = stream
        """Where an HTTP answer can be given at this moment."""

    async def serve(self) -> None:
        """Until it ends; nothing is raised for what a sandbox or a host does."""
        try:
            await self._serve()
        except Blocked as refused:
            self._slot.refused(refused)
            await self._answer(answers.refusal(refused))
        except (StreamBroken, Stalled):
            return
        async with _briefly():
            await self._sandbox.close()

    async def _serve(self) -> None:
        try:
            self._slot.rate.take()
        except Refused as refused:
            await asyncio.sleep(SLOWED_DOWN)
            sentence = "Too many connections are opened one after another."
            raise blocked.too_many(sentence) from refused
        received = await self._request()
        if received is None:
            return
        if (received.method, received.target) == ("GET", CERTIFICATES_URL):
            own = self._slot.authority
            pem = (own.certificate if own else b"") + self._around.extra_ca
            await self._answer(answers.certificates(pem))
        elif received.method == "CONNECT":
            await self._tunnel(received)
        else:
            await self._plain(received)

    async def _request(self) -> ReceivedRequest | None:
        try:
            async with asyncio.timeout(self._settings.head_timeout):
                return await read_head(self._sandbox, b"", limit=self._settings.max_head_bytes)
        except TimeoutError as error:
            raise blocked.too_slow("", 0, "The request's head") from error
        except BadHead as error:
            raise blocked.bad_request(str(error)) from error

    def _place(self, text: str, *, default_port: int | None = None) -> Place:
        egress = self._slot.admission.egress
        try:
            host, port = authority(text, default_port=default_port)
        except BadHostName as error:
            raise blocked.bad_address(text, str(error)) from error
        return Place(host=host, port=port, rule=rule_for(egress, host, port))

    # --- CONNECT ---------------------------------------------------------------------------------

    async def _tunnel(self, received: ReceivedRequest) -> None:
        place = self._place(received.target)
        if received.has_body:
            raise blocked.bad_request("a tunnel is asked for without a body")
        async with passage_to(place, slot=self._slot, around=self._around) as passage:
            self._reply = None
            await self._sandbox.write(answers.CONNECTED)
            hello = await self._first_message(received.rest, place)
            if place.rule.inject is None:
                await passage.within_limits(self._blind(hello, passage))
            else:
                await passage.within_limits(self._opened(hello, place, passage))

    async def _first_message(self, received: bytes, place: Place) -> bytes:
        try:
            async with asyncio.timeout(self._settings.head_timeout):
                return await first_message(
                    self._sandbox, received, host=place.host, port=place.port
                )
        except TimeoutError as error:
            raise blocked.too_slow(place.host, place.port, "TLS's first message") from error
        except Blocked as refused:
            if refused.tag == "sni_mismatch":
                await self._sandbox.write(answers.UNKNOWN_NAME)
            raise

    async def _blind(self, hello: bytes, passage: Passage) -> None:
        await passage.write(hello)
        await carry(self._sandbox, passage)

    async def _opened(self, hello: bytes, place: Place, passage: Passage) -> None:
        tunnel = OpenedTunnel(
            place,
            sandbox=self._sandbox,
            passage=passage,
            slot=self._slot,
            around=self._around,
        )
        try:
            await tunnel.serve(hello)
        finally:
            self._reply = tunnel.reply

    # --- plain HTTP ------------------------------------------------------------------------------

    async def _plain(self, received: ReceivedRequest) -> None:
        """One exchange, then the connection ends: the next request may be for another host."""
        found = _ABSOLUTE.fullmatch(received.target)
        if found is None:
            _ = self._slot.admission
            raise blocked.bad_request("it names no host as http://host/path")
        place = self._place(found[1], default_port=HTTP_PORT)
        if place.rule.inject is not None:
            raise blocked.needs_tls(place.host, place.port)
        async with passage_to(place, slot=self._slot, around=self._around) as passage:
            exchange = Exchange(
                received,
                Destination(
                    host=place.host,
                    port=place.port,
                    host_header=host_header(place.host, place.port, default_port=HTTP_PORT),
                    target=found[2] or "/",
                    is_last=True,
                    max_head_bytes=self._settings.max_head_bytes,
                ),
                sandbox=self._sandbox,
                host=passage,
            )
            try:
                await passage.within_limits(exchange.run())
            except Stalled as error:
                raise blocked.no_answer(place.host, place.port) from error
            finally:
                self._reply = None if exchange.has_begun else self._sandbox

    # --- the end ---------------------------------------------------------------------------------

    async def _answer(self, answer: bytes) -> None:
        """And wait until it may have been read: a socket that is closed with something unread in
        it loses what was written, too."""
        with contextlib.suppress(StreamBroken):
            async with _briefly():
                if self._reply is not None:
                    await self._reply.write(answer)
                    await self._reply.end()
                await self._sandbox.end()
                for _ in range(LINGERING_READS):
                    if not await self._sandbox.read():
                        break


@contextlib.asynccontextmanager
async def _briefly() -> AsyncIterator[None]:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGERING):
            yield
