"""The agent's transcripts as the CLI keeps them in its home: put there to resume, read to repair.

The SDK could do the first, but into a second home, without what else the CLI keeps for a
conversation, and with all of it in memory at once. The files are the agent's own to spoil: nothing
that is in them is believed, and a line that is none is left out.
"""

import asyncio
import contextlib
import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from claude_agent_sdk import project_key_for_directory

from orchestrator.protocol.transcripts import TranscriptKey
from shim.bounds import bounded
from shim.foreign_values import as_dict
from shim.pending_tool import TOOL_ROWS, Continuation, continuation
from shim.transcript_pieces import as_lines
from shim.transcript_store import CONVERSATION, METADATA, TranscriptStore

SETTLE_SECONDS = 1.0
"""The CLI writes its file a little before it tells of it."""
PERIOD = 0.05
BATCH_CHARS = 32 << 20
"""Of a file that is said anew. A longer one is said in several batches; the first replaces."""
_LOCAL = (b'"type":"api-request', b'"type":"hook_deferred_tool"')
"""Lines of the file alone: each request to the model once more, and what only a resumed CLI has to
know (see `pending_tool`)."""
_PREFIX = 96
"""Bytes of a line that its type is in."""
_OF_TODOS = re.compile(rb'"TodoWrite"|"Task(Create|Update|List)"|"(task|taskId|tasks)":')
_SESSION_ID = re.compile(r"\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

log = logging.getLogger("shim.transcript_files")


class NoSuchTranscript(Exception):
    """The store has nothing of this agent session."""


class TranscriptFiles:
    def __init__(
        self,
        store: TranscriptStore,
        *,
        workspace: str,
        home: Path | None = None,
    ) -> None:
        self._store = store
        self._project = project_key_for_directory(workspace)
        self._folder = (home or Path.home()) / ".claude" / "projects" / self._project
        self._distrusted: set[str] = set()
        """Agent sessions of which the store missed something."""

    def distrust(self, agent_session: str) -> None:
        self._distrusted.add(agent_session)

    def main(self, agent_session: str) -> Path:
        return self._folder / f"{agent_session}.jsonl"

    def key(self, agent_session: str, subpath: str = "") -> TranscriptKey:
        return TranscriptKey(project=self._project, agent_session=agent_session, subpath=subpath)

    async def restore(self, agent_session: str) -> None:
        """Puts what the store has where the CLI resumes from. Raises NoSuchTranscript,
        StoreUnavailable, OSError."""
        if not _SESSION_ID.match(agent_session):
            raise NoSuchTranscript(agent_session)
        if not await self._fetch(self.key(agent_session)):
            raise NoSuchTranscript(agent_session)
        shutil.rmtree(self._folder / agent_session / "subagents", ignore_errors=True)
        project = {"project_key": self._project, "session_id": agent_session}
        for subpath in await self._store.list_subkeys(project):
            if _is_safe(subpath):
                await self._fetch(self.key(agent_session, subpath))
        await self._store.resume(self.key(agent_session))
        self._distrusted.discard(agent_session)

    async def sync(self) -> bool:
        """Returns when the store was told all that is in the files; whether something had been
        missing. Raises OSError."""
        missing = await asyncio.to_thread(self._missing)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                while missing:
                    await asyncio.sleep(PERIOD)
                    missing = await asyncio.to_thread(self._missing)
        spoilt = missing | self._distrusted
        for key, path in await asyncio.to_thread(lambda: list(self._files())):
            if key.agent_session in spoilt:
                await self._say_anew(key, path)
        self._distrusted -= spoilt
        return bool(spoilt)

    def todo_entries(self, agent_session: str) -> Iterator[dict[str, Any]]:
        """Those lines of the main transcript that may be of the to-do list."""
        with contextlib.suppress(OSError), self.main(agent_session).open("rb") as lines:
            for line in lines:
                if _OF_TODOS.search(line):
                    yield _parsed(line)

    async def put_off(self, agent_session: str, tool_use_id: str) -> bool:
        """Makes the CLI, once it is resumed, ask again about this use of a tool. False where there
        is no such, or it was answered. Raises OSError."""
        path = self.main(agent_session)
        found = await asyncio.to_thread(_continuation, path, tool_use_id)
        if found is None:
            return False
        if found.results:
            lines = as_lines(found.results)
            _append(path, lines)
            await self._store.say(self.key(agent_session), lines, found.results)
        _append(path, as_lines([found.deferral]))
        self._store.has_said(tool_use_id)
        return True

    async def _fetch(self, key: TranscriptKey) -> bool:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        arriving = path.with_name(f"{path.name}.arriving")
        try:
            with arriving.open("wb") as file:
                found = await self._store.fetch("load", key, lambda chunk: _write(file, chunk))
            if found:
                self._store.said[key] = _settled(arriving, path, is_main=not key.subpath)
        finally:
            arriving.unlink(missing_ok=True)
        return found

    def _missing(self) -> set[str]:
        """Agent sessions of which more was written than was said."""
        return {
            key.agent_session
            for key, path in self._files()
            if _count(path) > self._store.said.get(key, 0)
        }

    async def _say_anew(self, key: TranscriptKey, path: Path) -> None:
        """A file that cannot be said keeps no other one from it."""
        try:
            batches, is_first = _batches(path), True
            while batch := await asyncio.to_thread(next, batches, None):
                await self._store.say(key, *batch, replaces=is_first)
                is_first = False
        except Exception as error:  # noqa: BLE001 - whatever a tool wrote there
            log.warning("transcript.not_repaired", extra={"reason": repr(error)[:500]})

    def _files(self) -> Iterator[tuple[TranscriptKey, Path]]:
        """Those whose names the CLI gives: anything else in there is somebody else's."""
        for path in sorted(self._folder.glob("**/*.jsonl")):
            inside = path.relative_to(self._folder).with_suffix("")
            key = self.key(inside.parts[0], "/".join(inside.parts[1:]))
            is_file = path.is_file() and not path.is_symlink()
            if is_file and _SESSION_ID.match(key.agent_session) and _is_sayable(key):
                yield key, path

    def _path(self, key: TranscriptKey) -> Path:
        if not key.subpath:
            return self.main(key.agent_session)
        inside = self._folder / key.agent_session / key.subpath
        return inside.with_name(f"{inside.name}.jsonl")


def _continuation(path: Path, tool_use_id: str) -> Continuation | None:
    with path.open("rb") as lines:
        rows = (_parsed(line) for line in lines if any(mark in line for mark in TOOL_ROWS))
        return continuation(rows, tool_use_id)


def _append(path: Path, lines: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(lines)


def _is_safe(subpath: str) -> bool:
    """Whether it stays where it belongs: it comes from what an earlier sandbox said."""
    parts = PurePosixPath(subpath).parts
    return bool(parts) and "/" not in parts and ".." not in parts and "\0" not in subpath


def _is_sayable(key: TranscriptKey) -> bool:
    """Whether it crosses the link as it is, and is taken there."""
    return key.subpath.isprintable() and bounded(key) == key


def _write(file: Any, chunk: bytes) -> None:
    file.write(chunk)


def _settled(arriving: Path, path: Path, *, is_main: bool) -> int:
    """The file where the CLI looks for it, a subagent's with its description beside it. Returns how
    many lines it has."""
    if is_main:
        arriving.replace(path)
        return _count(path)
    with arriving.open("rb") as lines, path.open("wb") as file:
        for line in lines:
            entry = _parsed(line)
            if entry.get("type") == METADATA:
                del entry["type"]
                path.with_name(f"{path.stem}.meta.json").write_text(json.dumps(entry))
            else:
                file.write(line)
    return _count(path)


def _count(path: Path) -> int:
    """Lines of the conversation. Others a resumed CLI writes again, and does not tell."""
    mark = f'"{CONVERSATION}":'.encode()
    with contextlib.suppress(FileNotFoundError), path.open("rb") as lines:
        return sum(line.endswith(b"\n") and mark in line[:_PREFIX] for line in lines)
    return 0


def _is_local(line: bytes) -> bool:
    return any(mark in line[:_PREFIX] for mark in _LOCAL)


def _batches(path: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The whole file, in lines and as what they mean."""
    lines: list[str] = []
    entries: list[dict[str, Any]] = []
    size = 0
    for line, entry in _entries(path):
        if size + len(line) > BATCH_CHARS and lines:
            yield "".join(lines), entries
            lines, entries, size = [], [], 0
        lines.append(line)
        entries.append(entry)
        size += len(line)
    yield "".join(lines), entries


def _entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open("rb") as file:
        for line in file:
            entry = _parsed(line)
            if entry and not _is_local(line):
                yield line.decode().rstrip("\n") + "\n", entry
    described = path.with_name(f"{path.stem}.meta.json")
    if described.is_file():
        metadata = _parsed(described.read_bytes())
        if metadata:
            entry = {**metadata, "type": METADATA}
            yield f"{json.dumps(entry)}\n", entry


def _parsed(line: bytes) -> dict[str, Any]:
    """Empty where it is no JSON object: a last line may be half written."""
    try:
        return as_dict(json.loads(line.decode()))
    except (ValueError, RecursionError):
        return {}
