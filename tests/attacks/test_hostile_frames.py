"""Well-formed frames with hostile content: who decodes what a sandbox says must not be hurt by it.

Each is said in the shim's place by what runs beside it.
"""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.protocol.control_events import SandboxLost
from orchestrator.protocol.sandbox_events import NoteWritten
from orchestrator.protocol.wire import Unrecognised
from orchestrator.testing.chat_client import ApiClient
from orchestrator.testing.running_casemate import RunningCasemate

from .cases import attack
from .intruder import SHIMS_PYTHON, Intruder, cpu_of, docker, memory_of, script, until

MIB = 1 << 20
MOST_GROWTH = 160 * MIB
MOST_CPU = 0.6
"""Of a processor, for the control plane beside a sandbox that keeps it busy."""
SLACK = 500
"""What others on the machine may take meanwhile."""
MEASURED = '{"type":"memory_measured","usage":%s,"working_set":1,"limit":1}'
DATA = '{"type":"system_noted","subtype":"x","data":{"a":%s}}'
LAST_WORD = {"event": '{"type":"note_written","text":"last word"}'}
OUT_OF_BOUNDS: dict[str, list[dict[str, Any]]] = {
    "a number of 65 bits": [{"event": MEASURED % 2**64}],
    "a number of 401 digits": [{"event": MEASURED % 10**400}],
    "a context of 65 bits": [{"event": f'{{"type":"context_measured","used":{2**64},"window":1}}'}],
    "no number": [{"event": MEASURED % "NaN"}],
    "an endless number": [{"event": DATA % "1e400"}],
    "half a character": [{"event": '{"type":"note_written","text":"\\ud800"}'}],
    "depth": [{"event": DATA % "@", "fill": "[", "length": 100_000}],
    "a model's name of one MB": [
        {"event": '{"type":"model_changed","model":"@"}', "fill": "M", "length": 1_000_000}
    ],
    "two types": [{"event": '{"type":"note_written","text":"x","type":"agent_died"}'}],
    "an early acknowledgement": [{"frame": '{"type":"batch","acknowledged":1000000}'}],
    "a second hello": [{"frame": '{"type":"hello","protocol":1,"version":"forged"}'}],
    "a negative number of an event": [{"frame": '{"type":"batch","items":[[-1,{"type":"x"}]]}'}],
    "an event's number of 64 bits": [
        {"frame": f'{{"type":"batch","items":[[{2**63},{{"type":"x"}}]]}}'}
    ],
}


async def say(intruder: Intruder, told: list[dict[str, Any]]) -> None:
    await intruder.start(script("says", json.dumps(told), python=SHIMS_PYTHON))


@attack(
    "A28",
    tried="say numbers, names and nesting beyond every bound, and count events and answers wrongly",
    protects="the database, the lists of sessions, and whoever reads the sandbox's frames",
)
@pytest.mark.timeout(300)
async def test_what_is_out_of_bounds_ends_its_own_session(
    ada: ApiClient, neighbour: Intruder, casemate: RunningCasemate
) -> None:
    """Each is cut off with a reason, is gone, and its session is listed like every other."""
    logged = len(casemate.log)
    room = asyncio.Semaphore(4)

    async def hostile(name: str) -> tuple[str, str]:
        async with room, Intruder.of(ada) as inside:
            sandbox = await inside.sandbox()
            await say(inside, OUT_OF_BOUNDS[name])
            _, lost = await inside.chat.next(SandboxLost, limit=90)
            await until(lambda: not docker("ps", "-q", "--filter", f"name={sandbox}"))
            return inside.session, lost.tag

    ended = dict(
        zip(OUT_OF_BOUNDS, await asyncio.gather(*map(hostile, OUT_OF_BOUNDS)), strict=True)
    )
    assert {name: tag for name, (_, tag) in ended.items() if not tag.startswith("link_")} == {}
    status, answer, _ = await ada.request("GET", "/api/v1/sessions?limit=100")
    assert status == 200
    listed = {session["id"] for session in answer["sessions"]}
    assert {session for session, _ in ended.values()} <= listed
    assert "Traceback" not in casemate.log[logged:]
    await neighbour.works()


@attack(
    "A28",
    tried="say tens of thousands of things that each make a line of the operator's log",
    protects="the operator's disk and their eyes",
)
async def test_the_log_is_not_for_sandboxes_to_fill(
    intruder: Intruder, casemate: RunningCasemate
) -> None:
    """Lines that a sandbox causes are short, counted, and left out beyond a few hundred."""
    before = len(casemate.log)
    failed = {"event": '{"type":"agent_failed","error":"@"}', "fill": "\\u001b", "length": 250}
    await say(intruder, [{**failed, "times": 20_000}, LAST_WORD])
    await _heard(intruder)
    await intruder.chat.until(lambda c: c.view)
    assert len(casemate.log) - before < MIB
    assert "\x1b" not in casemate.log[before:]


@attack(
    "A27",
    tried="spell an event so that the control plane and a browser might read two different ones",
    protects="what is shown to whom decides",
)
async def test_everybody_reads_the_same_event(intruder: Intruder) -> None:
    """Escapes in the type, types that come last, doubled keys: browsers get what was understood
    here, encoded anew, and no event of the control plane's own."""
    await say(
        intruder,
        [
            {"event": '{"type":"session\\u005frenamed","title":"FORGED"}'},
            {"event": '{"title":"FORGED","type":"session_renamed"}'},
            {"event": '{"type":"unrecognised","tag":"session_renamed","raw":{"title":"FORGED"}}'},
            {"event": '{"text":"one","type":"note_written","text":"other","typ":"agent_died"}'},
            LAST_WORD,
        ],
    )
    await _heard(intruder)
    assert intruder.chat.view is not None
    assert intruder.chat.view.title != "FORGED"
    assert [event.tag for event in intruder.chat.of(Unrecognised)] == ["session_renamed"] * 3
    path = f"/api/v1/sessions/{intruder.session}/events"
    async with intruder.client.http.get(path) as answer:
        page = json.loads(await answer.text(), object_pairs_hook=_once)
    assert "other" in json.dumps(page)


@attack(
    "A28",
    tried="say megabytes of brackets, which cost more to hold than to send",
    protects="the control plane's memory, and the neighbours' turns",
)
async def test_brackets_cost_their_sender(
    intruder: Intruder, neighbour: Intruder, casemate: RunningCasemate
) -> None:
    """Neither frames nor events of brackets alone make the control plane grow by much."""
    before = memory_of(casemate, "VmRSS")
    many = {"fill": "[],", "length": 330_000, "times": 1}
    asked = (
        '{"type":"permission_requested","permission_id":"%d","tool_name":"x","input":{"a":[@1]}}'
    )
    told = [{"frame": '{"type":"zzz","a":[@1]}', **many}]
    told += [{"event": asked % number, **many} for number in range(6)]
    await say(intruder, [*told, LAST_WORD])
    await intruder.chat.until(lambda c: c.of(NoteWritten) or c.of(SandboxLost), limit=60)
    assert memory_of(casemate, "VmRSS") - before < MOST_GROWTH
    await neighbour.works()


def piece(*, more: str, **fill: Any) -> dict[str, Any]:
    key = '{"project":"p","agent_session":"a"}'
    event = f'{{"type":"transcript_piece","key":{key},"text":"@\\n","more":{more}}}'
    return {"event": event, "fill": "x", **fill}


@attack(
    "A28",
    tried="take the shim's place and say a transcript without end: as one batch, and as many",
    protects="the database, the control plane's memory, and the neighbours' turns",
)
@pytest.mark.parametrize(
    "told",
    [
        piece(more="true", length=200_000, times=2_000, at_once=10),
        piece(more="false", length=200_000, times=2_000, at_once=10),
    ],
    ids=["one batch", "many"],
)
async def test_a_flood_of_transcripts_is_cut_off(
    intruder: Intruder, neighbour: Intruder, casemate: RunningCasemate, told: dict[str, Any]
) -> None:
    """The sandbox is given up with a reason; little of it is held or stored, and the neighbour is
    answered meanwhile."""
    before, stored = memory_of(casemate, "VmRSS"), _stored(casemate)
    await say(intruder, [told])
    (_, lost), _ = await asyncio.gather(
        intruder.chat.next(SandboxLost, limit=90), neighbour.works()
    )
    assert lost.tag in {"link_flooded", "transcript_broken", "transcript_too_large"}
    assert memory_of(casemate, "VmRSS") - before < MOST_GROWTH
    assert _stored(casemate) - stored < MOST_GROWTH
    await neighbour.works()


@attack(
    "A28",
    tried="take the shim's place and say a transcript in crumbs, each of which is stored by itself",
    protects="the database's one writer, and the control plane's processor",
)
async def test_crumbs_of_a_transcript_cost_little(
    intruder: Intruder, neighbour: Intruder, casemate: RunningCasemate
) -> None:
    """So many are taken in a second and no more: the neighbour's turns are as they were, and the
    control plane has time for others."""
    before, began = cpu_of(casemate), time.monotonic()
    await say(intruder, [piece(more="false", length=1, times=2_000_000)])
    await asyncio.sleep(10)
    await neighbour.works()
    assert (cpu_of(casemate) - before) / (time.monotonic() - began) < MOST_CPU


def _stored(casemate: RunningCasemate) -> int:
    files = (path for path in (casemate.home / "data").rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files)


async def _heard(intruder: Intruder) -> None:
    await intruder.chat.until(
        lambda c: any(note.text == "last word" for note in c.of(NoteWritten)), limit=60
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of which no key stands twice."""
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@attack(
    "A33",
    tried="take every pseudo-terminal and every place for asynchronous input and output",
    protects="what the kernel counts for all of the machine's containers together",
)
async def test_what_the_kernel_has_few_of_is_not_there(intruder: Intruder, runtime: str) -> None:
    """A sandbox gets none of them from the machine, so it cannot leave its neighbours and the host
    without; what it gets from gVisor's kernel is nobody else's."""
    before = _taken()
    said = await intruder.probe("scarce")
    assert runtime == "runsc" or said == {"terminals": 0, "contexts": 0}
    assert _taken() <= before + SLACK
    await intruder.works()


def _taken() -> int:
    """Terminals and asynchronous places of this machine that somebody has."""
    counts = ("/proc/sys/kernel/pty/nr", "/proc/sys/fs/aio-nr")
    return sum(int(Path(count).read_text()) for count in counts)
