"""The link and the sandbox's life, attacked by what runs beside the shim with the shim's user."""

import asyncio
from pathlib import Path

import pytest

from orchestrator.protocol.control_events import SandboxLost
from orchestrator.protocol.sandbox_events import TextWritten
from orchestrator.testing.chat_client import ApiClient
from orchestrator.testing.running_casemate import RunningCasemate

from .cases import attack
from .intruder import SHIMS_PYTHON, Intruder, docker, memory_of, script, until

MIB = 1 << 20
MOST_GROWTH = 160 * MIB
"""Of the control plane, with six hostile sandboxes at once; each sends hundreds of MiB and more."""
VIOLATIONS = {
    "oversize": {"link_oversize"},
    "not-json": {"link_malformed"},
    "not-utf8": {"link_malformed"},
    "wrong-shape": {"link_malformed"},
    "gap": {"link_gap"},
    "pieces": {"link_malformed"},
    "flood": {"link_flooded"},
    "slow": {"link_lost"},
}


@attack(
    "A26",
    tried="kill everything, the shim, or the CLI",
    protects="a sandbox's end: with a reason, with nothing left behind, and not the session's",
)
@pytest.mark.parametrize(
    "kill",
    ["kill -9 -1", script("kill", "shim"), script("kill", "claude")],
    ids=["everything", "the shim", "the CLI"],
)
async def test_a_killed_sandbox_is_gone_and_told(
    intruder: Intruder, casemate: RunningCasemate, kill: str
) -> None:
    """The person reads what happened; container and slot are gone and are not used again; the
    session goes on in another sandbox."""
    name = await intruder.sandbox()
    slot = docker("inspect", "-f", "{{(index .Mounts 0).Source}}", name)
    assert Path(slot) in casemate.slot_directories()
    await intruder.start(kill)
    _, lost = await intruder.chat.next(SandboxLost)
    assert lost.sentence
    await until(lambda: not docker("ps", "-aq", "--filter", f"name={name}"))
    await until(lambda: not Path(slot).exists())
    await intruder.idle()
    assert await intruder.sandbox() != name
    await intruder.works()


@attack(
    "A27",
    tried="speak on the link beside the shim: forged frames, answers to one's own questions",
    protects="whose frames count, and the person's decisions",
)
async def test_beside_the_shim_nobody_speaks(intruder: Intruder, neighbour: Intruder) -> None:
    """A second peer is not welcomed, what it says happens nowhere, and the shim is still heard."""
    found = await intruder.probe("second_peer", python=SHIMS_PYTHON)
    assert [end for end in found["ended"] if end.startswith("answered")] == []
    assert found["held"] <= 4
    await intruder.works()
    assert "FORGED" not in str(intruder.chat.of(TextWritten))
    assert intruder.chat.view is not None
    assert intruder.chat.view.title != "FORGED"
    assert neighbour.chat.of(TextWritten) == []


@attack(
    "A27",
    tried="stop the shim, take its place, name another session, forge the control plane's events",
    protects="the other sessions, costs and decisions",
)
async def test_in_the_shims_place_only_the_own_session_is_touched(
    intruder: Intruder, neighbour: Intruder
) -> None:
    """What comes over a slot's socket is of that slot's session, whatever it says of itself."""
    await intruder.chat.turn("!say 3 words")
    assert intruder.chat.view is not None
    title, cost = intruder.chat.view.title, intruder.chat.view.cost_usd
    await intruder.start(script("usurper", "forge", neighbour.session, python=SHIMS_PYTHON))
    await intruder.chat.until(
        lambda c: "permission_resolved" in {getattr(e, "tag", "") for _, e in c.events}
    )
    view = intruder.chat.view
    assert (view.title, view.cost_usd >= cost) == (title, True)
    assert "FORGED" in {text.text for text in intruder.chat.of(TextWritten)}
    await neighbour.works()
    assert "FORGED" not in str(neighbour.chat.events)


async def _end_of(client: ApiClient, mode: str) -> tuple[str, str]:
    async with Intruder.of(client) as inside:
        await inside.start(script("usurper", mode, python=SHIMS_PYTHON))
        _, lost = await inside.chat.next(SandboxLost, limit=90)
        return mode, lost.tag


@attack(
    "A28",
    tried="take the shim's place and send frames that are huge, slow, endless, broken or too many",
    protects="the control plane's memory, and everybody's sessions with it",
)
@pytest.mark.timeout(180)
async def test_broken_frames_end_their_own_session(
    ada: ApiClient, neighbour: Intruder, casemate: RunningCasemate
) -> None:
    """Each ends its sandbox with a reason; the control plane's memory stays bounded meanwhile, and
    the neighbour is answered."""
    Path(f"/proc/{casemate.pid}/clear_refs").write_text("5")  # the peak counts from here
    before = memory_of(casemate, "VmRSS")
    room = asyncio.Semaphore(5)

    async def hostile(mode: str) -> tuple[str, str]:
        async with room:
            return await _end_of(ada, mode)

    ended = await asyncio.gather(*(hostile(mode) for mode in VIOLATIONS), neighbour.works())
    tags = dict(pair for pair in ended if pair is not None)
    assert {mode: tag for mode, tag in tags.items() if tag not in VIOLATIONS[mode]} == {}
    assert memory_of(casemate, "VmHWM") - before < MOST_GROWTH
    await neighbour.works()
