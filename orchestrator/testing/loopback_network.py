"""A small internet on this machine's loopback, for tests of the egress proxy.

Names lead to addresses as the test says, public-looking ones too; a connection to such an address
goes to a port of the loopback. So the rules about addresses hold as they do in production, and no
packet leaves the machine.
"""

import asyncio
from ipaddress import ip_address
from pathlib import Path

import msgspec

from orchestrator.gateway.egress.addresses import Address
from orchestrator.gateway.egress.network import NotReached, Unresolved
from orchestrator.gateway.egress.streams import BUFFER, SocketStream


class LoopbackMap(msgspec.Struct, kw_only=True):
    """`names` lead to addresses, `places` (`address:port`) to ports of the loopback."""

    names: dict[str, list[str]] = {}
    places: dict[str, int] = {}

    def host(self, name: str, address: str, ports: dict[int, int]) -> None:
        """Add a host: `ports` maps those it seems to have to those of the loopback."""
        self.names[name] = [address]
        self.places |= {f"{address}:{seen}": real for seen, real in ports.items()}

    def write(self, path: Path) -> None:
        path.write_bytes(msgspec.json.encode(self))


class LoopbackNetwork:
    """The `Network` of such a map; `looked_up` and `called` tell what was asked of it."""

    def __init__(self, known: LoopbackMap) -> None:
        self._known = known
        self.looked_up: list[str] = []
        self.called: list[str] = []

    @classmethod
    def read(cls, path: Path) -> "LoopbackNetwork":
        return cls(msgspec.json.decode(path.read_bytes(), type=LoopbackMap))

    async def resolve(self, host: str) -> list[Address]:
        self.looked_up.append(host)
        if host not in self._known.names:
            raise Unresolved("the name is not known")
        return [ip_address(address) for address in self._known.names[host]]

    async def connect(self, address: Address, port: int) -> SocketStream:
        place = f"{address}:{port}"
        self.called.append(place)
        if place not in self._known.places:
            raise NotReached("nobody listens there")
        local = self._known.places[place]
        reader, writer = await asyncio.open_connection("127.0.0.1", local, limit=BUFFER)
        return SocketStream(reader, writer)
