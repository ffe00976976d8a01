"""What every `SandboxPool` and `Sandbox` must do: run on the fake and on real containers.

A test module derives a class from `SandboxContract` and provides the fixture `pool`: one that holds
at most `CEILING` sandboxes of the profile `PROFILE`, with agents that obey the scripted prompts.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Literal, TypeVar

from orchestrator.protocol.commands import (
    AnswerPermission,
    Interrupt,
    PermissionDecision,
    StartTurn,
)
from orchestrator.protocol.ids import ProfileName, SessionId, TurnId
from orchestrator.protocol.input_hash import input_hash
from orchestrator.protocol.sandbox_events import (
    BlockDelta,
    CommandFailed,
    PermissionRequested,
    TextWritten,
    ToolFinished,
    TurnEnded,
)
from orchestrator.sessions.errors import CheckpointTooLarge, UnknownProfile
from orchestrator.sessions.files.errors import (
    FileExists,
    TransferBroken,
    UnknownFile,
)
from orchestrator.sessions.ports import ReceivedEvent, Sandbox, SandboxPool
from orchestrator.sessions.profiles import CheckpointRules
from orchestrator.sessions.workspace import FileContent, Workspace

PROFILE = ProfileName("default")
CEILING = 2
LIMIT = 60.0
"""Seconds for anything a test waits for; containers start slowly on a busy machine."""

T = TypeVar("T")


class Listener:
    """Reads a sandbox's events, acknowledges them, and keeps them for a test to look through."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.heard: list[ReceivedEvent] = []
        self._sandbox = sandbox
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._listen(), name=f"listener-{sandbox.id}")

    async def _listen(self) -> None:
        async for batch in self._sandbox.events():
            self.heard.extend(batch)
            self._sandbox.acknowledge(batch[-1].n)
            self._changed.set()

    async def first(self, kind: type[T]) -> T:
        """The first event of a kind, once it is there."""
        async with asyncio.timeout(LIMIT):
            while True:
                for received in self.heard:
                    if isinstance(received.event, kind):
                        return received.event
                self._changed.clear()
                await self._changed.wait()

    async def end(self) -> None:
        """Returns when the sandbox's events have ended."""
        async with asyncio.timeout(LIMIT):
            await self._task


async def claim(
    pool: SandboxPool, session: str, *, on_place: Callable[[int], None] = lambda _: None
) -> Sandbox:
    async with asyncio.timeout(LIMIT):
        return await pool.claim(PROFILE, session=SessionId(session), on_place=on_place)


@contextlib.asynccontextmanager
async def claimed(pool: SandboxPool, session: str = "s") -> AsyncIterator[tuple[Sandbox, Listener]]:
    sandbox = await claim(pool, session)
    try:
        yield sandbox, Listener(sandbox)
    finally:
        await sandbox.destroy()


async def start_turn(sandbox: Sandbox, text: str, *, turn: str = "t1") -> None:
    await sandbox.send(StartTurn(turn_id=TurnId(turn), text=text))


async def raises(error: type[BaseException], work: Awaitable[object]) -> bool:
    try:
        await work
    except error:
        return True
    return False


class SandboxContract:
    """The promises. Each method is a test."""

    async def test_a_turn(self, pool: SandboxPool) -> None:
        """A claimed sandbox runs a turn: deltas, then the text as a whole, then the result."""
        async with claimed(pool) as (sandbox, listener):
            await start_turn(sandbox, "Hello")
            ended = await listener.first(TurnEnded)
            assert (ended.turn_id, ended.outcome) == ("t1", "completed")
            text = (await listener.first(TextWritten)).text
            deltas = [one.event for one in listener.heard if isinstance(one.event, BlockDelta)]
            written = "".join(delta.text for delta in deltas if delta.kind == "text")
            assert text
            assert text in written

    async def test_numbers(self, pool: SandboxPool) -> None:
        """Events are numbered upwards, without repeats, and their bytes say what they are."""
        async with claimed(pool) as (sandbox, listener):
            await start_turn(sandbox, "Hello")
            await listener.first(TurnEnded)
            numbers = [received.n for received in listener.heard]
            assert numbers == sorted(set(numbers))
            assert all(received.body.startswith(b'{"type":"') for received in listener.heard)

    async def test_a_second_turn(self, pool: SandboxPool) -> None:
        """A sandbox runs one turn after another."""
        async with claimed(pool) as (sandbox, listener):
            await start_turn(sandbox, "Hello", turn="t1")
            await listener.first(TurnEnded)
            listener.heard.clear()
            await start_turn(sandbox, "Hello again", turn="t2")
            assert (await listener.first(TurnEnded)).turn_id == "t2"

    async def test_permission_given(self, pool: SandboxPool) -> None:
        """A tool that needs a permission runs once it is given."""
        async with claimed(pool) as (sandbox, listener):
            await self._answer(sandbox, listener, choice="allow")
            assert not (await listener.first(ToolFinished)).is_error
            assert (await listener.first(TurnEnded)).outcome == "completed"

    async def test_permission_denied(self, pool: SandboxPool) -> None:
        """A tool whose permission is denied does not run, and the turn goes on to its end."""
        async with claimed(pool) as (sandbox, listener):
            await self._answer(sandbox, listener, choice="deny", reason="Rather not.")
            assert (await listener.first(ToolFinished)).is_error
            assert (await listener.first(TurnEnded)).outcome == "completed"

    async def test_a_request_names_its_input(self, pool: SandboxPool) -> None:
        """What a person is asked to allow carries the hash of exactly that."""
        async with claimed(pool) as (sandbox, listener):
            await start_turn(sandbox, "!bash touch made-by-test")
            asked = await listener.first(PermissionRequested)
            assert asked.input_hash == input_hash(asked.tool_name, asked.input)

    async def test_an_answer_for_another_input(self, pool: SandboxPool) -> None:
        """An answer that names another input lets nothing run, and says that it failed."""
        async with claimed(pool) as (sandbox, listener):
            await start_turn(sandbox, "!bash touch made-by-test")
            asked = await listener.first(PermissionRequested)
            other = PermissionDecision(choice="allow", input_hash=input_hash("Bash", {}))
            await sandbox.send(AnswerPermission(permission_id=asked.permission_id, decision=other))
            assert (await listener.first(CommandFailed)).command == "answer_permission"
            assert (await listener.first(TurnEnded)).outcome == "interrupted"
            finished = [r.event for r in listener.heard if isinstance(r.event, ToolFinished)]
            assert all(event.is_error for event in finished)

    async def _answer(
        self,
        sandbox: Sandbox,
        listener: Listener,
        *,
        choice: Literal["allow", "deny"],
        reason: str = "",
    ) -> None:
        await start_turn(sandbox, "!bash touch made-by-test")
        asked = await listener.first(PermissionRequested)
        assert asked.tool_name == "Bash"
        decision = PermissionDecision(choice=choice, input_hash=asked.input_hash, reason=reason)
        await sandbox.send(AnswerPermission(permission_id=asked.permission_id, decision=decision))

    async def test_interrupt(self, pool: SandboxPool) -> None:
        """An interrupted turn ends as such, and the sandbox is ready for the next."""
        async with claimed(pool) as (sandbox, listener):
            await start_turn(sandbox, "!bash touch never-answered")
            await listener.first(PermissionRequested)
            await sandbox.send(Interrupt(turn_id=TurnId("t1")))
            assert (await listener.first(TurnEnded)).outcome == "interrupted"
            listener.heard.clear()
            await start_turn(sandbox, "Hello", turn="t2")
            assert (await listener.first(TurnEnded)).outcome == "completed"

    async def test_destroy(self, pool: SandboxPool) -> None:
        """A destroyed sandbox ends its events and says so; destroying twice is as once, and what
        is sent to it afterwards goes nowhere without a complaint."""
        async with claimed(pool) as (sandbox, listener):
            assert sandbox.ending is None
            assert sandbox.memory_limit > 0
            await asyncio.gather(sandbox.destroy(), sandbox.destroy())
            await listener.end()
            assert sandbox.ending is not None
            assert sandbox.ending.tag == "destroyed"
            await start_turn(sandbox, "Hello")
            await sandbox.destroy()

    async def test_never_twice(self, pool: SandboxPool) -> None:
        """Each claim gets a sandbox of its own, also after one was given back."""
        seen = set()
        for n in range(3):
            async with claimed(pool, f"s{n}") as (sandbox, _):
                seen.add(sandbox.id)
        assert len(seen) == 3  # noqa: PLR2004 - as many as were claimed

    async def test_unknown_profile(self, pool: SandboxPool) -> None:
        """A profile that there is not is refused."""
        work = pool.claim(ProfileName("nope"), session=SessionId("s"), on_place=lambda _: None)
        assert await raises(UnknownProfile, work)

    async def test_waiting_is_fair(self, pool: SandboxPool) -> None:
        """At the ceiling claims wait in their order, each told its place, and are then served."""
        held = [await claim(pool, f"held-{n}") for n in range(CEILING)]
        places: dict[int, list[int]] = {0: [], 1: []}
        served: list[int] = []
        told = [asyncio.Event(), asyncio.Event()]

        def tell(n: int, place: int) -> None:
            places[n].append(place)
            told[n].set()

        async def wait(n: int) -> None:
            sandbox = await claim(pool, f"waiting-{n}", on_place=partial(tell, n))
            served.append(n)
            await sandbox.destroy()

        waiting = [asyncio.create_task(wait(n), name=f"waiting-{n}") for n in (0, 1)]
        async with asyncio.timeout(LIMIT):
            await asyncio.gather(*(one.wait() for one in told))
        for sandbox in held:
            await sandbox.destroy()
        async with asyncio.timeout(LIMIT):
            await asyncio.gather(*waiting)
        assert served == [0, 1]
        assert (places[0][0], places[1]) == (1, [2, 1])

    async def test_a_waiter_may_leave(self, pool: SandboxPool) -> None:
        """A claim that is cancelled while it waits leaves no trace."""
        held = [await claim(pool, f"held-{n}") for n in range(CEILING)]
        told = asyncio.Event()
        waiting = asyncio.create_task(
            claim(pool, "leaver", on_place=lambda _: told.set()), name="leaver"
        )
        async with asyncio.timeout(LIMIT):
            await told.wait()
        waiting.cancel()
        assert await raises(asyncio.CancelledError, waiting)
        for sandbox in held:
            await sandbox.destroy()
        async with claimed(pool, "next") as (sandbox, _):
            assert sandbox.ending is None

    async def test_files(self, pool: SandboxPool) -> None:
        """What is written to a workspace is listed, read and in its tree, and is not overwritten
        unasked."""
        async with claimed(pool) as (sandbox, _):
            workspace = sandbox.workspace
            size = await workspace.write_file("d/x", _pieces(b"one"), size=3, overwrite=False)
            assert size == 3  # noqa: PLR2004 - as written
            again = workspace.write_file("d/x", _pieces(b"two"), size=3, overwrite=False)
            assert await raises(FileExists, again)
            assert [one.path for one in (await workspace.list_files("d", most=9)).entries] == [
                "d/x"
            ]
            assert await raises(UnknownFile, workspace.list_files("none", most=9))
            async with workspace.read_file("d/x") as file:
                assert [chunk async for chunk in file.chunks] == [b"one"]
            async with workspace.read_tree("", most_entries=99, most_bytes=99) as tree:
                items = [item async for item in tree.items]
            assert "d/x" in {item.entry.path for item in items if isinstance(item, FileContent)}

    async def test_a_checkpoint(self, pool: SandboxPool) -> None:
        """What one sandbox held is put into another, in place of what was there; then nothing has
        changed, until something does."""
        rules = CheckpointRules()
        async with claimed(pool, "one") as (one, _), claimed(pool, "other") as (other, _):
            await one.workspace.write_file("d/x", _pieces(b"one"), size=3, overwrite=False)
            await other.workspace.write_file("y", _pieces(b"two"), size=3, overwrite=False)
            async with one.workspace.take_checkpoint(rules, unless="") as taken:
                assert taken is not None
                archive = b"".join([chunk async for chunk in taken.chunks])
                packed = taken.packed
            assert packed.size == 3  # noqa: PLR2004 - as written
            assert packed.entries > 0
            await other.workspace.restore_checkpoint(
                _pieces(archive), size=len(archive), rules=rules
            )
            async with other.workspace.read_file("d/x") as file:
                assert [chunk async for chunk in file.chunks] == [b"one"]
            assert [one.path for one in (await other.workspace.list_files("", most=9)).entries] == [
                "d"
            ]
            unless = packed.fingerprint
            async with other.workspace.take_checkpoint(rules, unless=unless) as again:
                assert again is None
            await other.workspace.write_file("z", _pieces(b"three"), size=5, overwrite=False)
            async with other.workspace.take_checkpoint(rules, unless=unless) as changed:
                assert changed is not None

    async def test_checkpoints_that_are_too_large(self, pool: SandboxPool) -> None:
        """They are refused when they are taken, and an archive that holds too much when it is
        restored: what was there stays."""
        small = CheckpointRules(max_bytes=4)
        async with claimed(pool) as (sandbox, _):
            workspace = sandbox.workspace
            await workspace.write_file("x", _pieces(b"12345"), size=5, overwrite=False)
            assert await raises(CheckpointTooLarge, _taken(workspace, small))
            archive = await _taken(workspace, CheckpointRules())
            restoring = workspace.restore_checkpoint(
                _pieces(archive), size=len(archive), rules=small
            )
            assert await raises(CheckpointTooLarge, restoring)
            assert [one.path for one in (await workspace.list_files("", most=9)).entries] == ["x"]

    async def test_files_of_a_sandbox_that_is_gone(self, pool: SandboxPool) -> None:
        """Nothing can be read from a sandbox that was destroyed, and nobody waits for it."""
        async with claimed(pool) as (sandbox, _):
            await sandbox.destroy()
            async with asyncio.timeout(LIMIT / 2):
                assert await raises(TransferBroken, sandbox.workspace.list_files("", most=9))


async def _taken(workspace: Workspace, rules: CheckpointRules) -> bytes:
    async with workspace.take_checkpoint(rules, unless="") as taken:
        assert taken is not None
        return b"".join([chunk async for chunk in taken.chunks])


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
