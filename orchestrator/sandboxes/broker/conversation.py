"""One connection to the broker: what is asked on it, and what is answered.

A peer is held to the messages there are: whatever is not exactly one of them ends the connection.
Packets are bounded in size, requests in number; a peer that does not take its answers is let go.
"""

import asyncio
import contextlib
from typing import assert_never

import msgspec
import structlog

from orchestrator.protocol import broker as wire
from orchestrator.protocol.ids import ProfileName, SlotId
from orchestrator.sandboxes.background import BackgroundTasks
from orchestrator.sandboxes.broker.keeper import SandboxKeeper
from orchestrator.sandboxes.broker.packets import PacketSocket, PacketTooLong
from orchestrator.sandboxes.broker.refusals import refused, tag_of
from orchestrator.sandboxes.broker.tenancy import Tenancy
from orchestrator.sandboxes.errors import BrokerRefused, SandboxFailure
from orchestrator.sandboxes.ports import BrokeredStart, ContainerExit
from orchestrator.sandboxes.settings import BrokerSettings

NOTICES = 1000
"""Of what wait to be told. With more the connection ends; the next one asks for the list."""
SEND_LIMIT = 10.0
"""Seconds for a peer to take an answer."""

Notice = wire.Died | wire.RanOutOfMemory

_log = structlog.get_logger(__name__)
_hello = msgspec.json.Decoder(wire.Hello)
_request: msgspec.json.Decoder[wire.AnyRequest] = msgspec.json.Decoder(wire.AnyRequest)


class Conversation:
    """`run` it until it ends."""

    def __init__(
        self,
        connection: PacketSocket,
        *,
        keeper: SandboxKeeper,
        tenancy: Tenancy,
        settings: BrokerSettings,
    ) -> None:
        self._connection = connection
        self._keeper = keeper
        self._tenancy = tenancy
        self._settings = settings
        self._room = asyncio.Semaphore(settings.requests)
        self._notices: asyncio.Queue[Notice] = asyncio.Queue(NOTICES)
        self._tasks = BackgroundTasks()
        self._watching = False
        self._left_for_good = False

    async def run(self) -> None:
        """Never raises for what a peer does."""
        try:
            await self._begin()
        except SandboxFailure as error:
            await self.farewell(error)
        except (ConnectionError, TimeoutError):
            pass
        finally:
            await self._tasks.close()
            self._connection.end()
            self._connection.close()

    async def farewell(self, why: SandboxFailure) -> None:
        """End it, and say why."""
        await farewell(self._connection, why)

    async def _begin(self) -> None:
        async with asyncio.timeout(self._settings.hello_limit):
            body = await self._receive()
        if body is None:
            return
        try:
            hello = _hello.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise malformed() from error
        if hello.protocol != wire.BROKER_PROTOCOL:
            sentence = "Broker and control plane are of different versions."
            raise BrokerRefused(sentence, tag="broker_protocol")
        await self._tenancy.enter(hello.client)
        try:
            await self._send(wire.Welcome(epoch=self._keeper.epoch))
            await self._serve()
        finally:
            self._keeper.hush()
            self._tenancy.leave(for_good=self._left_for_good)

    async def _serve(self) -> None:
        while (body := await self._receive()) is not None:
            try:
                request = _request.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise malformed() from error
            self._take_note(request)
            await self._room.acquire()
            self._tasks.start(self._work_on(request), name="broker-request")

    def _take_note(self, request: wire.AnyRequest) -> None:
        """What was said counts, even if who said it is gone the next moment."""
        match request:
            case wire.Claim(slot=slot):
                with contextlib.suppress(SandboxFailure):  # told with the answer
                    self._keeper.claim(SlotId(slot))
            case wire.Leave():
                self._left_for_good = True
            case _:
                pass

    async def _receive(self) -> bytes | None:
        try:
            packet = await self._connection.receive(most_bytes=wire.MAX_REQUEST_BYTES)
        except PacketTooLong as error:
            raise malformed() from error
        return None if packet is None else packet.body

    async def _work_on(self, request: wire.AnyRequest) -> None:
        try:
            async with asyncio.timeout(self._settings.call_limit):
                await self._do(request)
        except SandboxFailure as error:
            await self._answer(refused(request.n, error))
        except TimeoutError:
            sentence = "The broker could not do it in time."
            await self._answer(wire.Refused(n=request.n, tag="broker_too_slow", sentence=sentence))
        finally:
            self._room.release()

    async def _do(self, request: wire.AnyRequest) -> None:
        match request:
            case wire.Create(profile=profile, slot=slot):
                await self._hand_over(request, await self._keeper.create(profile, SlotId(slot)))
            case wire.Adopt(slot=slot):
                await self._hand_over(request, self._keeper.adopt(SlotId(slot)))
            case _:
                await self._answer(await self._answer_to(request))

    async def _hand_over(self, request: wire.Create | wire.Adopt, started: BrokeredStart) -> None:
        """These descriptors go with the answer; the keeper holds the same sockets by others."""
        sockets = started.sockets
        try:
            created = wire.Created(
                n=request.n,
                image=started.image,
                version=started.version,
                egress=sockets.egress is not None,
            )
            passed = [one for one in (sockets.link, sockets.model, sockets.egress) if one]
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(SEND_LIMIT):
                    await self._connection.send(msgspec.json.encode(created), sockets=passed)
        finally:
            sockets.close()

    async def _answer_to(self, request: wire.PlainRequest) -> wire.AnyAnswer:
        keeper, n = self._keeper, request.n
        match request:
            case wire.Claim() | wire.Destroy() | wire.Freeze() | wire.Thaw():
                return await self._act(request)
            case wire.ListSandboxes() | wire.Watch() | wire.Describe():
                return self._look(request)
            case wire.FindBuild(profile=profile):
                build = await keeper.build(ProfileName(profile))
                return wire.Build(n=n, **msgspec.structs.asdict(build))
            case wire.ReadOutput(slot=slot):
                return wire.Output(n=n, lines=await keeper.output(SlotId(slot)))
            case wire.ReadExit(slot=slot):
                return _told(await keeper.exit_of(SlotId(slot)), n=n)
            case wire.Sweep() | wire.Leave():
                return await self._clean(request)
            case _:
                assert_never(request)

    def _look(
        self, request: wire.ListSandboxes | wire.Watch | wire.Describe
    ) -> wire.Sandboxes | wire.Description:
        keeper, n = self._keeper, request.n
        if isinstance(request, wire.Describe):
            return wire.Description(
                n=n, epoch=keeper.epoch, runtime=keeper.runtime, weaknesses=keeper.weaknesses
            )
        if isinstance(request, wire.Watch):
            self._watch()
        return wire.Sandboxes(n=n, sandboxes=keeper.sandboxes())

    async def _clean(self, request: wire.Sweep | wire.Leave) -> wire.Swept | wire.Done:
        if isinstance(request, wire.Sweep):
            count = await self._keeper.sweep(everything=request.everything)
            return wire.Swept(n=request.n, containers=count)
        await self._keeper.sweep(everything=True)  # tried again once the connection is gone
        return wire.Done(n=request.n)

    async def _act(self, request: wire.Claim | wire.Destroy | wire.Freeze | wire.Thaw) -> wire.Done:
        slot = SlotId(request.slot)
        match request:
            case wire.Claim():
                self._keeper.claim(slot)
            case wire.Destroy():
                await self._keeper.destroy(slot)
            case wire.Freeze():
                await self._keeper.freeze(slot)
            case wire.Thaw():
                await self._keeper.thaw(slot)
        return wire.Done(n=request.n)

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            self._tasks.start(self._tell(), name="broker-watch")
            self._keeper.tell(
                on_death=lambda slot: self._notice(wire.Died(slot=slot)),
                on_memory=lambda slot: self._notice(wire.RanOutOfMemory(slot=slot)),
            )

    def _notice(self, notice: Notice) -> None:
        try:
            self._notices.put_nowait(notice)
        except asyncio.QueueFull:
            self._connection.end()

    async def _tell(self) -> None:
        while True:
            await self._answer(await self._notices.get())

    async def _answer(self, answer: wire.FromBroker) -> None:
        """Who does not take its answers is let go."""
        try:
            await self._send(answer)
        except PacketTooLong:
            _log.error("answer.too_long", answer=type(answer).__name__)
            self._connection.end()
        except (ConnectionError, TimeoutError):
            self._connection.end()

    async def _send(self, message: wire.FromBroker) -> None:
        await send(self._connection, message)


def _told(how: ContainerExit, *, n: int) -> wire.Exit:
    return wire.Exit(
        n=n,
        over=how.over,
        exit_code=how.exit_code,
        oom_killed=how.oom_killed,
        engine_away=how.engine_away,
    )


async def send(connection: PacketSocket, message: wire.FromBroker) -> None:
    """Raises ConnectionError, TimeoutError, PacketTooLong."""
    async with asyncio.timeout(SEND_LIMIT):
        await connection.send(msgspec.json.encode(message))


async def farewell(connection: PacketSocket, why: SandboxFailure) -> None:
    """End a connection, and say why."""
    _log.warning("connection.ended", tag=tag_of(why), reason=why.sentence)
    with contextlib.suppress(ConnectionError, TimeoutError):
        await send(connection, wire.Farewell(tag=tag_of(why), sentence=why.sentence))
    connection.end()


def malformed() -> BrokerRefused:
    return BrokerRefused("That is no request that the broker knows.", tag="broker_malformed")
