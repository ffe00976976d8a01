"""Owns the sandbox's one `ClaudeSDKClient`: carries out commands, reports what the agent says.

The client's messages are read all the time, not only in a turn: background tasks speak between
turns, and a CLI that dies is noticed at once. Every call into the client has a limit.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, assert_never

from claude_agent_sdk import (
    ClaudeSDKClient,
    ClaudeSDKError,
    Message,
    ProcessError,
    ResultMessage,
    Transport,
)
from claude_agent_sdk._errors import MessageParseError

from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.commands import (
    AnswerPermission,
    AnswerQuestion,
    Interrupt,
    OpenTransfer,
    SandboxCommand,
    SetModel,
    SetPermissionMode,
    StartTurn,
)
from orchestrator.protocol.ids import TurnId
from orchestrator.protocol.sandbox_events import (
    AgentDied,
    CommandFailed,
    ModelChanged,
    PermissionModeChanged,
    SystemNoted,
)
from orchestrator.protocol.wire import Unrecognised
from shim.cli_process import wait_for_exit
from shim.context import ContextGauge
from shim.hooks import Hooks
from shim.measurements import say_memory
from shim.options import WORKSPACE, agent_options
from shim.outbox import EventOutbox
from shim.permissions import AnswerUnexpected, InputChanged, Permissions
from shim.policies import Policies
from shim.stderr import StderrTail
from shim.translation import Translator
from shim.turns import Turn, TurnRunning, Turns

CONNECT_SECONDS = 90.0
"""The first start of all reads 380 MB from a cold disk."""
CALL_SECONDS = 10.0
"""For what the CLI answers by itself: model, mode, interrupt."""
INTERRUPT_PATIENCE = 10.0
"""From an interrupt to the end of its turn; then the turn is ended without the CLI."""
EPITAPH_SECONDS = 2.0
"""How long a dead CLI's last words and exit code may take."""
CLOSE_SECONDS = 3.0
MAX_COMMANDS = 100
"""Commands that wait for an earlier one. The control plane sends a few."""

log = logging.getLogger("shim.agent")


class AgentUnavailable(Exception):
    """The agent could not be connected; `sentence` says why."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class Agent:
    """`receive` takes commands at any time; `run` reports until the agent is gone."""

    def __init__(
        self,
        setup: AgentSetup,
        *,
        outbox: EventOutbox,
        workspace: str = WORKSPACE,
        transport: Transport | None = None,
    ) -> None:
        self._outbox = outbox
        self._say = outbox.say
        self._stderr = StderrTail(outbox.say)
        self._turns = Turns(outbox.say)
        self._policies = Policies(setup)
        self._hooks = Hooks(outbox.say, policies=self._policies, turns=self._turns)
        self._permissions = Permissions(
            outbox.say, allowed_tools=setup.allowed_tools, forbids=self._hooks.forbids
        )
        self._translator = Translator()
        self._context = ContextGauge()
        self._commands: asyncio.Queue[SandboxCommand] = asyncio.Queue(MAX_COMMANDS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_gone = False
        self._client = ClaudeSDKClient(
            agent_options(
                setup,
                can_use_tool=self._permissions.can_use_tool,
                stderr=self._stderr,
                hooks=self._hooks.matchers(),
                workspace=workspace,
            ),
            transport=transport,
        )

    async def connect(self) -> None:
        """Raises AgentUnavailable."""
        await self._policies.load()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._client.connect()
        except TimeoutError as error:
            raise AgentUnavailable("The agent did not start in time.") from error
        except Exception as error:
            last_words = " ".join(self._stderr.lines()[-5:])
            raise AgentUnavailable(f"{error} {last_words}".strip()[:2000]) from error

    async def run(self) -> None:
        """Until the agent is gone. Then its turn is ended and its death is said."""
        obeying = asyncio.create_task(self._obey_commands(), name="commands")
        reading = asyncio.create_task(self._read(), name="messages")
        watching = asyncio.create_task(wait_for_exit(), name="cli-process")
        try:
            await asyncio.wait({reading, watching}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({reading}, timeout=EPITAPH_SECONDS)
            self._bury(reading.result() if reading.done() else AgentDied(text="The CLI is gone."))
        finally:
            for task in (obeying, reading, watching, *self._tasks):
                task.cancel()
            await asyncio.gather(obeying, reading, watching, *self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Ends the CLI. What it does not end by then ends with the container."""
        self._permissions.withdraw_all()
        self._policies.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._client.disconnect()
        except Exception as error:  # noqa: BLE001 - nothing more can be done about it
            log.warning("agent.not_closed", extra={"reason": str(error)})

    def receive(self, command: SandboxCommand) -> None:
        """Answers and interrupts overtake what waits; the rest is done in order."""
        match command:
            case AnswerPermission() | AnswerQuestion():
                self._answer(command)
            case Interrupt():
                self._spawn(self._interrupt(command.turn_id), name="interrupt")
            case Unrecognised():
                self._fail(command.tag, "This sandbox does not know that command.")
            case _ if self._is_gone:
                self._refuse(command)
            case _:
                self._enqueue(command)

    def _enqueue(self, command: SandboxCommand) -> None:
        try:
            self._commands.put_nowait(command)
        except asyncio.QueueFull:
            self._fail(_tag(command), "Too many commands are waiting.")

    def _answer(self, command: AnswerPermission | AnswerQuestion) -> None:
        try:
            if isinstance(command, AnswerPermission):
                self._permissions.answer_permission(command)
            else:
                self._permissions.answer_question(command)
        except AnswerUnexpected:
            self._fail(_tag(command), "That question is no longer open.")
        except InputChanged:
            self._fail(_tag(command), "The answer was for another input, so it was denied.")

    async def _obey_commands(self) -> None:
        while True:
            command = await self._commands.get()
            try:
                await self._obey(command)
            except Exception as error:  # noqa: BLE001 - of the SDK; one command is no reason to die
                self._fail(_tag(command), str(error) or type(error).__name__)

    async def _obey(self, command: SandboxCommand) -> None:
        match command:
            case StartTurn():
                await self._start_turn(command)
            case SetModel():
                async with asyncio.timeout(CALL_SECONDS):
                    await self._client.set_model(command.model)
                self._say(ModelChanged(model=command.model))
            case SetPermissionMode():
                async with asyncio.timeout(CALL_SECONDS):
                    await self._client.set_permission_mode(command.mode)
                self._say(PermissionModeChanged(mode=command.mode))
            case AnswerPermission() | AnswerQuestion() | Interrupt() | Unrecognised():
                pass  # done when they were received
            case OpenTransfer():
                pass  # not the agent's (see `transfers`)
            case _:
                assert_never(command)

    async def _start_turn(self, command: StartTurn) -> None:
        try:
            turn = self._turns.begin(command.turn_id)
        except TurnRunning:
            self._fail(_tag(command), "A turn is running.")
            return
        if not await self._may_go_on(turn, command.text):
            return
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._client.query(turn.prompt(command.text))
        except Exception as error:  # noqa: BLE001 - nothing more can be done about it
            text = str(error) or type(error).__name__
            self._turns.cut_off(outcome="failed", subtype="prompt_not_taken", text=text)

    async def _may_go_on(self, turn: Turn, prompt: str) -> bool:
        """Ends the turn of a prompt that is refused, or was stopped while it was judged."""
        refused = await self._hooks.refusal(turn.id, prompt)
        if self._turns.current is not turn:
            return False
        if refused is not None:
            self._turns.cut_off(outcome="failed", subtype="prompt_blocked", text=refused.reason)
            return False
        if turn.stopped:
            self._turns.cut_off(outcome="interrupted", subtype="stopped", text="")
            return False
        return True

    async def _interrupt(self, turn_id: TurnId) -> None:
        turn = self._turns.current
        if turn is None or turn.id != turn_id:
            return
        turn.stopped = True
        self._permissions.withdraw_all()
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._client.interrupt()
        except Exception as error:  # noqa: BLE001 - nothing more can be done about it
            log.warning("interrupt.failed", extra={"reason": str(error)})
        try:
            async with asyncio.timeout(INTERRUPT_PATIENCE):
                await turn.ended.wait()
        except TimeoutError:
            if self._turns.current is turn:
                self._turns.cut_off(
                    outcome="interrupted", subtype="interrupt_timeout", text="It did not react."
                )

    async def _read(self) -> AgentDied:
        while True:
            try:
                async for message in self._client.receive_messages():
                    await self._outbox.room()
                    self._take(message)
            except MessageParseError as error:  # the next one may be well
                self._say(SystemNoted(subtype="unreadable_message", data={"error": str(error)}))
            except ProcessError as error:
                return AgentDied(exit_code=error.exit_code, text=str(error))
            except ClaudeSDKError as error:
                return AgentDied(text=str(error))
            else:
                return AgentDied(exit_code=0, text="The CLI ended.")

    def _take(self, message: Message) -> None:
        for event in self._translator.translate(message):
            self._say(event)
        measured = self._context.take(message)
        if isinstance(message, ResultMessage) and self._turns.take(message):
            say_memory(self._say)
        if measured is not None:
            self._say(measured)

    def _bury(self, death: AgentDied) -> None:
        self._is_gone = True
        self._permissions.withdraw_all()
        self._turns.cut_off(outcome="failed", subtype="agent_died", text=death.text)
        while not self._commands.empty():
            self._refuse(self._commands.get_nowait())
        self._say(
            AgentDied(exit_code=death.exit_code, text=death.text, stderr=self._stderr.lines())
        )

    def _refuse(self, command: SandboxCommand) -> None:
        """The agent is gone; a turn still has to have an end."""
        if isinstance(command, StartTurn):
            self._turns.begin(command.turn_id)
            self._turns.cut_off(outcome="failed", subtype="agent_died", text="The agent is gone.")
        else:
            self._fail(_tag(command), "The agent is gone.")

    def _fail(self, command: str, text: str) -> None:
        self._say(CommandFailed(command=command, text=text[:2000]))

    def _spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Hold a task; one that fails is logged, and nothing else."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("task.failed", extra={"task": task.get_name(), "reason": repr(error)})


def _tag(command: SandboxCommand) -> str:
    return str(command.__struct_config__.tag)
