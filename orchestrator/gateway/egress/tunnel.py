"""A tunnel: its first TLS message must be for its host; what follows is not looked at."""

import asyncio

from orchestrator.gateway.egress.blocked import no_tls, sni_mismatch
from orchestrator.gateway.egress.client_hello import (
    MAX_BYTES,
    ClientHello,
    NotTls,
    read_client_hello,
)
from orchestrator.gateway.egress.passage import Passage
from orchestrator.gateway.egress.streams import ByteStream

MAX_READS = 100
"""The first message may come in pieces, but not byte by byte: each costs another look at all."""


async def first_message(sandbox: ByteStream, received: bytes, *, host: str, port: int) -> bytes:
    """All bytes up to the end of the ClientHello at least, which is for this host.

    Raises Blocked, StreamBroken.
    """
    try:
        hello, data = await _read_hello(sandbox, received)
    except NotTls as error:
        raise no_tls(host, port, str(error)) from error
    _check_name(hello, host, port)
    return data


async def _read_hello(sandbox: ByteStream, data: bytes) -> tuple[ClientHello, bytes]:
    for _ in range(MAX_READS):
        hello = read_client_hello(data)
        if hello is not None:
            return hello, data
        piece = await sandbox.read() if len(data) <= MAX_BYTES else b""
        if not piece:
            break
        data += piece
    raise NotTls("its first message never ends")


def _check_name(hello: ClientHello, host: str, port: int) -> None:
    if hello.hides_name:
        raise sni_mismatch(host, port, "TLS hides which one it is for")
    if hello.server_name is None:
        raise sni_mismatch(host, port, "TLS does not say which one it is for")
    if hello.server_name.lower() != host:
        raise sni_mismatch(host, port, "TLS is for another one")


async def carry(sandbox: ByteStream, passage: Passage) -> None:
    """Both ways until both sides are done. Raises Blocked, StreamBroken."""
    ways = [
        asyncio.create_task(_pump(sandbox, passage, passage), name="egress-up"),
        asyncio.create_task(_pump(passage, sandbox, passage), name="egress-down"),
    ]
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
        for way in done:
            way.result()
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _pump(source: ByteStream, sink: ByteStream, passage: Passage) -> None:
    while data := await source.read():
        await sink.write(data)
    await sink.end()
    passage.half_closed()
