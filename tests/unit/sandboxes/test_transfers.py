"""Files over the link, with the real shim's part at the other end, and with liars in its place."""

import asyncio
import contextlib
import os
import socket
import time

import pytest
from websockets.asyncio.client import unix_connect
from websockets.exceptions import InvalidMessage, InvalidStatus

from orchestrator.protocol.transfers import CHUNK_BYTES, Entry, Omitted
from orchestrator.sandboxes.errors import LinkViolated
from orchestrator.sessions.files.errors import (
    ArchiveTooLarge,
    FileChanged,
    FileExists,
    FileTooLarge,
    InTheWay,
    NotADirectory,
    NotAFile,
    TooManyTransfers,
    TransferBroken,
    UnknownFile,
)
from orchestrator.sessions.workspace import FileContent

CAPS = {"most_entries": 100, "most_bytes": 1 << 24}


async def pieces(*chunks):
    for chunk in chunks:
        yield chunk


async def content(file):
    return b"".join([chunk async for chunk in file.chunks])


async def whole_tree(workspace, path="", **caps):
    found = {}
    async with workspace.read_tree(path, **(CAPS | caps)) as tree:
        async for item in tree.items:
            if isinstance(item, FileContent):
                found[item.entry.path] = await content(item)
            else:
                found[item.path] = item
    return found


# --- the shim as it is --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES - 1])
async def test_a_file_goes_in_and_comes_out(honest, tmp_path, size):
    """What was written is read again byte by byte, whatever its size; its mode is a plain one."""
    data = os.urandom(size)
    assert await honest.write_file("a/b/c.bin", pieces(data), size=size, overwrite=False) == size
    assert (tmp_path / "a/b/c.bin").read_bytes() == data
    assert (tmp_path / "a/b/c.bin").stat().st_mode & 0o777 == 0o644
    async with honest.read_file("a/b/c.bin") as file:
        assert file.entry.size == size
        assert await content(file) == data


async def test_a_directory_is_listed(honest, tmp_path):
    """A listing tells kinds and sizes, follows nothing, and counts the names that it leaves out."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("/etc/shadow")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "line\nbreak").touch()
    (tmp_path / "gpj\u202eexe.txt").touch()
    listing = await honest.list_files("", most=100)
    kinds = {entry.path: (entry.kind, entry.size, entry.target) for entry in listing.entries}
    assert kinds == {
        "directory": ("directory", 0, ""),
        "file": ("file", 5, ""),
        "link": ("symlink", 0, "/etc/shadow"),
        "pipe": ("other", 0, ""),
    }
    assert (listing.omitted, listing.truncated) == (2, False)
    assert (await honest.list_files("", most=2)).truncated


async def test_what_is_refused(honest, tmp_path):
    """Missing files, links, pipes and directories are refused in our words, and nothing hangs."""
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "f")
    (tmp_path / "up").symlink_to("/etc")
    os.mkfifo(tmp_path / "pipe")
    for path, error in {
        "none": UnknownFile,
        "d": NotAFile,
        "link": NotAFile,
        "pipe": NotAFile,
        "up/passwd": NotADirectory,
        "f/x": NotADirectory,
    }.items():
        with pytest.raises(error):
            async with honest.read_file(path):
                pass
    for path, error in {"none": UnknownFile, "f": NotADirectory, "up": NotADirectory}.items():
        with pytest.raises(error):
            await honest.list_files(path, most=10)
    for path, error in {
        "f": FileExists,
        "d": InTheWay,
        "link": InTheWay,
        "up/x": NotADirectory,
    }.items():
        with pytest.raises(error):
            await honest.write_file(path, pieces(b"y"), size=1, overwrite=False)
    with pytest.raises(InTheWay):
        await honest.write_file("link", pieces(b"y"), size=1, overwrite=True)
    assert await honest.write_file("f", pieces(b"y"), size=1, overwrite=True) == 1
    assert (tmp_path / "f").read_text() == "y"


@pytest.mark.parametrize("error", [FileTooLarge(), TransferBroken("upload_cut")])
async def test_an_upload_that_fails_leaves_nothing(honest, tmp_path, error):
    """Where the content ends with an error, neither the file nor a part of it is there."""

    async def failing():
        yield b"x" * CHUNK_BYTES
        raise error

    with pytest.raises(type(error)):
        await honest.write_file("f", failing(), size=None, overwrite=False)
    for _ in range(100):
        if not list(tmp_path.iterdir()):
            break
        await asyncio.sleep(0.01)
    assert list(tmp_path.iterdir()) == []


async def test_a_tree(honest, tmp_path):
    """A tree comes whole and in order; links are told and not followed, the rest is reported."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/one").write_bytes(b"1")
    (tmp_path / "a.txt").write_bytes(b"2" * (CHUNK_BYTES + 5))
    os.link(tmp_path / "a/b/one", tmp_path / "hard")
    (tmp_path / "run").write_text("#!")
    (tmp_path / "run").chmod(0o755)
    (tmp_path / "passwd").symlink_to("/etc/passwd")
    (tmp_path / "loop").symlink_to(".")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "esc\x1b[31m").mkdir()
    (tmp_path / "esc\x1b[31m/below").touch()
    (tmp_path / os.fsdecode(b"\xff\xfe")).touch()
    found = await whole_tree(honest)
    assert found["a/b/one"] == found["hard"] == b"1"
    assert len(found["a.txt"]) == CHUNK_BYTES + 5
    assert isinstance(found["a/b"], Entry)
    assert found["passwd"].target == "/etc/passwd"
    assert found["loop"].kind == "symlink"
    assert found["pipe"].kind == "other"
    omitted = {path for path, item in found.items() if isinstance(item, Omitted)}
    assert omitted == {"esc\\u001b[31m", "\\udcff\\udcfe"}
    assert set(await whole_tree(honest, "a")) == {"a/b", "a/b/one"}


async def test_content_that_is_not_read_is_skipped(honest, tmp_path):
    """Whoever is interested in names alone gets all of them."""
    for name in "abc":
        (tmp_path / name).write_bytes(b"x" * (2 * CHUNK_BYTES))
    async with honest.read_tree("", **CAPS) as tree:
        assert [item.entry.path async for item in tree.items] == ["a", "b", "c"]


async def test_trees_that_are_too_large(honest, tmp_path):
    """More entries or bytes than asked for are refused before anything is sent; holes count."""
    with (tmp_path / "holes").open("wb") as holes:
        holes.truncate(10 << 30)
    with pytest.raises(ArchiveTooLarge):
        await whole_tree(honest)
    (tmp_path / "holes").unlink()
    for n in range(101):
        (tmp_path / str(n)).touch()
    with pytest.raises(ArchiveTooLarge):
        await whole_tree(honest)


async def test_a_file_that_shrinks_while_it_is_read(honest, tmp_path):
    """A file that became shorter breaks off, and is not taken for whole."""
    (tmp_path / "f").write_bytes(b"x" * (64 * CHUNK_BYTES))
    async with honest.read_file("f") as file:
        await anext(file.chunks)
        os.truncate(tmp_path / "f", CHUNK_BYTES)
        with pytest.raises(FileChanged):
            await content(file)


async def test_a_file_that_grows_while_it_is_read(honest, tmp_path):
    """What is added to a file meanwhile is not of the file that was declared."""
    (tmp_path / "f").write_bytes(b"x" * (8 * CHUNK_BYTES))
    async with honest.read_file("f") as file:
        first = await anext(file.chunks)
        with (tmp_path / "f").open("ab") as more:
            more.write(b"y" * CHUNK_BYTES)
        assert first + await content(file) == b"x" * (8 * CHUNK_BYTES)


# --- liars --------------------------------------------------------------------------------------

FILE = {"type": "entry", "path": "f", "kind": "file", "size": 10}
DONE = {"type": "done"}


@pytest.mark.parametrize(
    "frames",
    [
        [DONE],
        [{**FILE, "path": "g"}, b"x" * 10, DONE],
        [{**FILE, "kind": "directory"}, DONE],
        [{**FILE, "size": -1}],
        [{**FILE, "size": 1 << 60}],
        [FILE, b"x" * 11, DONE],
        [FILE, b"x" * 9, DONE],
        [FILE, b"x" * 5, b"x" * 5, DONE],
        [FILE, b"", b"x" * 10, DONE],
        [FILE, b"x" * 10, b"more", DONE],
        [FILE, DONE],
        [FILE, b"x" * 10, FILE],
        [b"x" * 10],
        ["{"],
        ["x" * 20_000],
        [b"x" * (CHUNK_BYTES + 1)],
        [{"type": "refused", "why": "failed"}],
        [{"type": "refused", "why": "<b>anything</b>"}],
        [{**FILE, "modified_ms": 10**18}],
        [{"type": "from_the_future"}],
    ],
)
async def test_lies_about_a_file(liar, frames):
    """Whatever is not exactly the file that was asked for breaks the transfer, and only that."""
    peer = await liar(*frames)
    with pytest.raises(TransferBroken):
        async with peer.workspace.read_file("f") as file:
            await content(file)
    assert peer.link.alive


MEASURED = {"type": "measured", "entries": 3, "size": 3}


def entry(path, kind="directory", **fields):
    return {"type": "entry", "path": path, "kind": kind, **fields}


@pytest.mark.parametrize(
    "frames",
    [
        [entry("../../etc/cron.d/x", "file")],
        [entry("/etc/passwd", "file")],
        [entry("a/../../x")],
        [entry("")],
        [entry("a//b")],
        [entry("a/./b")],
        [entry("C:\\x")],
        [entry("a\nb")],
        [entry("a\x1b[2J")],
        [entry("a\u202eb")],
        [entry("a\u200bb")],
        [entry("x" * 256)],
        [entry("/".join(["x"] * 65))],
        [entry("a"), entry("a")],
        [entry("b"), entry("a")],
        [entry("a", "file"), entry("a/b")],
        [entry("a", "symlink", target="/etc"), entry("a/passwd", "file")],
        [entry("a/b")],
        [entry("a"), entry("b"), entry("a/c")],
        [entry("f", "file", size=5), b"12345678"],
        [{"type": "stored", "size": 1}],
        [b"content"],
    ],
)
async def test_lies_about_a_tree(liar, frames):
    """Names that lead out, orders and parents that cannot be, and content that nobody declared
    break the transfer."""
    peer = await liar(MEASURED, *frames, DONE)
    with pytest.raises(TransferBroken):
        await whole_tree(peer.workspace)
    assert peer.link.alive


async def test_a_tree_outside_of_what_was_asked_for(liar):
    """Entries beside the directory that was asked for are not taken."""
    peer = await liar(MEASURED, entry("b"), DONE)
    with pytest.raises(TransferBroken):
        await whole_tree(peer.workspace, "a")


@pytest.mark.parametrize(
    "frames",
    [
        [{**MEASURED, "entries": 1_000_000}],
        [{**MEASURED, "size": 10 << 30}],
        [MEASURED, *(entry(f"{n:07}") for n in range(200))],
        [MEASURED, entry("bomb", "file", size=10 << 30)],
        [MEASURED, *({"type": "omitted", "path": "x", "why": "name"} for _ in range(200))],
    ],
    ids=["says many", "says much", "sends many", "declares much", "omits many"],
)
async def test_bombs_stop_at_the_cap(liar, frames):
    """Whatever a sandbox said of its tree's size, the caps hold while it is sent."""
    peer = await liar(*frames, DONE)
    with pytest.raises(ArchiveTooLarge):
        await whole_tree(peer.workspace)


@pytest.mark.parametrize(
    "frames",
    [
        [entry("a"), entry("a"), DONE],
        [entry("a/b"), DONE],
        [entry("../x"), DONE],
        [*(entry(str(n)) for n in range(20)), DONE],
        [b"x"],
    ],
)
async def test_lies_about_a_directory(liar, frames):
    """A listing holds names of this directory, each once, and no more than asked for."""
    peer = await liar(*frames)
    with pytest.raises(TransferBroken):
        await peer.workspace.list_files("", most=10)


async def test_an_endless_stream(liar):
    """A stream without an end is read up to what was declared, and then cut."""
    sent = 0

    async def pour(connection):
        nonlocal sent
        while True:
            await connection.send(b"x" * CHUNK_BYTES)
            sent += 1

    peer = await liar({**FILE, "size": 4 * CHUNK_BYTES}, then=pour)
    with pytest.raises(TransferBroken):
        async with peer.workspace.read_file("f") as file:
            await content(file)
    assert sent < 20


async def test_a_reader_that_waits_holds_the_sender_back(liar, until):
    """While nobody reads, a sandbox can send no more than a few chunks."""
    sent = 0

    async def pour(connection):
        nonlocal sent
        while True:
            await connection.send(b"x" * CHUNK_BYTES)
            sent += 1

    peer = await liar({**FILE, "size": 1000 * CHUNK_BYTES}, then=pour)
    async with peer.workspace.read_file("f"):
        await until(lambda: sent > 3)
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 12


async def test_pieces_without_end(liar):
    """A frame in countless pieces does not pile up."""

    async def crumble(connection):
        await connection.send(b"" for _ in range(100_000))

    peer = await liar(FILE, then=crumble)
    with pytest.raises(TransferBroken):
        async with peer.workspace.read_file("f") as file:
            await content(file)


async def test_a_transfer_that_hardly_moves_is_cut(liar, until):
    """A sandbox that dials and says nothing is cut off, and its place is free again."""
    peer = await liar(transfer_patience=0.1, transfers=1)
    with pytest.raises(TransferBroken):
        await peer.workspace.list_files("", most=10)
    await until(lambda: not peer.link._listener._transferring)
    with pytest.raises(TransferBroken):  # and not TooManyTransfers
        await peer.workspace.list_files("", most=10)


async def test_a_reader_that_never_comes_back(liar, until):
    """Whoever opened a transfer and forgot it holds its place and connection for a while only."""
    peer = await liar(FILE, transfer_patience=0.1, transfers=1)
    async with peer.workspace.read_file("f"):
        with pytest.raises(TooManyTransfers):
            await peer.workspace.list_files("", most=1)
        await until(lambda: not peer.link._listener._transferring)
        assert not peer.link.transfers._open


async def test_a_transfer_that_is_not_dialled(peers):
    """A shim that does not dial is waited for within a limit, and its id is void then."""
    peer = await peers(lambda order: None, transfer_dial_limit=0.05)
    with pytest.raises(TransferBroken):
        await peer.workspace.list_files("", most=1)
    with pytest.raises(InvalidStatus):
        await unix_connect(str(peer.path), f"ws://x/transfers/{peer.ordered[0].transfer_id}")


@pytest.mark.parametrize("transfer_id", ["", "0" * 32, "../link", "x" * 4000, "%00"])
async def test_transfers_that_nobody_ordered(peers, transfer_id):
    """A connection for a transfer that was not ordered is refused before its handshake is done."""
    peer = await peers(lambda order: None)
    with pytest.raises((InvalidStatus, InvalidMessage)):
        await unix_connect(str(peer.path), f"ws://x/transfers/{transfer_id}")
    assert peer.link.alive


async def test_an_id_is_good_once(liar, short_directory):
    """A second connection with the same id is refused, while the first is there and after it."""
    peer = await liar(FILE)
    async with peer.workspace.read_file("f"):
        uri = f"ws://x/transfers/{peer.ordered[0].transfer_id}"
        with pytest.raises(InvalidStatus):
            await unix_connect(str(peer.path), uri)
    with pytest.raises(InvalidStatus):
        await unix_connect(str(peer.path), uri)


async def test_the_link_goes_on_beside_transfers(liar):
    """As many transfers as may be take none of the link's places, and one more is refused."""
    peer = await liar(FILE, transfers=3, connections=2)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(peer.workspace.read_file("f"))
        with pytest.raises(TooManyTransfers):
            await stack.enter_async_context(peer.workspace.read_file("f"))
        assert peer.link.alive


async def test_a_link_that_closes_ends_its_transfers(liar):
    """Whoever waits for a sandbox that goes away is told."""
    peer = await liar(FILE)
    async with peer.workspace.read_file("f") as file:
        await peer.link.close()
        with pytest.raises(TransferBroken):
            await content(file)
    with pytest.raises(TransferBroken):
        await peer.workspace.list_files("", most=1)


async def test_a_link_that_breaks_ends_the_wait(peers):
    """Whoever waits for a shim to dial does not wait for one that is cut off."""
    peer = await peers(lambda order: None)
    listing = asyncio.create_task(peer.workspace.list_files("", most=1))
    while not peer.ordered:
        await asyncio.sleep(0.01)
    peer.link.cut(LinkViolated("Cut.", tag="cut"))
    async with asyncio.timeout(1):
        with pytest.raises(TransferBroken):
            await listing


async def test_who_dials_in_a_loop_waits_in_the_kernel(peers):
    """Beyond a burst, connections are accepted at a pace; the rest costs the dialler alone."""
    peer = await peers(lambda order: None, dials_per_second=20, dials_at_once=5)
    accepted = 0
    make = peer.link._listener._connection

    def counted():
        nonlocal accepted
        accepted += 1
        return make()

    peer.link._listener._connection = counted

    def dial():
        ends = time.monotonic() + 1
        dials = 0
        while time.monotonic() < ends:
            with socket.socket(socket.AF_UNIX) as dialling, contextlib.suppress(OSError):
                dialling.settimeout(0.05)
                dialling.connect(str(peer.path))
                dials += 1
        return dials

    dialled = await asyncio.to_thread(dial)
    assert accepted < 35
    assert dialled < 150
    assert peer.link.alive
