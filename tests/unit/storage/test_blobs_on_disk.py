"""Blobs on the disk: full, damaged, forbidden, and after a kill."""

import asyncio
import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.sessions.errors import BlobMissing, StorageFailed
from orchestrator.storage import blobs_disk, spool
from orchestrator.storage.blob_digest import BlobDamaged
from orchestrator.storage.blob_settings import BlobSettings
from orchestrator.storage.blobs import open_blobs
from orchestrator.storage.blobs_disk import DiskBlobStore, open_disk_blobs

MIB = 1 << 20
WRITER = """
import asyncio, sys
from pathlib import Path
from orchestrator.storage.blobs_disk import open_disk_blobs

async def chunks():
    for _ in range(3):
        yield b"x" * (1 << 20)
    print("written", flush=True)
    await asyncio.Event().wait()

async def main():
    async with open_disk_blobs(Path(sys.argv[1])) as blobs:
        await blobs.put(chunks(), most_bytes=1 << 30)

asyncio.run(main())
"""


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "data" / "blobs"


@pytest.fixture
async def blobs(directory):
    async with open_disk_blobs(directory) as blobs:
        yield blobs


async def chunks(content, *, size=100_000):
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def put(blobs, content):
    return (await blobs.put(chunks(content), most_bytes=100 * MIB)).digest


async def read(blobs, digest):
    async with blobs.open(digest) as found:
        return b"".join([chunk async for chunk in found])


def files(directory):
    return sorted(path for path in directory.rglob("*") if path.is_file())


async def test_files_are_for_their_owner_alone(directory, blobs):
    """Whatever umask it has: these are people's files."""
    digest = await put(blobs, b"x" * MIB)
    [file] = files(directory)
    assert file == directory / digest[:2] / digest
    assert file.stat().st_mode & 0o777 == 0o600
    for place in (directory, directory / "incoming", file.parent):
        assert place.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("number", "sentence"), [(errno.ENOSPC, "full"), (errno.EDQUOT, "more"), (errno.EIO, "errors")]
)
async def test_disk_that_refuses_is_told_and_left_clean(
    directory, blobs, monkeypatch, number, sentence
):
    """Nothing is left of what did not fit, and the next one is stored as if nothing had been."""
    written = 0

    def refuse(descriptor, content):
        nonlocal written
        written += os.write(descriptor, content)
        if written > 2 * MIB:
            raise OSError(number, "refused")

    with monkeypatch.context() as patched:
        patched.setattr(spool, "write_whole", refuse)
        with pytest.raises(StorageFailed, match=sentence):
            await put(blobs, b"x" * 5 * MIB)
    assert files(directory) == []
    assert await read(blobs, await put(blobs, b"x" * 5 * MIB)) == b"x" * 5 * MIB


async def test_really_full_disk(tmp_path):
    """A file system without room refuses with the same sentence, and is empty afterwards."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", tmp_path],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("this machine mounts nothing")
    try:
        async with open_disk_blobs(tmp_path / "blobs") as blobs:
            with pytest.raises(StorageFailed, match="full"):
                await put(blobs, b"x" * 4 * MIB)
            assert files(tmp_path) == []
            assert await read(blobs, await put(blobs, b"x" * MIB)) == b"x" * MIB
    finally:
        subprocess.run(["umount", tmp_path], check=True)


async def test_flush_that_fails_stores_nothing(directory, blobs, monkeypatch):
    """What the disk does not confirm is not there."""

    def refuse(_):
        raise OSError(errno.EIO, "refused")

    with monkeypatch.context() as patched:
        patched.setattr(spool.os, "fsync", refuse)
        with pytest.raises(StorageFailed):
            await put(blobs, b"x")
    assert files(directory) == []


async def test_leftovers_of_a_killed_process_are_swept(directory):
    """What it had written half goes with the next start; what a living one writes stays."""
    command = [sys.executable, "-c", WRITER, str(directory)]
    dead, alive = (
        subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3])
        for _ in range(2)
    )
    try:
        for writer in (dead, alive):
            assert writer.stdout.readline() == b"written\n"
        assert len(files(directory)) == 2
        dead.send_signal(signal.SIGKILL)
        dead.wait(10)
        async with open_disk_blobs(directory):
            assert len(files(directory)) == 1
    finally:
        alive.kill()
        for writer in (dead, alive):
            writer.wait(10)
            writer.stdout.close()
    async with open_disk_blobs(directory) as blobs:
        assert files(directory) == []
        assert [some async for some in blobs.digests()] == []


@pytest.mark.parametrize("damage", [b"y", b"", b"x" * MIB + b"x"])
async def test_damaged_content_is_not_passed_off(directory, blobs, damage):
    """Whoever reads to the end is told; storing it again mends it."""
    content = b"x" * MIB
    digest = await put(blobs, content)
    [file] = files(directory)
    file.write_bytes(damage)
    with pytest.raises(BlobDamaged):
        await read(blobs, digest)
    assert await put(blobs, content) == digest
    assert await read(blobs, digest) == content


async def test_link_in_place_of_a_blob_is_not_followed(directory, blobs, tmp_path):
    """Whoever put it there does not read other files by it."""
    (tmp_path / "secret").write_bytes(b"secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    (directory / digest[:2]).mkdir()
    (directory / digest[:2] / digest).symlink_to(tmp_path / "secret")
    with pytest.raises(StorageFailed):
        await read(blobs, digest)


async def test_blob_may_be_deleted_while_it_is_read(blobs):
    """Who had opened it reads it to its end; who comes later does not find it."""
    content = b"x" * 3 * MIB
    digest = await put(blobs, content)
    async with blobs.open(digest) as found:
        first = await anext(found)
        await blobs.delete(digest)
        assert first + b"".join([chunk async for chunk in found]) == content
    with pytest.raises(BlobMissing):
        await read(blobs, digest)


async def test_old_blobs_are_listed_and_new_ones_are_not(directory, monkeypatch):
    """So that nothing is collected between its being stored and its being named."""
    monkeypatch.setattr(blobs_disk, "LISTED_AT_ONCE", 10)
    async with open_disk_blobs(directory) as blobs:
        old = {await put(blobs, b"%d" % number) for number in range(25)}
        (directory / "ab").mkdir(exist_ok=True)
        (directory / "ab" / "README").write_text("not a blob")
        assert [some async for some in blobs.digests()] == []
        later = DiskBlobStore(directory, blobs._spool, now=lambda: time.time() + 3700)
        pieces = [some async for some in later.digests()]
        assert max(map(len, pieces)) <= 10
        assert {blob.digest for some in pieces for blob in some} == old


async def test_event_loop_goes_on_while_a_large_blob_is_stored(blobs):
    """Its content is never in memory as a whole, and nobody waits for the disk."""
    longest, running = 0.0, True

    async def watch():
        nonlocal longest
        while running:
            before = time.monotonic()
            await asyncio.sleep(0)
            longest = max(longest, time.monotonic() - before)

    async def large():
        for _ in range(600):
            yield b"x" * 100_000

    watching = asyncio.create_task(watch())
    stored = await blobs.put(large(), most_bytes=100 * MIB)
    running = False
    await watching
    assert stored.size == 60_000_000
    assert longest < 0.5


async def test_place_that_cannot_be_made_is_told(tmp_path):
    """A file where the directory should be is an error of ours."""
    (tmp_path / "blobs").write_text("a letter")
    with pytest.raises(StorageFailed):
        async with open_blobs(BlobSettings(), data_dir=tmp_path):
            pass
