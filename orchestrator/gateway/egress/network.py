"""The network as the egress proxy uses it: one lookup of a name, connections to addresses.

    Unresolved      the name has no address, or nobody could say
    NotReached      no connection came about

Names are not looked up when a connection is made: what was vetted is what is called.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Protocol

from orchestrator.gateway.egress.addresses import Address
from orchestrator.gateway.egress.streams import BUFFER, SocketStream

_LOOKUP_THREADS = 16
"""The system's resolver blocks. It has threads of its own, so that slow names delay nobody else."""


class Unresolved(Exception):
    """The message says why, in the resolver's words."""


class NotReached(Exception):
    """The message says why, in the system's words."""


class Network(Protocol):
    """Both calls are limited by their caller."""

    async def resolve(self, host: str) -> list[Address]:
        """Every address of a name, in the order to try them. Raises Unresolved."""

    async def connect(self, address: Address, port: int) -> SocketStream:
        """Raises NotReached."""


class SystemNetwork:
    """The machine's own resolver and network."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None

    async def resolve(self, host: str) -> list[Address]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="egress-lookup")
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, _look_up, host)
        except (OSError, UnicodeError) as error:
            raise Unresolved(str(error)) from error
        return list(dict.fromkeys(ip_address(place) for place in found))

    async def connect(self, address: Address, port: int) -> SocketStream:
        try:
            reader, writer = await asyncio.open_connection(str(address), port, limit=BUFFER)
        except OSError as error:
            raise NotReached(error.strerror or str(error)) from error
        return SocketStream(reader, writer)


def _look_up(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(place[0]) for *_, place in found]
