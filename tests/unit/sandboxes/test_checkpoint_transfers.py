"""Checkpoints and transcripts over the link: the real shim at the other end, and liars."""

import asyncio
import contextlib
import json
import os
import time

import pytest
from shim.files import Unfit

from orchestrator.protocol.transfers import CHUNK_BYTES
from orchestrator.sessions.errors import CheckpointTooLarge
from orchestrator.sessions.files.errors import NoRoom, TooManyTransfers, TransferBroken
from orchestrator.sessions.profiles import CheckpointRules

RULES = CheckpointRules(excludes=("*.log",), max_bytes=1 << 24, max_entries=100)
READY = {"type": "ready"}
END = {"type": "checkpointed", "fingerprint": "f", "entries": 1, "size": 1}


def names(directory):
    return sorted(path.name for path in directory.iterdir())


async def pieces(*chunks):
    for chunk in chunks:
        yield chunk


async def taken(workspace, *, unless="", rules=RULES):
    """The archive and what was said of it; nothing where nothing changed."""
    async with workspace.take_checkpoint(rules, unless=unless) as arriving:
        if arriving is None:
            return None
        archive = b"".join([chunk async for chunk in arriving.chunks])
        return archive, arriving.packed


class Sink:
    def __init__(self, *, most=1 << 30):
        self.taken, self.end, self.most = b"", [], most

    def take(self, chunk):
        self.taken += chunk
        if len(self.taken) > self.most:
            raise Unfit("too_much")

    def finish(self):
        self.end.append("finished")

    def missing(self):
        self.end.append("missing")

    def fail(self):
        self.end.append("failed")


# --- the shim as it is ----------------------------------------------------------------------------


async def test_there_and_back(honest, tmp_path):
    """What was taken is restored, excludes and numbers as the rules and the sandbox say."""
    (tmp_path / "a").write_bytes(os.urandom(1 << 20))
    (tmp_path / "b.log").touch()
    archive, packed = await taken(honest)
    assert (packed.entries, packed.size, packed.omitted) == (1, 1 << 20, 0)
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_text("changed")
    (tmp_path / "c").touch()
    await honest.restore_checkpoint(pieces(archive), size=len(archive), rules=RULES)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == content
    assert await taken(honest, unless=packed.fingerprint) is None


async def test_what_the_archive_holds_is_known_at_its_end(honest, tmp_path):
    """Before, nobody can take a half for the whole."""
    (tmp_path / "a").write_bytes(os.urandom(1 << 20))
    async with honest.take_checkpoint(RULES, unless="") as arriving:
        await anext(arriving.chunks)
        with pytest.raises(TransferBroken):
            arriving.packed  # noqa: B018 - it raises


async def test_workspaces_that_are_too_large(honest, tmp_path):
    """They are refused by the sandbox itself."""
    (tmp_path / "a").write_bytes(bytes(5000))
    with pytest.raises(CheckpointTooLarge):
        await taken(honest, rules=CheckpointRules(max_bytes=4999))


async def test_restoring_more_than_the_rules_allow(honest, tmp_path):
    """It is refused, and the workspace is as it was."""
    (tmp_path / "a").write_bytes(bytes(5000))
    archive, _ = await taken(honest)
    with pytest.raises(CheckpointTooLarge):
        await honest.restore_checkpoint(
            pieces(archive), size=len(archive), rules=CheckpointRules(max_bytes=4999)
        )
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("cut", [0, 100, -1])
async def test_archives_that_are_cut(honest, tmp_path, cut):
    """They are refused as broken, whatever size was declared, and change nothing."""
    (tmp_path / "a").write_bytes(os.urandom(1000))
    archive, _ = await taken(honest)
    (tmp_path / "b").touch()
    with pytest.raises(TransferBroken):
        await honest.restore_checkpoint(pieces(archive[:cut]), size=len(archive), rules=RULES)
    assert names(tmp_path) == ["a", "b"]


async def test_a_blob_that_fails_half_way(honest, tmp_path):
    """What the reader of the archive raises is raised, and the workspace is as it was."""
    (tmp_path / "a").write_bytes(os.urandom(1 << 20))
    archive, _ = await taken(honest)
    (tmp_path / "b").touch()

    async def breaking():
        yield archive[:300_000]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await honest.restore_checkpoint(breaking(), size=len(archive), rules=RULES)
    async with asyncio.timeout(5):
        while names(tmp_path) != ["a", "b"]:
            await asyncio.sleep(0.005)


async def test_a_refusal_in_the_middle_is_heard_at_once(honest, tmp_path):
    """A sandbox that does not read the rest is not waited for."""
    endless = 0

    async def archive():
        nonlocal endless
        while True:
            endless += 1
            yield b"no archive" * 100_000

    began = time.monotonic()
    with pytest.raises(TransferBroken):
        await honest.restore_checkpoint(archive(), size=1 << 40, rules=RULES)
    assert time.monotonic() - began < 5
    assert endless < 100
    assert names(tmp_path) == []


async def test_two_at_once_come_one_after_the_other(honest, tmp_path):
    """Neither fails for the other."""
    (tmp_path / "a").write_bytes(os.urandom(1 << 20))
    first, second = await asyncio.gather(taken(honest), taken(honest))
    assert first == second


async def test_own_transfers_have_places_of_their_own(honest, tmp_path):
    """However many files people fetch, a checkpoint is taken."""
    (tmp_path / "a").write_bytes(bytes(4 << 20))
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(honest.read_file("a"))
        with pytest.raises(TooManyTransfers):
            await honest.list_files("", most=1)
        assert await taken(honest) is not None


# --- transcripts ----------------------------------------------------------------------------------


async def test_a_transcript_is_given(honest, asked):
    """All of it, in order, however it is cut; then who asked is told that it is whole."""
    sink = asked["a1"] = Sink()
    lines = b'{"line": 1}\n' * 100_000
    await honest.give_transcript("a1", pieces(lines[:7], lines[7:900_000], lines[900_000:]))
    assert (sink.taken, sink.end) == (lines, ["finished"])


async def test_nothing_under_that_key(honest, asked):
    """It is told as that, not as an empty transcript."""
    missing, empty = asked["a1"], asked["a2"] = Sink(), Sink()
    await honest.give_transcript("a1", None)
    await honest.give_transcript("a2", pieces())
    assert (missing.end, empty.end) == (["missing"], ["finished"])


async def test_an_answer_that_nobody_asked_for(honest):
    """The transfer is broken, and nothing else."""
    with pytest.raises(TransferBroken):
        await honest.give_transcript("a1", pieces(b"x\n"))


async def test_a_transcript_that_breaks_off(honest, asked):
    """Who asked is told that the rest does not come."""
    sink = asked["a1"] = Sink()

    async def breaking():
        yield b"x" * CHUNK_BYTES
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await honest.give_transcript("a1", breaking())
    async with asyncio.timeout(5):
        while not sink.end:
            await asyncio.sleep(0.005)
    assert sink.end == ["failed"]


async def test_a_transcript_that_is_too_long_for_who_asked(honest, asked):
    """It is refused in the middle."""
    sink = asked["a1"] = Sink(most=1 << 20)
    with pytest.raises(TransferBroken):
        await honest.give_transcript("a1", pieces(bytes(64 << 20)))
    assert sink.end == ["failed"]


# --- liars ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frames",
    [
        [{"type": "unchanged"}],
        [{"type": "done"}],
        [END],
        [b"x"],
        [READY, {"type": "done"}],
        [READY, READY],
        [READY, {"type": "unchanged"}],
        [READY, b"", END],
        [READY, b"x", b"x", END],
        [READY, b"x", bytes(CHUNK_BYTES), END],
        [READY, END | {"fingerprint": ""}],
        [READY, END | {"fingerprint": "f" * 200}],
        [READY, END | {"size": -1}],
        [READY, b"x", {"type": "refused", "why": "not_found"}],
        [{"type": "refused", "why": "exists"}],
        ["not json"],
    ],
)
async def test_lies_about_a_checkpoint(liar, frames):
    """Whatever is not of the protocol breaks the transfer before anybody has a whole archive."""
    peer = await liar(*frames)
    with pytest.raises(TransferBroken):
        await taken(peer.workspace)


@pytest.mark.parametrize(
    "frames",
    [
        [READY, b"x", END | {"entries": 101}],
        [READY, b"x", END | {"size": (1 << 24) + 1}],
        [{"type": "refused", "why": "too_much"}],
        [READY, b"x", {"type": "refused", "why": "too_much"}],
    ],
)
async def test_more_than_allowed(liar, frames):
    """Said by the sandbox itself: it is too large."""
    peer = await liar(*frames)
    with pytest.raises(CheckpointTooLarge):
        await taken(peer.workspace)


async def test_an_endless_checkpoint(liar):
    """It stops at the rules' size, however it goes on."""

    async def flood(connection):
        while True:
            await connection.send(bytes(CHUNK_BYTES))

    peer = await liar(READY, then=flood)
    rules = CheckpointRules(max_bytes=1 << 20, max_entries=10)
    with pytest.raises(CheckpointTooLarge):
        await taken(peer.workspace, rules=rules)


async def test_a_checkpoint_that_hardly_comes(liar):
    """It is cut for its pace."""

    async def trickle(connection):
        while True:
            await connection.send(bytes(CHUNK_BYTES))
            await asyncio.sleep(3600)

    peer = await liar(READY, then=trickle, transfer_patience=0.05)
    with pytest.raises(TransferBroken):
        await taken(peer.workspace)


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([{"type": "stored", "size": 10}], TransferBroken),
        ([READY, {"type": "stored", "size": 9}], TransferBroken),
        ([READY, {"type": "stored", "size": 10}, {"type": "stored", "size": 10}], None),
        ([READY, {"type": "refused", "why": "no_room"}], NoRoom),
        ([{"type": "refused", "why": "no_room"}], NoRoom),
        ([READY, {"type": "refused", "why": "too_much"}], CheckpointTooLarge),
        ([READY, {"type": "refused", "why": "not_found"}], TransferBroken),
        ([READY, b"x"], TransferBroken),
        ([READY, {"type": "ready"}], TransferBroken),
    ],
)
async def test_lies_about_a_restore(liar, frames, error):
    """Only what was stored whole counts as restored; refusals keep their meaning."""
    first, *then = frames

    async def after_reading(connection):
        if then and then[0].__class__ is dict and then[0]["type"] == "stored":
            async for frame in connection:
                if isinstance(frame, str):
                    break
        for frame in then:
            await connection.send(frame if isinstance(frame, bytes) else json.dumps(frame))

    peer = await liar(first, then=after_reading)
    restoring = peer.workspace.restore_checkpoint(pieces(b"0123456789"), size=10, rules=RULES)
    with contextlib.nullcontext() if error is None else pytest.raises(error):
        await restoring


async def test_a_sandbox_that_never_says_that_it_is_restored(liar):
    """It is cut for its pace."""
    peer = await liar(READY, transfer_patience=0.05)
    with pytest.raises(TransferBroken):
        await peer.workspace.restore_checkpoint(pieces(b"x"), size=1, rules=RULES)
