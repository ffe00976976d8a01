"""The network, which is not there."""

import pytest

from orchestrator.testing.running_casemate import RunningCasemate

from .cases import attack
from .intruder import Intruder

WITHOUT_A_WAY = {"ENETUNREACH", "EHOSTUNREACH", "EADDRNOTAVAIL", "ECONNREFUSED"}


@pytest.fixture
async def found(intruder: Intruder, casemate: RunningCasemate) -> dict[str, dict[str, str]]:
    """What the attempts met."""
    return await intruder.probe("network", str(casemate.port), "80", "2375", "8080")


@attack(
    "A20",
    tried="resolve names; reach addresses by TCP, UDP and ICMP",
    protects="what is in the sandbox, and the host's own network",
)
async def test_there_is_no_way_out(found: dict[str, dict[str, str]]) -> None:
    """No name is known, no address is reached, and there is nothing but the loopback."""
    assert found["interfaces"] == ["lo"]
    assert found["routes"] == []
    assert None not in found["names"].values()
    connections = {**found["connections"], **found["datagrams"]}
    assert {p: e for p, e in connections.items() if e not in WITHOUT_A_WAY} == {}
    assert found["ping"] is not None


@attack(
    "A21",
    "A22",
    tried="find a proxy, or something of the host on the loopback, by any spelling of an address",
    protects="what is in the sandbox, and the services of the host",
)
async def test_nobody_lends_a_way_out(found: dict[str, dict[str, str]]) -> None:
    """There is no proxy, and on the loopback nothing of the host listens."""
    assert found["proxies"] == []
    assert None not in found["host ports"].values()
    local = [found["connections"][place] for place in ("127.1", "2130706433", "0x7f.1")]
    assert set(local) <= WITHOUT_A_WAY
    assert [name for name in found["abstract sockets"] if "docker" in name or "dbus" in name] == []
