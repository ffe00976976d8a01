"""Lends the egress proxy's socket a port on the loopback: programs speak to proxies by TCP.

For: carrying bytes both ways, bounded, and fetching the list of whom this sandbox shall trust. Not
for: deciding anything. Whoever is in the sandbox may use the socket without this, and gets no more.
"""

import asyncio
import logging
from collections.abc import Coroutine
from http import HTTPStatus
from pathlib import Path
from typing import Any

from orchestrator.protocol.agent import CA_BUNDLE, CERTIFICATES_URL, LOOPBACK_PORT

SOCKET = Path("/run/agent/egress.sock")
SYSTEM_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
HOST = "127.0.0.1"
MAX_CONNECTIONS = 64
"""At once; those beyond are hung up on. The socket's other end allows fewer."""
PIECE = 64 << 10
BUFFER = 32 << 10
"""Bytes held back in a direction before its source is read no further."""
FETCH_SECONDS = 10.0
CLOSE_SECONDS = 2.0
"""For a program to read the last of what it was sent."""
MAX_CERTIFICATES = 1 << 20
_REQUEST = f"GET {CERTIFICATES_URL} HTTP/1.1\r\nHost: casemate.internal\r\n\r\n".encode("ascii")

log = logging.getLogger("shim.loopback_proxy")


class ProxyUnavailable(Exception):
    """`sentence` says why."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class LoopbackProxy:
    """Nothing listens before `open`; `close` is idempotent."""

    def __init__(
        self,
        *,
        socket: Path = SOCKET,
        port: int = LOOPBACK_PORT,
        bundle: Path = Path(CA_BUNDLE),
        system_bundle: Path = SYSTEM_BUNDLE,
    ) -> None:
        self._socket = socket
        self._port = port
        self._bundle = bundle
        self._system_bundle = system_bundle
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Write the bundle, then listen. Raises ProxyUnavailable."""
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                certificates = await self._fetch()
            self._write(certificates)
            self._server = await asyncio.start_server(self._accept, HOST, self._port, limit=BUFFER)
        except TimeoutError as error:
            raise ProxyUnavailable("The egress proxy did not answer in time.") from error
        except OSError as error:
            raise ProxyUnavailable(f"The egress proxy cannot be used: {error}.") from error

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _fetch(self) -> bytes:
        reader, writer = await asyncio.open_unix_connection(
            str(self._socket), limit=MAX_CERTIFICATES
        )
        try:
            writer.write(_REQUEST)
            answer = bytearray()
            while piece := await reader.read(PIECE):
                answer += piece
                if len(answer) > MAX_CERTIFICATES:
                    raise ProxyUnavailable("The egress proxy's certificates are too many.")
        finally:
            writer.close()
        head, _, body = bytes(answer).partition(b"\r\n\r\n")
        if head.split(b" ", 2)[1:2] != [b"%d" % HTTPStatus.OK]:
            raise ProxyUnavailable("The egress proxy did not hand out its certificates.")
        return body

    def _write(self, certificates: bytes) -> None:
        self._bundle.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._bundle.write_bytes(self._system_bundle.read_bytes().rstrip() + b"\n" + certificates)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._carry(reader, writer), name="egress-connection")
        self._connections.add(task)
        task.add_done_callback(lambda done: self._ended(done, writer))

    def _ended(self, task: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
        """Also of a task that was cancelled before it began."""
        writer.transport.abort()
        self._connections.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until both directions are at their end, or one breaks."""
        try:
            there, back = await asyncio.open_unix_connection(str(self._socket), limit=BUFFER)
        except OSError as error:
            log.warning("egress.not_reached", extra={"reason": str(error)})
            return
        try:
            await _both(_pump(reader, back), _pump(there, writer))
            writer.close()
            async with asyncio.timeout(CLOSE_SECONDS):
                await writer.wait_closed()
        except OSError:
            return  # one side is gone; TimeoutError is one, too
        finally:
            back.transport.abort()


async def _both(*ways: Coroutine[Any, Any, None]) -> None:
    """The first that breaks ends the other one. Raises OSError."""
    tasks = [asyncio.create_task(way) for way in ways]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.set_write_buffer_limits(high=BUFFER)
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
