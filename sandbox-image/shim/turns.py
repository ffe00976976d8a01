"""Which turn is under way, and which result is whose.

The CLI also runs turns of its own (a background task woke it) and answers late what was given up.
A turn takes the result that names its prompt, so that neither ends another's turn.
"""

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Any

from claude_agent_sdk import ResultMessage

from orchestrator.protocol.ids import TurnId
from orchestrator.protocol.sandbox_events import SandboxEvent
from orchestrator.protocol.task_events import TaskFinished, TaskStarted
from shim.foreign_values import as_dict, as_list
from shim.turn_processes import identities, running
from shim.turn_results import Outcome, turn_cut_off, turn_ended

MAX_GIVEN_UP = 32
MAX_KNOWN = 1_000
"""Turns that are remembered. What is sent twice comes soon."""


class TurnRunning(Exception):
    """There is one already; the control plane queues."""


class TurnKnown(Exception):
    """It was begun before."""


class Turn:
    def __init__(self, turn_id: TurnId) -> None:
        self.id = turn_id
        self.processes = identities(running().values())
        """What ran in the sandbox when it began."""
        self.open_tasks: set[str] = set()
        """Subagents and commands in the background that it began."""
        self.prompt_id = str(uuid.uuid4())
        self.began = time.monotonic()
        self.stopped = False
        self.was_taken_up = False
        self.is_lost = False
        self.ended = asyncio.Event()

    async def prompt(self, text: str) -> AsyncIterator[dict[str, Any]]:
        """The one message that the CLI is given, named so that its result can be told."""
        yield {
            "type": "user",
            "message": {"role": "user", "content": text},
            "parent_tool_use_id": None,
            "uuid": self.prompt_id,
        }


class Turns:
    def __init__(self, say: Callable[[SandboxEvent], None]) -> None:
        self._say = say
        self._given_up: list[str] = []
        """Prompts whose turns were ended without their result, which may still come."""
        self._known: OrderedDict[TurnId, None] = OrderedDict()
        self.current: Turn | None = None

    def begin(self, turn_id: TurnId) -> Turn:
        """Raises TurnKnown, TurnRunning."""
        if turn_id in self._known:
            raise TurnKnown
        if self.current is not None:
            raise TurnRunning
        self._known[turn_id] = None
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        self.current = Turn(turn_id)
        return self.current

    def take_up(self, turn_id: TurnId) -> Turn:
        """A turn of an earlier sandbox goes on: whatever result comes next is its own. Raises as
        `begin`."""
        turn = self.begin(turn_id)
        turn.was_taken_up = True
        return turn

    async def lose(self, turn: Turn, *, seconds: float) -> None:
        """A turn that was taken up does not go on after all. Nothing is said of its result, which
        must not be taken for that of the next one."""
        turn.is_lost = True
        try:
            async with asyncio.timeout(seconds):
                await turn.ended.wait()
        except TimeoutError:
            self.cut_off(outcome="interrupted", subtype="lost", text="")

    def follow_tasks(self, event: SandboxEvent) -> None:
        """What works in the background belongs to the turn that began it."""
        if self.current is None:
            return
        if isinstance(event, TaskStarted):
            self.current.open_tasks.add(event.task_id)
        elif isinstance(event, TaskFinished):
            self.current.open_tasks.discard(event.task_id)

    def take(self, result: ResultMessage) -> bool:
        """Ends the current turn, if this is its result."""
        turn = self.current
        if turn is None or not self._is_result_of(turn, result):
            return False
        self._end(turn, turn_ended(result, turn_id=turn.id, stopped=turn.stopped))
        return True

    def cut_off(self, *, outcome: Outcome, subtype: str, text: str) -> None:
        """Ends the current turn, if there is one, without a result."""
        turn = self.current
        if turn is None:
            return
        self._given_up = [*self._given_up[-MAX_GIVEN_UP:], turn.prompt_id]
        took = int((time.monotonic() - turn.began) * 1000)
        ended = turn_cut_off(turn.id, outcome=outcome, subtype=subtype, text=text, duration_ms=took)
        self._end(turn, ended)

    def abandon(self) -> None:
        """Its agent is gone: for this sandbox the current turn is over, and nothing is said."""
        turn, self.current = self.current, None
        if turn is not None:
            turn.ended.set()

    def _end(self, turn: Turn, ended: SandboxEvent) -> None:
        self.current = None
        turn.ended.set()
        if not turn.is_lost:
            self._say(ended)

    def _is_result_of(self, turn: Turn, result: ResultMessage) -> bool:
        if turn.was_taken_up:
            return True
        prompts = {*as_list(result.user_message_uuids), result.user_message_uuid} - {None}
        late = prompts.intersection(self._given_up)
        self._given_up = [prompt for prompt in self._given_up if prompt not in late]
        if prompts:
            return turn.prompt_id in prompts
        return as_dict(result.origin).get("kind") in (None, "human")
