"""The store that the Agent SDK mirrors its transcripts into: at the other end of the link.

What is written is said like an event, so the end of a turn is never held before its transcript. It
is never left out; above the outbox's hard bound writing waits, as reading the agent does, and what
waited too long is a mirror error of the SDK's (see `transcript_files` for the repair). What is
read is asked for (`TranscriptAsked`), and comes as a transfer.
"""

import asyncio
import json
import uuid
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal

from claude_agent_sdk import SessionKey, SessionStore, fold_session_summary

from orchestrator.protocol.transcripts import TranscriptAsked, TranscriptKey, TranscriptReplaced
from shim.bounds import bounded
from shim.files import Unfit
from shim.foreign_values import as_dict, as_list, as_text
from shim.outbox import EventOutbox
from shim.transcript_answers import TranscriptSink
from shim.transcript_pieces import Entry, as_lines, pieces

ANSWER_SECONDS = 60.0
"""For all of an answer; a long transcript comes at tens of megabytes a second."""
MAX_ANSWER_BYTES = 256 << 20
"""Of what is taken into memory. Files take as much as their file system does."""
MAX_KEPT = 512
"""Tool uses, and answers to them, that are remembered as mirrored."""
SEEN_SECONDS = 0.4
"""The CLI tells of a tool's use some 30 ms after it asks whether it may be used."""

METADATA = "agent_metadata"
"""The type of entries that describe a subagent, and are in another file than its transcript."""

CONVERSATION = "parentUuid"
"""What entries of the conversation have, and what the CLI notes beside it has not."""

What = Literal["load", "sessions", "summaries", "subkeys", "delete"]


class StoreUnavailable(Exception):
    """The control plane did not answer, or not with all of it."""


class Answer:
    """What came of one question. `take` is given the pieces as they come."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._found: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def missing(self) -> None:
        self._settle(found=False)

    def take(self, chunk: bytes) -> None:
        """Raises Unfit."""
        try:
            self._take(chunk)
        except Exception as error:
            if not self._found.done():
                self._found.set_exception(error)
            raise Unfit("failed") from error

    def finish(self) -> None:
        self._settle(found=True)

    def fail(self) -> None:
        if not self._found.done():
            self._found.set_exception(StoreUnavailable("The answer broke off."))

    async def found(self) -> bool:
        """Raises StoreUnavailable."""
        return await self._found

    def _settle(self, *, found: bool) -> None:
        if not self._found.done():
            self._found.set_result(found)


class TranscriptStore(SessionStore):
    """`sink_for` takes the answers' transfers (a `TranscriptTaker`)."""

    def __init__(self, outbox: EventOutbox) -> None:
        self._outbox = outbox
        self._answers: dict[str, Answer] = {}
        self._summaries: dict[TranscriptKey, Any] = {}
        self._tool_uses: OrderedDict[str, asyncio.Event] = OrderedDict()
        self.said: dict[TranscriptKey, int] = {}
        """How many lines of the conversation in each file of this sandbox the store was told."""

    async def append(self, key: SessionKey, entries: list[Entry]) -> None:
        """Raises BatchTooLarge."""
        if entries:
            await self.say(_from_sdk(key), as_lines(entries), entries)
            self._note_tool_uses(entries)

    async def say(
        self, key: TranscriptKey, lines: str, entries: list[Entry], *, replaces: bool = False
    ) -> None:
        """All of a batch or nothing of it: there is no waiting between its pieces, nor after the
        word that it replaces what there was. Raises BatchTooLarge."""
        await self._outbox.room()
        if replaces:
            self._forget(key)
        folded = None if key.subpath else self._folded(key, entries)
        batch = pieces(key, lines, summary=folded and folded["data"])
        if replaces:
            self._outbox.say(TranscriptReplaced(key=key))
        for piece in batch:
            self._outbox.say(piece)
        count = sum(CONVERSATION in as_dict(entry) for entry in entries)
        self.said[key] = self.said.get(key, 0) + count
        if folded is not None:
            self._summaries[key] = folded

    def _forget(self, key: TranscriptKey) -> None:
        """What was said of this file does not count any more."""
        self.said.pop(key, None)
        self._summaries.pop(key, None)

    async def load(self, key: SessionKey) -> list[Entry] | None:
        return await self._lines("load", _from_sdk(key))

    async def list_sessions(self, project_key: str) -> list[Any]:
        return await self._lines("sessions", _of_project(project_key)) or []

    async def list_session_summaries(self, project_key: str) -> list[Any]:
        return await self._lines("summaries", _of_project(project_key)) or []

    async def list_subkeys(self, key: Any) -> list[str]:
        found = await self._lines("subkeys", _from_sdk(key)) or []
        return [as_text(subpath) for subpath in found]

    async def delete(self, key: SessionKey) -> None:
        deleted = _from_sdk(key)
        await self._lines("delete", deleted)
        for known in list(self.said):
            if known == deleted or (not deleted.subpath and _belongs(known, deleted)):
                self._forget(known)

    async def fetch(self, what: What, key: TranscriptKey, take: Callable[[bytes], None]) -> bool:
        """False where there is nothing under the key. Raises StoreUnavailable, and as `take`."""
        ask_id, answer = uuid.uuid4().hex, Answer(take)
        self._answers[ask_id] = answer
        self._outbox.say(TranscriptAsked(ask_id=ask_id, what=what, key=key))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer.found()
        except TimeoutError as error:
            raise StoreUnavailable("The transcript store did not answer in time.") from error
        finally:
            del self._answers[ask_id]

    async def resume(self, key: TranscriptKey) -> None:
        """Summaries of this agent session go on where the store's ends. Raises StoreUnavailable."""
        for summary in await self.list_session_summaries(key.project):
            if as_dict(summary).get("session_id") == key.agent_session:
                self._summaries[key] = summary

    def has_said(self, tool_use_id: str) -> None:
        """The transcript holds this use of a tool."""
        self._tool_use(tool_use_id).set()

    def sink_for(self, ask_id: str) -> TranscriptSink | None:
        return self._answers.get(ask_id)

    async def until_said(self, tool_use_id: str | None) -> None:
        """Returns when the transcript holds this use of a tool, or soon after."""
        if tool_use_id is None:
            return
        try:
            async with asyncio.timeout(SEEN_SECONDS):
                await self._tool_use(tool_use_id).wait()
        except TimeoutError:
            pass  # what is not mirrored by now is repaired before the sandbox goes

    async def _lines(self, what: What, key: TranscriptKey) -> list[Any] | None:
        body = bytearray()

        def take(chunk: bytes) -> None:
            if len(body) + len(chunk) > MAX_ANSWER_BYTES:
                raise StoreUnavailable("The transcript is too large to be read at once.")
            body.extend(chunk)

        if not await self.fetch(what, key, take):
            return None
        return [json.loads(line) for line in bytes(body).split(b"\n") if line]

    def _folded(self, key: TranscriptKey, entries: list[Entry]) -> Any:
        sdk_key = SessionKey(project_key=key.project, session_id=key.agent_session)
        return fold_session_summary(self._summaries.get(key), sdk_key, entries)

    def _note_tool_uses(self, entries: list[Entry]) -> None:
        for entry in entries:
            fields = as_dict(entry)
            if fields.get("type") == "assistant":
                for block in as_list(as_dict(fields.get("message")).get("content")):
                    if as_dict(block).get("type") == "tool_use":
                        self.has_said(as_text(as_dict(block).get("id")))

    def _tool_use(self, tool_use_id: str) -> asyncio.Event:
        known = self._tool_uses.setdefault(tool_use_id, asyncio.Event())
        if len(self._tool_uses) > MAX_KEPT:
            self._tool_uses.popitem(last=False)
        return known


def _from_sdk(key: Any) -> TranscriptKey:
    """Raises ValueError for one that would be cut on its way: it would be another's."""
    named = TranscriptKey(
        project=key["project_key"],
        agent_session=key["session_id"],
        subpath=key.get("subpath") or "",
    )
    if bounded(named) != named:
        raise ValueError("The transcript's name is too long.")
    return named


def _of_project(project_key: str) -> TranscriptKey:
    return TranscriptKey(project=project_key, agent_session="")


def _belongs(key: TranscriptKey, main: TranscriptKey) -> bool:
    return (key.project, key.agent_session) == (main.project, main.agent_session)
