"""One connection to a broker, as the control plane sees it: requests, answers, and notices."""

import asyncio
import contextlib
import socket
from collections.abc import Callable

import msgspec
import structlog

from orchestrator.protocol import broker as wire
from orchestrator.protocol.ids import SlotId
from orchestrator.sandboxes.broker.packets import Packet, PacketSocket, PacketTooLong
from orchestrator.sandboxes.broker.refusals import failure, failure_tagged
from orchestrator.sandboxes.errors import BrokerTooSlow, BrokerUnreachable

MOST_SOCKETS = 3
AWAY = "The broker, which runs the sandboxes, went away; it is tried again and again."

_log = structlog.get_logger(__name__)
_message: msgspec.json.Decoder[wire.FromBroker] = msgspec.json.Decoder(wire.FromBroker)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The receiver owns the sockets."""

    answer: wire.AnyAnswer
    sockets: list[socket.socket]

    def close(self) -> None:
        for one in self.sockets:
            one.close()


class BrokerConnection:
    """`greet` first, then `listen` until it ends; meanwhile `ask` from anywhere."""

    def __init__(
        self,
        connection: socket.socket,
        *,
        on_death: Callable[[SlotId], None],
        on_memory: Callable[[SlotId], None],
    ) -> None:
        self._packets = PacketSocket(connection)
        self._on_death = on_death
        self._on_memory = on_memory
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._last = 0
        self._over = False

    async def greet(self, client: str, *, limit: float) -> wire.Welcome:
        """Raises SandboxFailure: what the broker says, or that nobody answers."""
        hello = wire.Hello(protocol=wire.BROKER_PROTOCOL, client=client)
        try:
            async with asyncio.timeout(limit):
                with contextlib.suppress(ConnectionError):  # it may have said why before it went
                    await self._packets.send(msgspec.json.encode(hello))
                packet = await self._receive()
        except TimeoutError as error:
            raise BrokerTooSlow("The broker does not answer.") from error
        match None if packet is None else _understood(packet):
            case wire.Welcome() as welcome:
                return welcome
            case wire.Farewell(tag=tag, sentence=sentence):
                raise failure_tagged(tag, sentence)
            case _:
                raise BrokerUnreachable("The broker ended before it was ready; its log says why.")

    async def _receive(self) -> Packet | None:
        try:
            return await self._packets.receive(
                most_bytes=wire.MAX_ANSWER_BYTES, most_sockets=MOST_SOCKETS
            )
        except PacketTooLong:
            return None

    async def listen(self) -> None:
        """Until the connection ends; then every request that waits fails."""
        try:
            while (packet := await self._receive()) is not None and self._take(packet):
                pass
        finally:
            self._over = True
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(BrokerUnreachable(AWAY))
            self._packets.end()
            self._packets.close()

    def _take(self, packet: Packet) -> bool:
        """Whether there is more to come."""
        match _understood(packet):
            case None:
                return False
            case wire.Died(slot=slot):
                self._on_death(slot)
            case wire.RanOutOfMemory(slot=slot):
                self._on_memory(slot)
            case wire.Farewell(tag=tag, sentence=sentence):
                _log.warning("broker.left", tag=tag, reason=sentence)
                return False
            case wire.Welcome():
                return False
            case answer:
                self._settle(Reply(answer=answer, sockets=packet.sockets))
        return True

    def _settle(self, reply: Reply) -> None:
        waiting = self._waiting.pop(reply.answer.n, None)
        if waiting is None or waiting.done():  # nobody waits any more: it took too long
            reply.close()
        else:
            waiting.set_result(reply)

    async def ask(self, make: Callable[..., wire.AnyRequest]) -> Reply:
        """The answer to what `make(n=…)` makes. Raises SandboxFailure; the caller sets a limit."""
        if self._over:
            raise BrokerUnreachable(AWAY)
        self._last += 1
        n = self._last
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[n] = waiting
        try:
            await self._packets.send(msgspec.json.encode(make(n=n)))
            reply = await waiting
        except ConnectionError as error:
            raise BrokerUnreachable(AWAY) from error
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                waiting.result().close()
            raise
        finally:
            self._waiting.pop(n, None)
        if isinstance(reply.answer, wire.Refused):
            raise failure(reply.answer)
        return reply

    def end(self) -> None:
        """Idempotent; `listen` then returns."""
        self._packets.end()


def _understood(packet: Packet) -> wire.FromBroker | None:
    """None, and its sockets closed, for what a broker of another version may say."""
    try:
        return _message.decode(packet.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _log.error("broker.not_understood", reason=str(error))
        packet.close()
        return None
