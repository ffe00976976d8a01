import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from claude_agent_sdk import Transport
from shim import agent as agent_module
from shim.agent import Agent
from shim.agent_client import AgentUnavailable
from shim.outbox import EventOutbox

from orchestrator.protocol import sandbox_events
from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.commands import Interrupt, SetModel, StartTurn
from orchestrator.protocol.ids import TurnId


class FakeCli(Transport):
    """The CLI's end of its pipes: answers what the SDK asks, says what a test wants said."""

    def __init__(self, *, refuses: tuple[str, ...] = ()) -> None:
        self.refuses = refuses
        self.prompts: list[dict[str, Any]] = []
        self.prompted = asyncio.Event()
        self._out: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def say(self, message: dict[str, Any]) -> None:
        self._out.put_nowait(message)

    def end(self) -> None:
        self._out.put_nowait(None)

    def result(self, prompt: int = -1) -> None:
        self.say(
            {"type": "result", "subtype": "success", "duration_ms": 1, "duration_api_ms": 1,
             "is_error": False, "num_turns": 1, "session_id": "s", "result": "done",
             "user_message_uuids": [self.prompts[prompt]["uuid"]]}
        )  # fmt: skip

    async def connect(self) -> None:
        pass

    async def write(self, data: str) -> None:
        message = json.loads(data)
        if message["type"] == "user":
            self.prompts.append(message)
            self.prompted.set()
        elif message["type"] == "control_request":
            self._reply(message)

    def _reply(self, request: dict[str, Any]) -> None:
        reply = {"request_id": request["request_id"], "subtype": "success", "response": {}}
        if request["request"]["subtype"] in self.refuses:
            reply |= {"subtype": "error", "error": "refused"}
        self.say({"type": "control_response", "response": reply})

    async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        while (message := await self._out.get()) is not None:
            yield message

    async def close(self) -> None:
        self.end()

    def is_ready(self) -> bool:
        return True

    async def end_input(self) -> None:
        pass


class Watched(EventOutbox):
    """Keeps what was said, for a test to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[Any] = []
        self._news = asyncio.Event()

    def say(self, event: Any) -> None:
        super().say(event)
        self.said.append(event)
        self._news.set()

    async def first(self, kind: type) -> Any:
        async with asyncio.timeout(10):
            while not (found := [event for event in self.said if isinstance(event, kind)]):
                self._news.clear()
                await self._news.wait()
        return found[0]


class Running:
    def __init__(self, **cli: Any) -> None:
        self.cli = FakeCli(**cli)
        self.outbox = Watched()
        self.agent = Agent(
            AgentSetup(model="m"), outbox=self.outbox, workspace="/", transport=self.cli
        )

    async def __aenter__(self) -> "Running":
        await self.agent.connect()
        self.task = asyncio.create_task(self.agent.run())
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})
        await self.agent.close()

    async def start(self, turn: str) -> None:
        self.cli.prompted.clear()
        self.agent.receive(StartTurn(turn_id=TurnId(turn), text="hi"))
        await asyncio.wait_for(self.cli.prompted.wait(), 10)


async def test_a_turn_that_does_not_react_to_an_interrupt_is_ended(monkeypatch):
    """A stop always ends the turn; its late result ends no other."""
    monkeypatch.setattr(agent_module, "INTERRUPT_PATIENCE", 0.01)
    async with Running() as running:
        await running.start("t1")
        running.agent.receive(Interrupt(turn_id=TurnId("t1")))
        ended = await running.outbox.first(sandbox_events.TurnEnded)
        assert (ended.outcome, ended.subtype) == ("interrupted", "interrupt_timeout")
        await running.start("t2")
        running.outbox.said.clear()
        running.cli.result(prompt=0)
        running.cli.result(prompt=1)
        assert (await running.outbox.first(sandbox_events.TurnEnded)).turn_id == "t2"


async def test_an_interrupt_that_the_cli_refuses_still_ends_the_turn(monkeypatch):
    """Whatever the CLI says to an interrupt, the person's wish is carried out."""
    monkeypatch.setattr(agent_module, "INTERRUPT_PATIENCE", 0.01)
    async with Running(refuses=("interrupt",)) as running:
        await running.start("t1")
        running.agent.receive(Interrupt(turn_id=TurnId("t1")))
        assert (await running.outbox.first(sandbox_events.TurnEnded)).outcome == "interrupted"


async def test_a_refused_command_fails_alone():
    """A model that the CLI refuses is told as a failed command; the agent goes on."""
    async with Running(refuses=("set_model",)) as running:
        running.agent.receive(SetModel(model="nonsense"))
        failed = await running.outbox.first(sandbox_events.CommandFailed)
        assert (failed.command, failed.text) == ("set_model", "refused")
        await running.start("t1")
        running.cli.result()
        assert (await running.outbox.first(sandbox_events.TurnEnded)).outcome == "completed"


async def test_an_unreadable_message_is_noted():
    """A message that the SDK cannot parse is noted, and the next one is read."""
    async with Running() as running:
        await running.start("t1")
        running.cli.say({"type": "assistant"})
        running.cli.result()
        assert (await running.outbox.first(sandbox_events.TurnEnded)).outcome == "completed"
        noted = await running.outbox.first(sandbox_events.SystemNoted)
        assert noted.subtype == "unreadable_message"


async def test_a_cli_that_ends_is_dead():
    """A CLI that closes its output is told as dead; its turn and what it asked stay open, for the
    control plane to say what becomes of them."""
    async with Running() as running:
        await running.start("t1")
        running.cli.end()
        assert (await running.outbox.first(sandbox_events.AgentDied)).exit_code == 0
        assert not any(isinstance(e, sandbox_events.TurnEnded) for e in running.outbox.said)


async def test_a_refused_connection_says_why():
    """An agent that cannot connect tells a sentence."""
    running = Running(refuses=("initialize",))
    with pytest.raises(AgentUnavailable, match="refused"):
        await running.agent.connect()
