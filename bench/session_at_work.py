"""A session with files and a conversation, as a person has it after an hour, and that person.

For benches that harm it: it prompts, runs again what was lost, and knows when the next token came
and when the model was asked for it.
"""

import secrets
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import msgspec

from orchestrator.protocol.chat import RunAgain, Stop
from orchestrator.protocol.control_events import CheckpointTaken, PromptUnfinished
from orchestrator.protocol.ids import ClientId
from orchestrator.protocol.sandbox_events import (
    BlockDelta,
    PermissionRequested,
    TextWritten,
    TurnEnded,
)
from orchestrator.testing.chat_client import ApiClient, Chat, decision_on
from orchestrator.testing.scripted_model import ScriptedModel

LIMIT = 60.0
FILES, FILE_BYTES = 200, 104_858
"""20 MiB in all, of what cannot be compressed."""
TURNS = 10
MAKE_FILES = (
    f"for n in $(seq {FILES}); do head -c {FILE_BYTES} /dev/urandom >file-$n; done; ls | wc -l"
)


class Taken(msgspec.Struct, frozen=True):
    """Seconds since it began."""

    token: float
    """Until the next token was in the browser."""
    asked: float | None = None
    """Until the request for it was at the model."""


class Person:
    """Entered, it follows a new session; left, the session is ended."""

    def __init__(self, api: ApiClient, model: ScriptedModel, session: str = "") -> None:
        self.api = api
        self._model = model
        self._open = AsyncExitStack()
        self.session, self.checkpoint = session, ""
        self.chat: Chat

    async def __aenter__(self) -> Self:
        await self.begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.go_away()
        await self.api.end(self.session)

    async def begin(self) -> None:
        self.session = (await self.api.create())["id"]
        await self.come_back()

    async def come_back(self) -> None:
        """Raises aiohttp.ClientError while nobody answers."""
        self.chat = await self._open.enter_async_context(self.api.chat(self.session))

    async def go_away(self) -> None:
        await self._open.aclose()

    @property
    def sandbox(self) -> str:
        view = self.chat.view
        assert view is not None, "It was followed from its first frame on."
        assert view.sandbox_id is not None, "It is awake."
        return view.sandbox_id

    async def prepare(self) -> None:
        """Files, a conversation of ten turns, and a checkpoint of both."""
        await self.run(MAKE_FILES)
        _, first = await self.chat.next(CheckpointTaken)
        for _ in range(TURNS - 2):
            await self.chat.turn("!say 60 words")
        before = await self.chat.prompt("!bash date >now")
        await self.allow(after=before)
        await self.chat.next(TurnEnded, after=before)
        _, taken = await self.chat.next(CheckpointTaken, after=before)
        assert taken.entries > FILES > first.entries - 2
        self.checkpoint = taken.checkpoint_id

    async def run(self, command: str) -> None:
        before = await self.chat.prompt(f"!bash {command}")
        await self.allow(after=before)
        await self.chat.next(TurnEnded, after=before, limit=LIMIT)

    async def allow(self, *, after: int) -> None:
        _, asked = await self.chat.next(PermissionRequested, after=after)
        await self.chat.send(decision_on(asked, "allow"))

    async def rests(self) -> None:
        await self.chat.until(lambda c: c.view and c.view.state == "idle", limit=LIMIT)

    # --- what is timed -----------------------------------------------------------------------

    async def first_of(self, text: str, *, since: float) -> Taken:
        """Prompt now; the token that comes of it."""
        mark = secrets.token_hex(6)
        before = await self.chat.prompt(f"{text}\n[{mark}]")
        taken = await self._taken(before, mark, since)
        await self.chat.next(TurnEnded, after=before, limit=LIMIT)
        return taken

    async def talk(self) -> tuple[int, str]:
        """A long turn is under way and its words arrive: since which event, and its mark."""
        mark = secrets.token_hex(6)
        before = await self.chat.prompt(f"!say 3000 words at 20/s\n[{mark}]")
        seq, _ = await self.chat.next(BlockDelta, after=before)
        await self.chat.until(lambda c: c.seq > seq + 5)
        return before, mark

    async def run_again(self, since: int, mark: str, *, began: float) -> Taken:
        """As soon as it is offered."""
        seq, lost = await self.chat.next(PromptUnfinished, after=since, limit=LIMIT)
        again = ClientId(secrets.token_hex(8))
        await self.chat.send(RunAgain(client_id=again, unfinished=lost.client_id))
        taken = await self._taken(seq, mark, began)
        await self.stop(after=seq)
        return taken

    async def stop(self, *, after: int) -> None:
        await self.chat.send(Stop())
        await self.chat.next(TurnEnded, after=after, limit=LIMIT)
        await self.rests()

    async def _taken(self, after: int, mark: str, since: float) -> Taken:
        seq = await self.chat.until(lambda c: _first_word(c, after), limit=LIMIT)
        return Taken(self.chat.arrived[seq] - since, self._asked(mark, since))

    def _asked(self, mark: str, since: float) -> float | None:
        return next(
            (r.at - since for r in self._model.requests if r.at > since and _names(r.body, mark)),
            None,
        )


async def sign_in_again(api: ApiClient, name: str, password: str) -> None:
    """A token lives for some minutes."""
    body = {"username": name, "password": password}
    _, answer, _ = await api.request("POST", "/api/v1/auth/token", json=body)
    api.http.headers["Authorization"] = f"Bearer {answer['access_token']}"


async def frozen(chat: Chat) -> None:
    await chat.until(lambda c: c.view and c.view.frozen, limit=LIMIT)


async def hibernated(chat: Chat) -> None:
    await chat.until(lambda c: c.view and c.view.state == "hibernated", limit=LIMIT)


def reach(chat: Chat) -> dict[str, int]:
    """How many characters of each message have arrived."""
    found: dict[str, int] = {}
    for e in chat.of(BlockDelta):
        found[e.message_id] = max(found.get(e.message_id, 0), e.offset + len(e.text))
    return found


def beyond(chat: Chat, known: dict[str, int]) -> int | None:
    """The event that brought more of one, or of another."""
    return next(
        (
            seq
            for seq, e in chat.events
            if isinstance(e, BlockDelta) and e.offset + len(e.text) > known.get(e.message_id, 0)
        ),
        None,
    )


def _first_word(chat: Chat, after: int) -> int | None:
    return next(
        (
            seq
            for seq, event in chat.events
            if seq > after and isinstance(event, BlockDelta | TextWritten)
        ),
        None,
    )


def _names(body: Any, mark: str) -> bool:
    return mark.encode() in msgspec.json.encode(body)
