"""Who may do what with a session's files, how much, and how many at once."""

import asyncio
import io
import os
import zipfile

import pytest

from orchestrator.protocol.chat import End
from orchestrator.protocol.control_events import FileUploaded
from orchestrator.protocol.transfers import CHUNK_BYTES, Entry, Omitted
from orchestrator.sessions.errors import SandboxNotReady, SessionOver, UnknownSession
from orchestrator.sessions.files.archive import Archive
from orchestrator.sessions.files.errors import (
    ArchiveTooLarge,
    BadName,
    FileExists,
    FileTooLarge,
    TooManyTransfers,
    TransferBroken,
    UploadsSpent,
)
from orchestrator.sessions.files.limits import FileLimits
from orchestrator.sessions.service import Sessions
from orchestrator.sessions.workspace import FileContent
from orchestrator.testing.session_world import ANNA, BERT, World, eventually


class Desk:
    """A session with a sandbox, and its files."""

    def __init__(self, world, session):
        self.world, self.session = world, session
        self.files = world.sessions.files
        self.workspace = world.pool.made[-1].workspace

    async def upload(self, path, *chunks, size=None, overwrite=False, actor=ANNA):
        return await self.files.upload(
            actor, self.session, path, pieces(*chunks), size=size, overwrite=overwrite
        )

    async def download(self, path):
        download = await self.files.download(ANNA, self.session, path)
        try:
            return b"".join([chunk async for chunk in download.chunks])
        finally:
            await download.close()

    async def archive(self, path=""):
        download = await self.files.archive(ANNA, self.session, path)
        try:
            packed = b"".join([chunk async for chunk in download.chunks])
        finally:
            await download.close()
        return zipfile.ZipFile(io.BytesIO(packed))


async def pieces(*chunks):
    for chunk in chunks:
        yield chunk


@pytest.fixture
async def desks():
    worlds = []

    async def make(**limits):
        world = World()
        ports = world.sessions._ports
        world.sessions = Sessions(ports, world.limits, files=FileLimits(**limits))
        worlds.append(world)
        return Desk(world, (await world.create()).id)

    yield make
    for world in worlds:
        await world.sessions.close()


@pytest.fixture
async def desk(desks):
    return await desks()


async def test_an_upload_is_there_and_told(desk):
    """An uploaded file is in the workspace, and everybody who follows the session reads of it."""
    uploaded = await desk.upload("docs/plan.md", b"one ", b"two", size=7)
    assert (uploaded.path, uploaded.size) == ("docs/plan.md", 7)
    assert desk.workspace.files == {"docs/plan.md": b"one two"}
    told = [e for e in desk.world.logged(desk.session) if isinstance(e, FileUploaded)]
    assert told == [FileUploaded(path="docs/plan.md", size=7, by="Anna")]
    assert await desk.download("docs/plan.md") == b"one two"


async def test_files_are_their_owners_alone(desk):
    """Somebody else's session is unknown, an administrator's eyes included."""
    for work in (
        desk.files.list_files(BERT, desk.session, ""),
        desk.files.download(BERT, desk.session, "x"),
        desk.files.archive(BERT, desk.session, ""),
        desk.upload("x", b"x", actor=BERT),
    ):
        with pytest.raises(UnknownSession):
            await work
    assert desk.workspace.files == {}


async def test_without_a_sandbox_there_are_no_files(desks):
    """A session that is over, and one that waits for its sandbox, say so."""
    desk = await desks()
    waiting = None
    await desk.world.create()
    waiting = await desk.world.create(wait=False)
    with pytest.raises(SandboxNotReady):
        await desk.files.list_files(ANNA, waiting.id, "")
    await desk.world.command(desk.session, End())
    with pytest.raises(SessionOver):
        await desk.files.list_files(ANNA, desk.session, "")


@pytest.mark.parametrize(
    "path",
    [
        *("", "/x", "../x", "a/../x", "a//x", ".", "a/.", "x\0", "x\n", "a\\b", "x\u202e"),
        *("\u3164", "x\u2800.exe"),
        *("x" * 256, "/".join("x" * 65), "é" * 600, "\ud800"),
    ],
)
async def test_names_that_are_not_carried(desk, path):
    """A path that leads out or hides what it is gets no further than this."""
    with pytest.raises(BadName):
        await desk.upload(path, b"x")
    with pytest.raises(BadName):
        await desk.files.download(ANNA, desk.session, path)


@pytest.mark.parametrize(
    "path", ["ümläut.txt", "日本語/ファイル", "می‌خواهم.txt", ".env", "a b;c\"d'", "..x"]
)
async def test_names_that_are(desk, path):
    """Every language's names are carried, and so are dots and blanks where they do no harm."""
    await desk.upload(path, b"x")
    assert await desk.download(path) == b"x"


async def test_what_is_too_large_is_refused_before_it_is_read(desks):
    """A declared size above the limit is refused at once; an undeclared one when it gets there."""
    desk = await desks(upload_bytes=10)
    with pytest.raises(FileTooLarge):
        await desk.upload("x", b"", size=11)
    with pytest.raises(FileTooLarge):
        await desk.upload("x", b"123456", b"123456")
    assert desk.workspace.files == {}
    assert desk.workspace.open == 0


async def test_a_session_takes_so_much_altogether(desks):
    """All uploads of a session count together, those that failed aside."""
    desk = await desks(session_upload_bytes=10)
    await desk.upload("one", b"123456")
    with pytest.raises(FileExists):
        await desk.upload("one", b"12")
    with pytest.raises(UploadsSpent):
        await desk.upload("two", b"12345", size=5)
    with pytest.raises(UploadsSpent):
        await desk.upload("two", b"123", b"12")
    await desk.upload("two", b"1234", size=4)


async def test_an_upload_that_is_cut_off_is_no_file(desk):
    """Fewer bytes than declared make no file, and nobody is told of one."""
    with pytest.raises(TransferBroken):
        await desk.upload("x", b"12345", size=10)
    assert not [e for e in desk.world.logged(desk.session) if isinstance(e, FileUploaded)]


async def test_so_many_at_once(desks):
    """Beyond their number transfers are refused; the places of those that end are free again."""
    desk = await desks(per_session=2)
    desk.workspace.files["x"] = b"x"
    first = await desk.files.download(ANNA, desk.session, "x")
    second = await desk.files.archive(ANNA, desk.session, "")
    with pytest.raises(TooManyTransfers):
        await desk.upload("y", b"y")
    await desk.files.list_files(ANNA, desk.session, "")
    await first.close()
    await first.close()
    await desk.upload("y", b"y")
    await second.close()
    assert desk.workspace.open == 0


async def test_a_user_has_so_many_over_all_sessions(desks):
    """The places of a user hold across their sessions, and do not touch anybody else's."""
    desk = await desks(per_user=1)
    desk.workspace.files["x"] = b"x"
    other = await desk.world.create()
    held = await desk.files.download(ANNA, desk.session, "x")
    with pytest.raises(TooManyTransfers):
        await desk.files.archive(ANNA, other.id, "")
    await held.close()
    await (await desk.files.archive(ANNA, other.id, "")).close()


async def test_the_conversation_goes_on_beside_an_upload(desk):
    """A slow upload holds nobody up: a turn runs from its beginning to its end meanwhile."""
    gate = asyncio.Event()

    async def slow():
        yield b"1"
        await gate.wait()
        yield b"2"

    uploading = asyncio.create_task(
        desk.files.upload(ANNA, desk.session, "x", slow(), size=None, overwrite=False)
    )
    await eventually(lambda: desk.workspace.open)
    async with desk.world.browser(desk.session) as browser:
        await desk.world.say(desk.session, "Hello")
        await browser.until_state("idle")
    gate.set()
    assert (await uploading).size == 2


async def test_an_archive_holds_what_can_be_in_it(desk):
    """Files come with their content; links and names that hide are listed in a file of its own."""
    big = b"0123456789" * 100_000
    desk.workspace.files = {"a/b.txt": b"hello", "a/big": big, "ö": b"", "_skipped.txt": b"mine"}
    desk.workspace.links = {"shadow": "/etc/shadow"}
    desk.workspace.omitted = [Omitted(path="x\\u001b", why="name")]
    archive = await desk.archive()
    assert archive.testzip() is None
    assert set(archive.namelist()) == {
        "a/",
        "a/b.txt",
        "a/big",
        "ö",
        "_skipped.txt",
        "__skipped.txt",
    }
    assert archive.read("a/big") == big
    assert archive.read("_skipped.txt") == b"mine"
    report = archive.read("__skipped.txt").decode()
    assert "shadow: it is a link" in report
    assert "x\\u001b: its name" in report
    desk.workspace.omitted = []
    assert (await desk.archive("a")).namelist() == ["b.txt", "big"]


async def test_the_report_takes_no_files_name(desk):
    """However many files are called as it would be, and also where case makes no difference."""
    taken = ["__skipped.txt", "_Skipped.TXT", "____skipped.txt/x"]
    desk.workspace.files = dict.fromkeys(taken, b"mine")
    desk.workspace.links = {"link": "/"}
    names = (await desk.archive()).namelist()
    assert len(names) == len(set(names))
    assert names[-1] == "___skipped.txt"


async def test_nothing_in_an_archive_names_a_drive(desk):
    """Unpacked on Windows, `C:/x` would not be below where it is unpacked."""
    desk.workspace.files = {"C:/Windows/x": b"1", "d:y": b"2", "12:30": b"3", "a/C:z": b"4"}
    archive = await desk.archive()
    assert set(archive.namelist()) == {"12:30", "a/", "a/C:z", "_skipped.txt"}
    assert "C:/Windows/x: its name begins like a drive's" in archive.read("_skipped.txt").decode()
    assert "_skipped.txt" in (await desk.archive("a")).namelist()


@pytest.mark.parametrize("size", [0, 1, 100, CHUNK_BYTES, 2 * CHUNK_BYTES + 1])
async def test_an_archive_of_what_cannot_be_packed(desk, size):
    """Content that does not become smaller comes as it was, whatever its size."""
    noise = os.urandom(size)
    desk.workspace.files = {"noise": noise}
    archive = await desk.archive()
    assert archive.testzip() is None
    assert archive.read("noise") == noise


async def test_a_file_that_changes_is_named_in_the_archive(desk):
    """What became shorter meanwhile is in the archive as far as it came, and listed as such."""
    desk.workspace.files = {"log": b"x" * (3 * CHUNK_BYTES), "z": b"z"}
    desk.workspace.changing = {"log"}
    archive = await desk.archive()
    assert len(archive.read("log")) == CHUNK_BYTES
    assert archive.read("z") == b"z"
    assert "log: it changed" in archive.read("_skipped.txt").decode()


async def test_an_archive_that_breaks_is_no_archive(desk):
    """A transfer that breaks raises, and what came until then is no zip file."""
    desk.workspace.files = {"big": b"x" * (3 * CHUNK_BYTES)}
    desk.workspace.breaks = True
    download = await desk.files.archive(ANNA, desk.session, "")
    got = b""
    with pytest.raises(TransferBroken):  # noqa: PT012 - what came until then counts
        async for chunk in download.chunks:
            got += chunk
    await download.close()
    assert not zipfile.is_zipfile(io.BytesIO(got))


async def test_archives_and_downloads_that_are_too_large(desks):
    """More than an archive or a download may hold is refused before anything is sent."""
    desk = await desks(archive_bytes=5, download_bytes=5)
    desk.workspace.files = {"x": b"123456"}
    with pytest.raises(ArchiveTooLarge):
        await desk.files.archive(ANNA, desk.session, "")
    with pytest.raises(FileTooLarge):
        await desk.files.download(ANNA, desk.session, "x")
    assert desk.workspace.open == 0


@pytest.mark.parametrize("modified_ms", [0, 10**12, 253_402_300_799_000])
async def test_any_time_of_change(modified_ms):
    """A date that the format cannot say is no reason to fail."""

    async def items():
        entry = Entry(path="x", kind="file", size=1, modified_ms=modified_ms, executable=True)
        yield FileContent(entry=entry, chunks=pieces(b"1"))

    packed = b"".join([piece async for piece in Archive(root="").packed(items())])
    info = zipfile.ZipFile(io.BytesIO(packed)).getinfo("x")
    assert info.external_attr >> 16 == 0o100755


async def test_a_report_of_many_is_bounded():
    """A directory full of links makes no report without end."""

    async def items():
        for n in range(5000):
            yield Entry(path=f"{n:05}", kind="symlink")

    packed = b"".join([piece async for piece in Archive(root="").packed(items())])
    report = zipfile.ZipFile(io.BytesIO(packed)).read("_skipped.txt").decode()
    assert "... and 4000 more" in report
