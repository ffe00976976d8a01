"""Other people's sandboxes, looked for from inside one."""

import os
from pathlib import Path

import pytest

from orchestrator.protocol.sandbox_events import BlockDelta, NoteWritten
from orchestrator.testing.chat_client import ApiClient
from orchestrator.testing.running_casemate import RunningCasemate

from .cases import attack
from .intruder import SHIMS_PYTHON, Intruder, docker, memory_of, script, until

MIB = 1 << 20
MOST_GROWTH = 160 * MIB
"""Of the control plane, beside one pest."""
PLAGUE_SECONDS = 60
SAID_IN_THE_SHIMS_PLACE = {"frames": NoteWritten, "overlaps": BlockDelta}


@attack(
    "A13",
    "A34",
    tried="find and call the socket of what makes and removes the sandboxes, whose path is known",
    protects="every sandbox on the host: who calls the broker may remove them all",
)
async def test_the_broker_is_not_there(intruder: Intruder, casemate: RunningCasemate) -> None:
    """A sandbox sees the sockets of its own slot and no other, by whatever path."""
    words = Path(f"/proc/{casemate.broker_pid}/cmdline").read_bytes().split(b"\0")
    path = words[words.index(b"--listen") + 1].decode()
    assert Path(path).is_socket()
    found = await intruder.probe("call_broker", path)
    assert found["answered"] == []
    assert found["tried"] >= 4
    own = {"/run/agent/link.sock", "/run/agent/gw.sock", "/run/agent/egress.sock"}
    seen = {name for name in found["sockets"] if not name.startswith("/tmp/")}  # its own CLI's
    assert seen <= own
    assert "/run/agent/link.sock" in found["sockets"]
    await intruder.works()


@attack(
    "A34",
    tried="reach other slots' directories and sockets, whose paths are known",
    protects="the other sessions' gateways and links",
)
async def test_other_slots_are_not_there(
    intruder: Intruder, neighbour: Intruder, casemate: RunningCasemate
) -> None:
    """Of the slots on the host a sandbox has its own, read-only, and no path to another."""
    slots = casemate.slot_directories()
    assert len(slots) >= 2
    theirs = docker("inspect", "-f", "{{(index .Mounts 0).Source}}", await neighbour.sandbox())
    tried = " ".join(
        [
            theirs,
            f"/proc/1/root{theirs}",
            f"/run/agent/../{theirs.rsplit('/', 1)[1]}",
            *map(str, slots),
        ]
    )
    said = await intruder.bash(
        f"for p in {tried}; do ls -A $p >/dev/null 2>&1 && echo found $p; done; "
        "ls -A /run/agent; touch searched"
    )
    assert "found" not in said
    assert set(said.split()) == {"agent.json", "gw.sock", "link.sock"}
    for slot in slots:
        assert slot.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give each sandbox a user of its own")
@attack(
    "A34",
    tried="see, signal and share memory with a neighbour's processes",
    protects="the other sessions' processes",
)
async def test_a_neighbour_is_not_to_be_seen(intruder: Intruder, neighbour: Intruder) -> None:
    """Two sandboxes have different users, and neither processes nor shared memory in common."""
    await neighbour.bash("touch /dev/shm/mark-of-a-neighbour /tmp/mark-of-a-neighbour")
    said = await intruder.bash(
        "id -u; ls /dev/shm /tmp | grep -c mark-of-a-neighbour; touch looked"
    )
    uid, marks, *_ = said.split()
    assert marks == "0"
    theirs = (await neighbour.bash("id -u; touch looked")).split()[0]
    assert uid != theirs


@attack(
    "A08",
    "A15",
    "A16",
    "A17",
    "A19",
    "A28",
    tried="be a pest without pause: forks, memory, disks, outputs, dialling, frames, requests",
    protects="the neighbours' turns, and the control plane's memory",
)
@pytest.mark.parametrize(
    "way",
    ["forks", "memory", "disk", "log", "dials", "frames", "overlaps", "requests"],
)
async def test_beside_a_pest_turns_complete(
    ada: ApiClient, neighbour: Intruder, casemate: RunningCasemate, way: str
) -> None:
    """The neighbour's turns complete all the while, the control plane grows by little, and once
    the pest's session is over nothing of it is left."""
    before = memory_of(casemate, "VmRSS")
    async with Intruder.of(ada) as pest:
        name = await pest.sandbox()
        plague = script("pest", way, str(PLAGUE_SECONDS), python=SHIMS_PYTHON)
        if said := SAID_IN_THE_SHIMS_PLACE.get(way):  # the shim is stopped, and says nothing more
            await pest.start(plague)
            await pest.chat.until(lambda c: c.of(said), limit=30)
        else:
            await pest.bash(plague)
        for _ in range(4):
            assert (await neighbour.chat.turn("!say 20 words", limit=60)).outcome == "completed"
            assert memory_of(casemate, "VmRSS") - before < MOST_GROWTH
    await until(lambda: not docker("ps", "-aq", "--filter", f"name={name}"))
    await neighbour.works()
