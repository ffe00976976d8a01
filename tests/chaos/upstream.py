"""A road to the scripted model that can be closed, cut or blocked while others travel on it."""

import asyncio
import contextlib
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

CHUNK = 64 << 10


class Road:
    """`state`: `open`, or `silent`: who comes in hears nothing."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._target = (address.hostname or "127.0.0.1", address.port or 80)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._travelling: set[asyncio.StreamWriter] = set()
        self.state: Literal["open", "silent"] = "open"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.refuse()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def open(self) -> None:
        self.state = "open"
        if self._server is None:
            await self._listen()

    async def refuse(self) -> None:
        """Close the door, and cut who is on the way."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def cut(self) -> None:
        """In the middle of a sentence."""
        for writer in list(self._travelling):
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._travelling.add(writer)
        try:
            there, back = await asyncio.open_connection(*self._target)
            self._travelling.add(back)
            try:
                await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
            finally:
                self._travelling.discard(back)
                back.transport.abort()
        except OSError:
            pass
        finally:
            self._travelling.discard(writer)
            writer.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                while self.state == "silent":
                    await asyncio.sleep(0.05)
                sink.write(data)
                await sink.drain()
            if sink.can_write_eof():
                sink.write_eof()
