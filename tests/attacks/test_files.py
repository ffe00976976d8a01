"""Files that are not what they say, and a sandbox that lies about them."""

import asyncio
import io
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from orchestrator.protocol.chat import Stop
from orchestrator.protocol.control_events import CheckpointFailed, CheckpointTaken, SandboxLost
from orchestrator.protocol.file_names import split_path
from orchestrator.protocol.sandbox_events import TextWritten
from orchestrator.testing.chat_client import ApiClient
from orchestrator.testing.running_casemate import RunningCasemate

from .cases import attack
from .intruder import SHIMS_PYTHON, Intruder, cpu_of, script, until

MIB = 1 << 20
MOST_GROWTH = 120 * MIB
"""Of the control plane, while several hostile sandboxes answer transfers at once."""
MOST_CPU = 0.25
"""Of a processor, for a sandbox that dials all the time."""
LIES = {
    "leads out": "/archive",
    "absolute": "/archive",
    "through a link": "/archive",
    "duplicates": "/archive",
    "hidden name": "/archive",
    "a million entries": "/archive",
    "endless tree": "/archive",
    "too short": "/content",
    "too long": "/content",
    "endless file": "/content",
    "crumbs": "/content",
    "headers only": "/content",
    "another file": "/content",
    "silence": "/content",
    "nonsense": "",
}


BOMBS = (
    "endless checkpoint",
    "crumbs of a checkpoint",
    "a checkpoint of 2 PiB",
    "a checkpoint of many",
    "a checkpoint of headers",
)


async def fetch(client: ApiClient, session: str, route: str, path: str) -> tuple[int, bytes]:
    """Status and body; status 0 where the answer broke off."""
    url = f"/api/v1/sessions/{session}/files{route}"
    try:
        async with client.http.get(url, params={"path": path}) as answer:
            return answer.status, await answer.read()
    except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError):
        return 0, b""


async def put(inside: Intruder, path: str, content: bytes = b"x") -> int:
    url = f"/api/v1/sessions/{inside.session}/files/content"
    params = {"path": path, "overwrite": "true"}
    async with inside.client.http.put(url, params=params, data=content) as answer:
        return answer.status


async def listed(inside: Intruder, path: str) -> dict[str, str]:
    url = f"/api/v1/sessions/{inside.session}/files"
    async with inside.client.http.get(url, params={"path": path}) as answer:
        return {one["name"]: one["kind"] for one in (await answer.json())["entries"]}


@attack(
    "A29",
    tried="fill the workspace with links, pipes, devices and names that lead out or hide",
    protects="whoever downloads and unpacks a workspace, and the host that packs it",
)
async def test_an_archive_holds_plain_files_alone(intruder: Intruder, runtime: str) -> None:
    """The archive has plain files with plain names below its root, tells what is missing, and holds
    nothing of the sandbox's own files; each oddity is refused by itself as well."""
    made = await intruder.probe("odd_files", "odd")
    assert made["link to shadow"] == made["hard link"] == made["pipe"] == "made"
    assert made["device"] == ("PermissionError" if runtime == "runc" else "made")
    assert made["too long"] == "OSError"
    status, packed = await fetch(intruder.client, intruder.session, "/archive", "odd")
    assert status == 200
    archive = zipfile.ZipFile(io.BytesIO(packed))
    names = [name.rstrip("/") for name in archive.namelist()]
    assert all(split_path(name) for name in names)
    assert not any(info.external_attr >> 16 & 0o170000 == 0o120000 for info in archive.infolist())
    assert archive.read("plain") == archive.read("hard") == b"content"
    for name in ("shadow", "passwd", "agent", "environ", "pipe", "loop", "socket", "closed"):
        assert name not in names
        assert name in archive.read("_skipped.txt").decode()
    assert "line\\u000abreak" in archive.read("_skipped.txt").decode()
    assert b"root:" not in b"".join(archive.read(name) for name in archive.namelist())
    kinds = await listed(intruder, "odd")
    assert (kinds["shadow"], kinds["pipe"], kinds["plain"]) == ("symlink", "other", "file")
    for odd in ("shadow", "etc/passwd", "pipe", "loop", "environ", "socket", "../../etc/passwd"):
        status, _ = await fetch(intruder.client, intruder.session, "/content", f"odd/{odd}")
        assert status in {404, 409, 422}, odd
    for odd in ("shadow", "etc/x", "pipe", "agent", "../x", "a\nb", "\x1b", "x" * 300):
        assert await put(intruder, f"odd/{odd}") in {409, 422}, odd
    await intruder.works()


@attack(
    "A29",
    tried="exchange files and directories for links while they are read and written",
    protects="what is behind the links",
)
async def test_no_link_is_followed_however_fast_it_comes(intruder: Intruder) -> None:
    """Whatever stands at a path at that moment, what comes is the workspace's own or a refusal."""
    await intruder.bash(script("swap_links"))
    statuses = set()
    for _ in range(60):
        for path in ("swap/real/passwd", "swap/file"):
            status, body = await fetch(intruder.client, intruder.session, "/content", path)
            statuses.add(status)
            assert status != 200 or body == b"HARMLESS"
        status, packed = await fetch(intruder.client, intruder.session, "/archive", "swap")
        assert b"root:" not in packed
        if status == 200:
            archive = zipfile.ZipFile(io.BytesIO(packed))
            assert b"root:" not in b"".join(archive.read(name) for name in archive.namelist())
    assert 200 in statuses
    assert statuses <= {200, 404, 409}


def beside_blobs(home: Path) -> set[Path]:
    """All that is there, but for the database's files and for blobs, which checkpoints come and go
    as: no links, and with names of Casemate's own making."""
    made = re.compile(r"incoming|[0-9a-f]{2}|[0-9a-f]{32,64}")
    return {
        path
        for path in home.rglob("*")
        if path.parent.name != "data"
        and not ("blobs" in path.parts and made.fullmatch(path.name) and not path.is_symlink())
    }


@attack(
    "A30",
    tried="offer a tar whose links lead out of wherever it is unpacked (CVE-2025-4517)",
    protects="the host: it unpacks nothing that comes out of a sandbox",
)
async def test_a_tar_is_only_ever_content(
    intruder: Intruder, casemate: RunningCasemate, tmp_path: Path
) -> None:
    """It comes out as the bytes that it is, alone and within an archive, and nothing else of the
    machine has changed."""
    await intruder.probe("odd_files", "odd")
    before = beside_blobs(casemate.home)
    status, tar = await fetch(intruder.client, intruder.session, "/content", "odd/evil.tar")
    assert status == 200
    _, packed = await fetch(intruder.client, intruder.session, "/archive", "odd")
    assert zipfile.ZipFile(io.BytesIO(packed)).read("evil.tar") == tar
    assert b"ustar" in tar
    assert not Path("/tmp/out").exists()
    assert beside_blobs(casemate.home) == before


@attack(
    "A31",
    tried="fill the workspace with 10 GiB of holes, and with too many files",
    protects="the control plane's memory and processor, and the downloader's disk",
)
@pytest.mark.parametrize(
    "bomb",
    [
        "for n in $(seq 60); do truncate -s 180M bombs/$n; done",
        'python3 -c \'for n in range(25000): open(f"bombs/{n}","w")\'',
    ],
    ids=["10 GiB", "25 000 files"],
)
async def test_bombs_are_refused_before_they_are_sent(intruder: Intruder, bomb: str) -> None:
    """More than an archive may hold is said before it begins; the session goes on."""
    await intruder.bash(f"mkdir bombs; {bomb}; ls bombs | wc -l")
    status, problem = await fetch(intruder.client, intruder.session, "/archive", "bombs")
    assert (status, b"archive_too_large" in problem) == (413, True)
    assert len(await listed(intruder, "bombs")) <= 1000
    await intruder.works()


async def _answer_of(client: ApiClient, lie: str) -> tuple[str, int]:
    async with Intruder.of(client) as inside:
        await inside.start(script("file_liar", lie, python=SHIMS_PYTHON))
        await inside.chat.until(
            lambda c: "LIAR IS HERE" in {text.text for text in c.of(TextWritten)}, limit=60
        )
        path = "file" if LIES[lie] == "/content" else ""
        status, _ = await fetch(client, inside.session, LIES[lie], path)
        return lie, status


@attack(
    "A28",
    "A29",
    "A31",
    tried="take the shim's place and lie about files: names, sizes, order, without end",
    protects="the control plane's memory, and a person's trust in what they downloaded",
)
@pytest.mark.timeout(300)
async def test_lies_about_files_are_no_files(
    ada: ApiClient,
    neighbour: Intruder,
    casemate: RunningCasemate,
    record_property: Callable[[str, object], None],
) -> None:
    """Each lie ends as a refusal or a broken download, never as a file; the control plane's memory
    stays bounded, nothing is written, and the neighbour is answered."""
    Path(f"/proc/{casemate.pid}/clear_refs").write_text("5")  # the peak counts from here
    before = _memory(casemate, "VmRSS")
    room = asyncio.Semaphore(5)

    async def hostile(lie: str) -> tuple[str, int]:
        async with room:
            return await _answer_of(ada, lie)

    answers = await asyncio.gather(*(hostile(lie) for lie in LIES), neighbour.works())
    statuses = dict(answer for answer in answers if answer is not None)
    assert {lie: status for lie, status in statuses.items() if status not in {0, 413, 502}} == {}
    growth = _memory(casemate, "VmHWM") - before
    record_property("growth_mib", growth >> 20)
    assert growth < MOST_GROWTH
    assert not Path("/etc/cron.d/x").exists()
    await neighbour.works()


@attack(
    "A28",
    "A31",
    tried="take the shim's place and hand over checkpoints without end, in crumbs, of any size",
    protects="the disk that holds everybody's checkpoints, and the control plane's memory",
)
@pytest.mark.timeout(300)
async def test_a_bomb_is_no_checkpoint(
    ada: ApiClient, neighbour: Intruder, casemate: RunningCasemate
) -> None:
    """Each is broken off with a reason, nothing of it stays on the disk, and the neighbour's files
    are kept meanwhile."""
    before, room = _memory(casemate, "VmRSS"), asyncio.Semaphore(2)

    async def hostile(lie: str) -> str:
        async with room, Intruder.of(ada) as inside:
            await inside.start(script("file_liar", lie, python=SHIMS_PYTHON))
            await inside.chat.until(
                lambda c: "LIAR IS HERE" in {text.text for text in c.of(TextWritten)}, limit=60
            )
            await inside.chat.send(Stop())
            ended = await inside.chat.until(
                lambda c: [*c.of(CheckpointFailed), *c.of(SandboxLost)], limit=120
            )
            assert inside.chat.of(CheckpointTaken) == []
            return str(ended[0].tag)

    *_, kept = await asyncio.gather(*map(hostile, BOMBS), _keeps(neighbour))
    assert kept
    await until(lambda: not list((casemate.home / "data").rglob("incoming/*")))
    assert _memory(casemate, "VmRSS") - before < MOST_GROWTH
    await neighbour.works()


async def _keeps(inside: Intruder) -> int:
    await inside.bash("echo kept >file")
    await inside.idle()
    return len(await inside.chat.until(lambda c: c.of(CheckpointTaken), limit=60))


@attack(
    "A28",
    tried="dial the link and hang up in a loop, also at addresses of transfers",
    protects="the control plane's processor, and transfers that somebody else ordered",
)
async def test_dialling_in_a_loop_costs_the_dialler(
    intruder: Intruder,
    neighbour: Intruder,
    casemate: RunningCasemate,
    record_property: Callable[[str, object], None],
) -> None:
    """No guessed transfer is let in, and accepting connections costs the control plane little."""
    asking = asyncio.create_task(intruder.probe("dial_loop", "8"))
    await asyncio.sleep(2)
    before, began = cpu_of(casemate), time.monotonic()
    await asyncio.sleep(5)
    share = (cpu_of(casemate) - before) / (time.monotonic() - began)
    await neighbour.works()
    found = await asking
    record_property("processor_share", round(share, 3))
    record_property("dialled", found["dialled"])
    assert found["upgraded"] == 0
    assert share < MOST_CPU
    await intruder.works()


def _memory(casemate: RunningCasemate, field: str) -> int:
    lines = Path(f"/proc/{casemate.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:"))
