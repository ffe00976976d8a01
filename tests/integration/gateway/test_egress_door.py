"""The egress proxy as a part of the gateway, and the machine's own network."""

import socket
from ipaddress import ip_address
from pathlib import Path

import pytest

from orchestrator.gateway.credential import Credential
from orchestrator.gateway.egress.network import NotReached, SystemNetwork, Unresolved
from orchestrator.gateway.egress.proxy import EgressProxy
from orchestrator.gateway.egress.settings import EgressSettings
from orchestrator.gateway.gateway import Gateway
from orchestrator.gateway.settings import GatewaySettings
from orchestrator.sandboxes.slot_sockets import listen

from .egress_world import SESSION, SLOT, opened_world, profile, request


async def test_the_gateway_opens_both_doors_and_closes_them(tmp_path: Path) -> None:
    """Both refuse until the slot is admitted, and nobody is heard once it is closed."""
    async with opened_world(tmp_path) as world:
        await world.host("ok.test")
        egress = EgressProxy(
            EgressSettings(ca_bundle=world.ca_file), watcher=world.watcher, network=world.network
        )
        gateway = Gateway(
            GatewaySettings(upstream_url="http://127.0.0.1:9"),
            credential=Credential.api_key("k"),
            watcher=world.watcher,
            egress=egress,
        )
        async with gateway:
            model = listen(tmp_path / "gw.sock")
            await gateway.open(SLOT, model=model, egress=listen(world.socket))
            assert (await world.connect("ok.test:443"))[0].startswith(b"HTTP/1.1 403 ")
            gateway.admit(SLOT, session_id=SESSION, profile=profile(world.egress))
            assert b"GET /" in await world.fetch("ok.test:443", request("ok.test"))
            await gateway.close(SLOT)
            await gateway.close(SLOT)
            with pytest.raises(OSError, match="refused"):
                await world.dial()


async def test_a_bundle_that_cannot_be_read_fails_the_start(tmp_path: Path) -> None:
    """As the sandbox's start fails: not in the middle of a session."""
    async with opened_world(tmp_path) as world:
        missing = EgressSettings(ca_bundle=tmp_path / "missing.pem")
        gateway = Gateway(
            GatewaySettings(),
            credential=Credential.api_key("k"),
            watcher=world.watcher,
            egress=EgressProxy(missing, watcher=world.watcher),
        )
        async with gateway:
            model = listen(tmp_path / "gw.sock")
            with pytest.raises(OSError, match="No such file"):
                await gateway.open(SLOT, model=model, egress=listen(world.socket))


async def test_the_machines_own_network() -> None:
    """Names are looked up by the system's resolver, and connections go to addresses."""
    network = SystemNetwork()
    assert ip_address("127.0.0.1") in await network.resolve("localhost")
    with pytest.raises(Unresolved):
        await network.resolve("no-such-host.invalid")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (await network.connect(ip_address("127.0.0.1"), port)).abort()
    with pytest.raises(NotReached):
        await network.connect(ip_address("127.0.0.1"), port)
