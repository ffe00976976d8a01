"""The loopback port that is lent to programs in a sandbox."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from shim.loopback_proxy import MAX_CONNECTIONS, LoopbackProxy, ProxyUnavailable

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nPEM"


class EgressSocket:
    """The socket's other end: answers a request for certificates, echoes everything else."""

    def __init__(self, path: Path, answer: bytes = ANSWER) -> None:
        self.path = path
        self.answer = answer
        self.open = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async with await asyncio.start_unix_server(self._serve, self.path):
            yield

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        with contextlib.suppress(OSError):
            first = await reader.read(1 << 16)
            if first.startswith(b"GET http://casemate.internal/ca.pem "):
                writer.write(self.answer)
            else:
                writer.write(first)
                while piece := await reader.read(1 << 16):
                    writer.write(piece)
                    await writer.drain()
        writer.close()
        self.open -= 1


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def egress(tmp_path: Path) -> EgressSocket:
    return EgressSocket(tmp_path / "egress.sock")


def proxy_on(tmp_path: Path, port: int) -> LoopbackProxy:
    system = tmp_path / "system.pem"
    system.write_text("SYSTEM\n\n")
    return LoopbackProxy(
        socket=tmp_path / "egress.sock",
        port=port,
        bundle=tmp_path / "home" / "bundle.pem",
        system_bundle=system,
    )


@pytest.fixture
async def proxy(tmp_path: Path, port: int, egress: EgressSocket) -> AsyncIterator[LoopbackProxy]:
    opened = proxy_on(tmp_path, port)
    async with egress.listening():
        await opened.open()
        yield opened
        await opened.close()


async def test_the_bundle_has_both(proxy: LoopbackProxy, tmp_path: Path) -> None:
    """The image's certificates, then those of the proxy."""
    assert (tmp_path / "home" / "bundle.pem").read_text() == "SYSTEM\nPEM"


async def test_bytes_pass_both_ways(proxy: LoopbackProxy, port: int) -> None:
    """More than any buffer holds, and the end of each direction by itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = os.urandom(3 << 20)

    async def send() -> None:
        writer.write(sent)
        await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(send())
    assert await reader.read() == sent
    await sending
    writer.close()


async def test_a_reader_that_does_not_read_holds_the_sender_back(
    proxy: LoopbackProxy, port: int
) -> None:
    """What is on its way is bounded."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    writer.write(bytes(64 << 20))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await writer.drain()
    assert writer.transport.get_write_buffer_size() > 32 << 20
    writer.transport.abort()
    assert reader is not None


async def test_connections_are_bounded(
    proxy: LoopbackProxy, port: int, egress: EgressSocket
) -> None:
    """Those beyond are hung up on."""
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
    async with asyncio.timeout(5):
        while egress.open < MAX_CONNECTIONS:
            await asyncio.sleep(0.01)
    reader, _ = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    assert egress.open == MAX_CONNECTIONS
    for _, writer in held:
        writer.transport.abort()
    async with asyncio.timeout(5):
        while egress.open:
            await asyncio.sleep(0.01)


async def test_closing_cuts_what_is_open(proxy: LoopbackProxy, port: int) -> None:
    """At once, also what was accepted a moment ago."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await proxy.close()
    writer.write(b"x")
    async with asyncio.timeout(2):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 403 blocked\r\n\r\n", b"x" * (2 << 20), ANSWER[:10]]
)
async def test_without_certificates_it_does_not_open(
    tmp_path: Path, port: int, answer: bytes
) -> None:
    """The failure says why."""
    async with EgressSocket(tmp_path / "egress.sock", answer).listening():
        with pytest.raises(ProxyUnavailable) as caught:
            await proxy_on(tmp_path, port).open()
    assert caught.value.sentence.startswith("The egress proxy")


async def test_without_a_socket_it_does_not_open(tmp_path: Path, port: int) -> None:
    """Nor when the port is taken."""
    with pytest.raises(ProxyUnavailable):
        await proxy_on(tmp_path, port).open()
