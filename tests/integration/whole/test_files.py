"""Files of a real workspace over the public API, beside a conversation that goes on."""

import asyncio
import hashlib
import io
import os
import time
import zipfile
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from orchestrator.protocol.chat import DecidePermission
from orchestrator.protocol.commands import PermissionDecision
from orchestrator.protocol.control_events import FileUploaded
from orchestrator.protocol.sandbox_events import PermissionRequested, ToolFinished, TurnEnded
from orchestrator.testing.chat_client import ApiClient, Chat

MIB = 1 << 20
LARGE = 100 * MIB


async def bash(chat: Chat, command: str) -> str:
    seq = await chat.prompt(f"!bash {command}")
    _, asked = await chat.next(PermissionRequested, after=seq)
    decision = PermissionDecision(choice="allow", input_hash=asked.input_hash)
    await chat.send(DecidePermission(permission_id=asked.permission_id, decision=decision))
    _, finished = await chat.next(ToolFinished, after=seq)
    await chat.next(TurnEnded, after=seq)
    await chat.until(lambda c: c.view and c.view.state == "idle")
    return "".join(part.text for part in finished.content)


class Files:
    def __init__(self, client: ApiClient, session: str) -> None:
        self.http, self.base = client.http, f"/api/v1/sessions/{session}/files"

    async def put(self, path: str, content: object, **params: str) -> tuple[int, dict]:
        params = {"path": path, **params}
        async with self.http.put(f"{self.base}/content", params=params, data=content) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str, route: str = "/content") -> bytes:
        async with self.http.get(f"{self.base}{route}", params={"path": path}) as answer:
            answer.raise_for_status()
            return await answer.read()

    async def list(self, path: str = "") -> dict[str, dict]:
        async with self.http.get(self.base, params={"path": path}) as answer:
            answer.raise_for_status()
            return {entry["path"]: entry for entry in (await answer.json())["entries"]}


@pytest.fixture
def files(ada: ApiClient, session: str) -> Files:
    return Files(ada, session)


async def test_files_go_in_and_come_out(ada: ApiClient, session: str, files: Files) -> None:
    """Claude sees what a person uploaded, and the person gets what Claude wrote."""
    async with ada.chat(session) as chat:
        assert (await files.put("in/plan.txt", b"from ada"))[0] == 201
        _, told = await chat.next(FileUploaded)
        assert (told.path, told.size, told.by) == ("in/plan.txt", 8, "ada")
        said = await bash(chat, "cat in/plan.txt; mkdir out; echo made here > out/result; ls -l in")
        assert "from ada" in said
        assert "-rw-r--r--" in said
        assert await files.get("out/result") == b"made here\n"
        assert {"in", "out"} <= set(await files.list())
        archive = zipfile.ZipFile(io.BytesIO(await files.get("", "/archive")))
        assert archive.read("out/result") == b"made here\n"
        assert archive.read("in/plan.txt") == b"from ada"


async def test_a_large_file_beside_a_conversation(
    ada: ApiClient,
    session: str,
    files: Files,
    record_property: Callable[[str, object], None],
) -> None:
    """A hundred MiB go in and come out as they were, and turns are answered meanwhile as ever."""
    block = os.urandom(MIB)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(LARGE // MIB):
            yield block

    async with ada.chat(session) as chat:
        began = time.perf_counter()
        moving = asyncio.create_task(files.put("large", body()))
        assert (await chat.turn("!say 3 words", limit=20)).outcome == "completed"
        assert (await moving)[0] == 201
        up = LARGE / MIB / (time.perf_counter() - began)
        began = time.perf_counter()
        coming = asyncio.create_task(files.get("large"))
        assert (await chat.turn("!say 3 words", limit=20)).outcome == "completed"
        got = await coming
        down = LARGE / MIB / (time.perf_counter() - began)
    record_property("mib_per_second", {"up": round(up), "down": round(down)})
    wanted = hashlib.sha256(block * (LARGE // MIB)).digest()
    assert hashlib.sha256(got).digest() == wanted


async def test_a_full_workspace(files: Files) -> None:
    """A workspace without room says so, whether or not the size was declared, and keeps nothing."""
    status, problem = await files.put("one", b"x" * (150 * MIB))
    assert status == 201, problem
    await files.put("two", b"x" * (150 * MIB))
    await files.put("three", b"x" * (150 * MIB))
    assert (await files.put("declared", b"x" * (150 * MIB)))[1]["tag"] == "no_room"

    async def undeclared() -> AsyncIterator[bytes]:
        for _ in range(150):
            yield b"x" * MIB

    status, problem = await files.put("undeclared", undeclared())
    assert (status, problem["tag"]) == (507, "no_room")
    assert set(await files.list()) == {"one", "two", "three"}


async def test_an_upload_that_is_broken_off(files: Files) -> None:
    """A person who goes away in the middle of an upload leaves no file and no part of one."""

    async def never() -> AsyncIterator[bytes]:
        yield b"x" * MIB
        await asyncio.sleep(60)

    with pytest.raises(asyncio.TimeoutError):
        async with asyncio.timeout(1):
            await files.put("broken", never())
    async with asyncio.timeout(10):
        while await files.list():
            await asyncio.sleep(0.05)


async def test_a_session_that_ends_during_a_download(
    ada: ApiClient, session: str, files: Files
) -> None:
    """A download whose sandbox is destroyed breaks visibly."""
    await files.put("large", b"x" * (150 * MIB))
    params = {"path": "large"}
    async with ada.http.get(f"{files.base}/content", params=params) as answer:
        assert answer.status == 200
        await answer.content.readany()
        await ada.end(session)
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert (await files.put("x", b"x"))[1]["tag"] == "session_over"


async def test_other_peoples_files(bob: ApiClient, session: str, files: Files) -> None:
    """Somebody else's workspace is not there."""
    await files.put("secret", b"x")
    theirs = Files(bob, session)
    assert (await theirs.put("secret", b"y", overwrite="true"))[0] == 404
    for route in ("", "/content", "/archive"):
        async with bob.http.get(f"{theirs.base}{route}", params={"path": "secret"}) as answer:
            assert answer.status == 404
            assert (await answer.json())["tag"] == "unknown_session"
