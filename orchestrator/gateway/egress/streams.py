"""Byte streams with back-pressure: a socket, and TLS over any of them.

TLS is done over memory buffers and not by the event loop, because a tunnel's first TLS bytes were
read already when it is decided who opens them, and so that what is counted is what was on the wire.
"""

import asyncio
import contextlib
import ssl
from typing import Protocol

PIECE = 64 << 10
"""Bytes read at once."""
BUFFER = 32 << 10
"""Bytes held back in a direction before its source is read no further."""


class StreamBroken(Exception):
    """The other side is gone, or what it sent is no TLS. The message says which."""


class ByteStream(Protocol):
    async def read(self) -> bytes:
        """Some bytes; none at the end. Raises StreamBroken."""

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more. Raises StreamBroken."""

    async def end(self) -> None:
        """Nothing more will be written. Raises StreamBroken."""

    def abort(self) -> None:
        """Drop the connection and what is not yet sent. Idempotent."""


class SocketStream:
    """A ByteStream over asyncio's streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        writer.transport.set_write_buffer_limits(high=BUFFER)

    async def read(self) -> bytes:
        try:
            return await self._reader.read(PIECE)
        except OSError as error:
            raise StreamBroken("the connection broke") from error

    async def write(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (OSError, RuntimeError) as error:  # RuntimeError: uvloop's closed handle
            raise StreamBroken("the connection broke") from error

    async def end(self) -> None:
        try:
            if self._writer.can_write_eof():
                self._writer.write_eof()
        except (OSError, RuntimeError) as error:
            raise StreamBroken("the connection broke") from error

    async def close(self) -> None:
        """Send what is left, then close. The caller limits how long that may take."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def abort(self) -> None:
        self._writer.transport.abort()


class TlsStream:
    """A ByteStream inside another one. `received` are bytes that were read from that one before."""

    def __init__(
        self,
        outer: ByteStream,
        context: ssl.SSLContext,
        *,
        received: bytes = b"",
        server_name: str | None = None,
    ) -> None:
        self._outer = outer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._incoming.write(received)
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_name is None,
            server_hostname=server_name,
        )

    async def handshake(self) -> None:
        """Raises StreamBroken; its message says what is wrong with a certificate."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                await self._receive()
            except ssl.SSLCertVerificationError as error:
                await self._flush()
                reason = error.verify_message or "it does not fit"
                raise StreamBroken(f"its certificate is not trusted ({reason})") from error
            except ssl.SSLError as error:
                with contextlib.suppress(StreamBroken):
                    await self._flush()
                raise StreamBroken("TLS could not be agreed on") from error
        await self._flush()

    async def read(self) -> bytes:
        while True:
            try:
                return self._tls.read(PIECE)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._receive()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as error:  # an end that TLS did not announce may be a cut
                raise StreamBroken("the connection was cut, or what came is no TLS") from error

    async def write(self, data: bytes) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise StreamBroken("the connection was closed") from error
        await self._flush()

    async def end(self) -> None:
        with contextlib.suppress(ssl.SSLError):  # it waits for the other side's, which may not come
            self._tls.unwrap()
        await self._flush()

    def abort(self) -> None:
        self._outer.abort()

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._outer.write(self._outgoing.read())

    async def _receive(self) -> None:
        data = await self._outer.read()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
