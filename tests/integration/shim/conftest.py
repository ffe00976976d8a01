"""A sandbox as it really runs, and a control plane at the end of its link that only listens."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import docker
import msgspec
import pytest
from websockets.asyncio.server import Server, ServerConnection, unix_serve
from websockets.exceptions import ConnectionClosed

from orchestrator.protocol import sandbox_events
from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.commands import OpenTransfer, SandboxCommand, sandbox_command_codec
from orchestrator.protocol.ids import ProfileName, SandboxId, SessionId, SlotId, TurnId
from orchestrator.protocol.link import (
    MAX_FRAME_BYTES,
    Batch,
    Hello,
    Numbered,
    Welcome,
    link_codec,
)
from orchestrator.protocol.transcripts import TranscriptWord
from orchestrator.protocol.transfers import (
    CHUNK_BYTES,
    TRANSFERS_PATH,
    Done,
    Ready,
    TakeTranscript,
    transfer_codec,
)
from orchestrator.sandboxes.container_spec import (
    Host,
    Image,
    Owner,
    container_body,
    seccomp_profile,
)
from orchestrator.sandboxes.image_builder import BuiltImage
from orchestrator.sandboxes.settings import SlotSettings
from orchestrator.sandboxes.slots import Slot, Slots
from orchestrator.sessions.kept.transcripts import Transcripts
from orchestrator.sessions.limits import SessionLimits
from orchestrator.sessions.ports import ReceivedEvent
from orchestrator.sessions.profiles import Profile
from orchestrator.testing.memory_transcripts import MemoryTranscriptStore
from orchestrator.testing.scripted_model import ScriptedModel

PATIENCE = 60.0
E = TypeVar("E")


class ListeningPlane:
    """Numbers commands, keeps events and transcripts, drops the link when told to.

    With `transcripts` it takes a conversation up where another plane left it.
    """

    def __init__(self, transcripts: MemoryTranscriptStore | None = None) -> None:
        self.id = SandboxId(secrets.token_hex(4))
        self.store = transcripts or MemoryTranscriptStore()
        self.transcripts = Transcripts(
            SessionId("s"),
            store=self.store,
            sandbox=self,  # type: ignore[arg-type] - as much of one as that needs
            branch=0,
            held=0,
            limits=SessionLimits(),
        )
        self.anew = False
        """Whether the next welcome is that of a control plane that was started anew."""
        self._answers: dict[str, tuple[AsyncIterator[bytes] | None, asyncio.Event]] = {}
        self.hello: Hello | None = None
        self.hellos = 0
        self.numbers: list[int] = []
        self.events: list[Any] = []
        self.acknowledges = True
        self._sent: list[str] = []
        self._news = asyncio.Condition()
        self._connection: ServerConnection | None = None

    async def serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        with contextlib.suppress(ConnectionClosed):  # how a killed sandbox says goodbye
            if connection.request.path.startswith(TRANSFERS_PATH):
                await self._answer(connection, connection.request.path[len(TRANSFERS_PATH) :])
            else:
                await self._serve(connection)

    async def _serve(self, connection: ServerConnection) -> None:
        hello = link_codec.decode(await connection.recv())
        assert isinstance(hello, Hello)
        self.hello, self.hellos = hello, self.hellos + 1
        await connection.send(link_codec.encode(Welcome(acknowledged=self._held, anew=self.anew)))
        self._connection = connection
        await self._notify()
        async for frame in connection:
            batch = link_codec.decode(frame)
            assert isinstance(batch, Batch)
            for item in batch.items:
                event = sandbox_events.sandbox_word_codec.decode(bytes(item.body))
                if isinstance(event, TranscriptWord):
                    body = bytes(item.body)
                    await self.transcripts.take(ReceivedEvent(n=item.n, event=event, body=body))
                self.numbers.append(item.n)
                self.events.append(event)
            await self._notify()
            if self.acknowledges:
                await connection.send(link_codec.encode(Batch(acknowledged=self._held)))

    @property
    def _held(self) -> int:
        return max(self.numbers, default=0) if self.acknowledges else 0

    async def _notify(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def give_transcript(self, ask_id: str, pieces: AsyncIterator[bytes] | None) -> None:
        transfer_id, done = secrets.token_hex(8), asyncio.Event()
        self._answers[transfer_id] = (pieces, done)
        request = TakeTranscript(ask_id=ask_id, found=pieces is not None)
        await self.send(OpenTransfer(transfer_id=transfer_id, request=request))
        await done.wait()

    async def _answer(self, connection: ServerConnection, transfer_id: str) -> None:
        pieces, done = self._answers.pop(transfer_id)
        assert isinstance(transfer_codec.decode(await connection.recv()), Ready)
        if pieces is not None:
            async for piece in pieces:
                for start in range(0, len(piece), CHUNK_BYTES):
                    await connection.send(piece[start : start + CHUNK_BYTES])
        await connection.send(transfer_codec.encode(Done()))
        await connection.recv()
        done.set()

    async def send(self, *commands: SandboxCommand, repeat: bool = False) -> None:
        """With `repeat`, everything that was ever sent goes along again."""
        assert self._connection is not None
        already = len(self._sent)
        self._sent += [sandbox_command_codec.encode(command) for command in commands]
        items = [Numbered(n, msgspec.Raw(body.encode())) for n, body in enumerate(self._sent, 1)]
        batch = Batch(items=items if repeat else items[already:], acknowledged=self._held)
        await self._connection.send(link_codec.encode(batch))

    async def drop(self) -> None:
        assert self._connection is not None
        connection, self._connection = self._connection, None
        await connection.close()

    async def until(self, met: Callable[[], Any]) -> Any:
        async with self._news, asyncio.timeout(PATIENCE):
            await self._news.wait_for(met)
        return met()

    async def connected(self, times: int = 1) -> Hello:
        await self.until(lambda: self.hellos >= times)
        assert self.hello is not None
        return self.hello

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def first(self, kind: type[E], *, after: int = 0) -> E:
        """The first event of a kind, not counting `after` of them."""
        await self.until(lambda: len(self.all(kind)) > after)
        return self.all(kind)[after]

    async def end_of(self, turn: str) -> sandbox_events.TurnEnded:
        found = lambda: [  # noqa: E731 - a condition, asked again and again
            e for e in self.all(sandbox_events.TurnEnded) if e.turn_id == TurnId(turn)
        ]
        return (await self.until(found))[0]


class RunningSandbox:
    def __init__(self, container: Any, plane: ListeningPlane, slot: Slot) -> None:
        self.container = container
        self.plane = plane
        self.slot = slot

    async def run(self, command: str) -> tuple[int, str]:
        """A shell command in the sandbox, with the sandbox's own user."""
        result = await asyncio.to_thread(self.container.exec_run, ["/bin/sh", "-c", command])
        return result.exit_code, result.output.decode(errors="replace").strip()

    async def logs(self) -> str:
        return (await asyncio.to_thread(self.container.logs)).decode()


StartSandbox = Callable[..., "contextlib.AbstractAsyncContextManager[RunningSandbox]"]


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as running:
        yield running


@pytest.fixture
def slots() -> Any:
    with Slots(SlotSettings(root=Path("/tmp") / f"casemate-shim-{os.getpid()}")) as opened:
        yield opened
    opened._settings.root.rmdir()


@pytest.fixture
async def start_sandbox(
    docker_engine: docker.DockerClient,
    sandbox_image: BuiltImage,
    model: ScriptedModel,
    slots: Slots,
) -> StartSandbox:
    """Starts the image with the product's own container spec, on the scripted model."""

    @contextlib.asynccontextmanager
    async def start(
        image: BuiltImage = sandbox_image, plane: ListeningPlane | None = None, **setup: Any
    ) -> AsyncIterator[RunningSandbox]:
        agent = AgentSetup(model="claude-sonnet-4-5", **setup)
        profile = Profile(name=ProfileName("test"), title="Test", agent=agent)
        slot = slots.create(SlotId(secrets.token_hex(16)), agent)
        plane = plane or ListeningPlane()
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(slots.remove, slot.id)
            link = await stack.enter_async_context(_listen(plane, slot))
            stack.callback(link.close)
            await stack.enter_async_context(_gateway(slot, model.url))
            body = container_body(
                profile,
                slot=slot,
                image=Image(id=image.id, version=image.version),
                host=Host(runtime="runc", cpus=os.cpu_count() or 1),
                owner=Owner(instance="shim-tests", epoch="0"),
                seccomp=seccomp_profile(),
            )
            made = await asyncio.to_thread(docker_engine.api.create_container_from_config, body)
            container = await asyncio.to_thread(docker_engine.containers.get, made["Id"])
            stack.push_async_callback(asyncio.to_thread, container.remove, force=True)
            await asyncio.to_thread(container.start)
            yield RunningSandbox(container, plane, slot)

    return start


@pytest.fixture
async def sandbox(start_sandbox: StartSandbox) -> AsyncIterator[RunningSandbox]:
    """A connected sandbox."""
    async with start_sandbox() as running:
        hello = await running.plane.connected()
        assert hello.failure is None
        yield running


@contextlib.asynccontextmanager
async def _listen(plane: ListeningPlane, slot: Slot) -> AsyncIterator[Server]:
    async with unix_serve(
        plane.serve, str(slot.link_socket), compression=None, max_size=MAX_FRAME_BYTES
    ) as server:
        slot.link_socket.chmod(0o666)
        yield server


@contextlib.asynccontextmanager
async def _gateway(slot: Slot, url: str) -> AsyncIterator[None]:
    """A wire from the slot to the model, with nothing in between."""
    host, port = url.removeprefix("http://").split(":")

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(1 << 16):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))

    async with await asyncio.start_unix_server(carry, slot.model_socket):
        slot.model_socket.chmod(0o666)
        yield
