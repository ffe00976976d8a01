"""One tool server's process and its wire: lines of JSON-RPC, bounded in length and in number.

A server is a program of the image's and none of Casemate's: it may hang, flood and die. What it
says on its standard error is kept to its last words.
"""

import asyncio
import contextlib
import os
import signal
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter
from pydantic import ValidationError

MAX_LINE_BYTES = 16 << 20
"""Of one message: a few large images."""
FLOOD_BYTES = 64 << 20
FLOOD_LINES = 20_000
"""However short: each takes some of the core that serves the link, too."""
FLOOD_SECONDS = 10.0
"""More than either in this time is no answer to anything."""
LAST_WORDS = 2_000
"""Characters of its standard error that are kept."""
PATIENCE = 1.0
"""Seconds from a closed input to the kill: a good server ends by itself."""
FIRST_TO_GO = "1000"
NOT_FOR_SERVERS = ("ANTHROPIC_", "CLAUDE_")
"""Beginnings of variables that are the CLI's."""


class Flooded(Exception):
    """It said more than anybody could read."""


class ServerProcess:
    """Of one server, for one life. An async context manager; leaving it leaves nothing behind of
    the server's own process group.

    `reads` and `writes` are the two ends that an MCP client takes.
    """

    def __init__(
        self, command: str, args: Sequence[str], *, env: Mapping[str, str], workspace: str
    ) -> None:
        self._command = (command, *args)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(NOT_FOR_SERVERS)}
        self._env = {**inherited, **env}
        self._workspace = workspace
        self._said, self.reads = anyio.create_memory_object_stream[SessionMessage | Exception](1)
        self.writes, self._to_say = anyio.create_memory_object_stream[SessionMessage](1)
        self._process: Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._last_words = bytearray()
        self._ended = asyncio.Event()
        self.flooded = False

    async def __aenter__(self) -> Self:
        """Raises OSError."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            limit=MAX_LINE_BYTES,
            cwd=self._workspace,
            env=self._env,
            start_new_session=True,
        )
        _give_way(self._process)
        name = f"tool-server-{self._process.pid}"
        self._tasks = [
            asyncio.create_task(self._read(self._process), name=f"{name}-reads"),
            asyncio.create_task(self._write(self._process), name=f"{name}-writes"),
            asyncio.create_task(self._listen_to_errors(self._process), name=f"{name}-errors"),
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        assert process is not None
        if process.returncode is None and process.stdin is not None:
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await process.wait()
        self.kill()
        await process.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - what was not read keeps it open
        for stream in (self._said, self.reads, self.writes, self._to_say):
            stream.close()

    async def ended(self) -> None:
        """Returns when nothing more comes from it."""
        await self._ended.wait()

    def kill(self) -> None:
        """With what it started, but for what left its process group."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    @property
    def last_words(self) -> str:
        return self._last_words.decode(errors="replace").strip()

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        pace = _Pace()
        try:
            while line := await process.stdout.readline():
                pace.count(len(line))
                await asyncio.sleep(0)  # many lines may be there already; others have their turn
                with contextlib.suppress(ValidationError):  # a print that strayed, or no JSON-RPC
                    message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                    await self._said.send(SessionMessage(message))
        except (ValueError, Flooded):  # the former: a line beyond the limit
            self.flooded = True
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # nobody listens any more
        finally:
            self.kill()
            self._said.close()
            self._ended.set()

    async def _write(self, process: Process) -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # it is gone, which its output tells
            async for message in self._to_say:
                said = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(said.encode() + b"\n")
                await process.stdin.drain()

    async def _listen_to_errors(self, process: Process) -> None:
        assert process.stderr is not None
        while piece := await process.stderr.read(4096):
            self._last_words += piece
            del self._last_words[:-LAST_WORDS]


def _give_way(process: Process) -> None:
    """Where memory runs out the kernel takes the server, and what it began, before the agent."""
    with contextlib.suppress(OSError):  # it is gone already
        Path(f"/proc/{process.pid}/oom_score_adj").write_text(FIRST_TO_GO)


class _Pace:
    """Raises Flooded."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._bytes = 0
        self._lines = 0

    def count(self, size: int) -> None:
        now = time.monotonic()
        if now - self._began > FLOOD_SECONDS:
            self._began, self._bytes, self._lines = now, 0, 0
        self._bytes += size
        self._lines += 1
        if self._bytes > FLOOD_BYTES or self._lines > FLOOD_LINES:
            raise Flooded
