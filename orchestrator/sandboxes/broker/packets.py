"""One packet at a time over a `SOCK_SEQPACKET` unix socket, with descriptors where they belong.

For: sending and receiving without blocking the loop. Not for: what is in the packets.
"""

import array
import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

DESCRIPTOR_BYTES = array.array("i").itemsize


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """The receiver owns the descriptors."""

    body: bytes
    sockets: list[socket.socket] = []

    def close(self) -> None:
        for one in self.sockets:
            one.close()


class PacketTooLong(ValueError):
    """The peer sent more than it may, or it would not fit to send."""


class PacketSocket:
    """`receive` from one task and `send` from any, but one after the other."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(0)
        self._socket = connection
        self._sending = asyncio.Lock()

    async def receive(self, *, most_bytes: int, most_sockets: int = 0) -> Packet | None:
        """None at the end. Descriptors beyond `most_sockets` are closed by the kernel.

        Raises PacketTooLong.
        """
        while True:
            try:
                return self._receive(most_bytes, most_sockets)
            except BlockingIOError:
                await ready(self._socket, reading=True)
            except ConnectionError:
                return None

    def _receive(self, most_bytes: int, most_sockets: int) -> Packet | None:
        space = socket.CMSG_SPACE(most_sockets * DESCRIPTOR_BYTES) if most_sockets else 0
        body, ancillary, flags, _ = self._socket.recvmsg(most_bytes, space, socket.MSG_CMSG_CLOEXEC)
        packet = Packet(body=body, sockets=_sockets_in(ancillary))
        if flags & socket.MSG_TRUNC:
            packet.close()
            raise PacketTooLong
        return packet if body else None

    async def send(self, body: bytes, *, sockets: Sequence[socket.socket] = ()) -> None:
        """Raises ConnectionError where nobody is there any more, and PacketTooLong."""
        rights = array.array("i", [one.fileno() for one in sockets])
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if sockets else []
        async with self._sending:
            while True:
                try:
                    self._socket.sendmsg([body], ancillary, socket.MSG_NOSIGNAL)
                except BlockingIOError:
                    await ready(self._socket, reading=False)
                except OSError as error:
                    if error.errno == errno.EMSGSIZE:
                        raise PacketTooLong from error
                    raise ConnectionResetError from error
                else:
                    return

    def end(self) -> None:
        """Wakes whoever receives, at both ends. Idempotent."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Only once nobody receives or sends any more. Idempotent."""
        self._socket.close()


class Pollable(Protocol):
    def fileno(self) -> int: ...


async def ready(one: Pollable, *, reading: bool) -> None:
    """Returns when it can be read from, or written to. Raises ConnectionResetError once closed."""
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not woken.done():
            woken.set_result(None)

    watch: Callable[..., object] = loop.add_reader if reading else loop.add_writer
    ignore: Callable[..., object] = loop.remove_reader if reading else loop.remove_writer
    number = one.fileno()
    if number < 0:
        raise ConnectionResetError
    watch(number, wake)
    try:
        await woken
    finally:
        ignore(number)


def _sockets_in(ancillary: Sequence[tuple[int, int, bytes]]) -> list[socket.socket]:
    numbers = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(data[: len(data) - len(data) % DESCRIPTOR_BYTES])
    return [socket.socket(fileno=number) for number in numbers]


def packet_socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def packet_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
