"""Owns the sandbox's agent: carries out commands, reports what the agent says.

There is one client at a time, and another one after the agent was resumed (see `agent_client`).
Every call into it has a limit.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, assert_never

import msgspec
from claude_agent_sdk import (
    ClaudeAgentOptions,
    Message,
    MirrorErrorMessage,
    ResultMessage,
    Transport,
)

from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.commands import (
    AnswerPermission,
    AnswerQuestion,
    Interrupt,
    OpenTransfer,
    ResumeAgent,
    SandboxCommand,
    SetModel,
    SetPermissionMode,
    StartTurn,
    SyncTranscript,
)
from orchestrator.protocol.ids import TurnId
from orchestrator.protocol.sandbox_events import (
    AgentDied,
    AgentResumed,
    CommandFailed,
    ConversationReset,
    ModelChanged,
    PermissionModeChanged,
    SystemNoted,
)
from orchestrator.protocol.transcripts import TranscriptSynced
from orchestrator.protocol.wire import Unrecognised
from shim.agent_client import AgentClient, AgentClients
from shim.context import ContextGauge
from shim.foreign_values import as_dict, as_text
from shim.hooks import Hooks
from shim.mcp_servers import ToolServers
from shim.measurements import say_memory
from shim.options import WORKSPACE, agent_options
from shim.outbox import EventOutbox
from shim.permissions import AnswerUnexpected, InputChanged, Permissions
from shim.policies import Policies
from shim.resuming import NotResumed, Resuming
from shim.stderr import StderrTail
from shim.stopping import end_processes, stop_turn
from shim.transcript_files import TranscriptFiles
from shim.transcript_store import TranscriptStore
from shim.translation import Translator
from shim.turns import Turn, TurnKnown, TurnRunning, Turns

CALL_SECONDS = 10.0
"""For what the CLI answers by itself: model, mode, interrupt."""
INTERRUPT_PATIENCE = 10.0
"""From an interrupt to the end of its turn; then the turn is ended without the CLI."""
MAX_COMMANDS = 100
"""Commands that wait for an earlier one. The control plane sends a few."""

log = logging.getLogger("shim.agent")


class Agent:
    """`receive` takes commands at any time; `run` reports until the agent is gone."""

    def __init__(
        self,
        setup: AgentSetup,
        *,
        outbox: EventOutbox,
        workspace: str = WORKSPACE,
        servers: ToolServers | None = None,
        transport: Transport | None = None,
        contained: bool = False,
    ) -> None:
        self._setup = setup
        self._contained = contained
        self._outbox = outbox
        self._workspace = workspace
        self._say = outbox.say
        self.transcripts = TranscriptStore(outbox)
        self._files = TranscriptFiles(self.transcripts, workspace=workspace)
        self._stderr = StderrTail(outbox.say)
        self._turns = Turns(outbox.say)
        self._policies = Policies(setup)
        self._servers = servers or ToolServers([], say=outbox.say, workspace=workspace)
        self._hooks = Hooks(outbox.say, self._servers, policies=self._policies, turns=self._turns)
        self._permissions = Permissions(
            outbox.say,
            allowed_tools=setup.allowed_tools,
            forbids=self._hooks.forbids,
            before_asking=self.transcripts.until_said,
        )
        self._translator = Translator()
        self._context = ContextGauge()
        self._commands: asyncio.Queue[SandboxCommand] = asyncio.Queue(MAX_COMMANDS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._syncing = asyncio.Lock()
        self._is_gone = False
        self._clients = AgentClients(self._new_client(self._options(setup), transport=transport))
        self._resuming = Resuming(
            files=self._files,
            clients=self._clients,
            permissions=self._permissions,
            turns=self._turns,
            new_client=self._next_client,
            contained=contained,
        )

    def _options(self, setup: AgentSetup, *, resume: str | None = None) -> ClaudeAgentOptions:
        return agent_options(
            setup,
            can_use_tool=self._permissions.can_use_tool,
            stderr=self._stderr,
            store=self.transcripts,
            hooks=self._hooks.matchers(),
            servers=self._servers.options(),
            workspace=self._workspace,
            resume=resume,
        )

    def _new_client(
        self, options: ClaudeAgentOptions, *, transport: Transport | None = None
    ) -> AgentClient:
        return AgentClient(
            options,
            take=self._take,
            unreadable=self._note_unreadable,
            room=self._outbox.room,
            last_words=self._stderr.lines,
            transport=transport,
        )

    async def connect(self) -> None:
        """Raises AgentUnavailable."""
        await self._policies.load()
        await self._client.connect()

    @property
    def _client(self) -> AgentClient:
        return self._clients.current

    async def run(self) -> None:
        """Until the agent is gone. Then its death is said: what becomes of its turn and of what it
        asked is not for its sandbox to say."""
        obeying = asyncio.create_task(self._obey_commands(), name="commands")
        try:
            self._bury(await self._clients.death())
        finally:
            for task in (obeying, *self._tasks):
                task.cancel()
            await asyncio.gather(obeying, *self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Ends the CLI. What it does not end by then ends with the container."""
        self._permissions.close()
        self._policies.close()
        await self._client.close()
        await self._servers.close()

    def say_open_again(self) -> None:
        """The control plane does not know any more what is asked of it."""
        self._permissions.say_again()

    def receive(self, command: SandboxCommand) -> None:
        """Answers and interrupts overtake what waits; the rest is done in order."""
        match command:
            case AnswerPermission() | AnswerQuestion():
                self._answer(command)
            case Interrupt():
                self._spawn(self._interrupt(command.turn_id), name="interrupt")
            case SyncTranscript():
                self._spawn(self._sync(command), name="sync")
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
            case ResumeAgent():
                await self._resume(command)
            case SetModel():
                async with asyncio.timeout(CALL_SECONDS):
                    await self._client.sdk.set_model(command.model)
                self._say(ModelChanged(model=command.model))
            case SetPermissionMode():
                async with asyncio.timeout(CALL_SECONDS):
                    await self._client.sdk.set_permission_mode(command.mode)
                self._say(PermissionModeChanged(mode=command.mode))
            case (
                AnswerPermission()
                | AnswerQuestion()
                | Interrupt()
                | SyncTranscript()
                | Unrecognised()
            ):
                pass  # done when they were received
            case OpenTransfer():
                pass  # not the agent's (see `transfers`)
            case _:
                assert_never(command)

    async def _start_turn(self, command: StartTurn) -> None:
        try:
            turn = self._turns.begin(command.turn_id)
        except TurnKnown:
            return  # it was sent twice
        except TurnRunning:
            self._fail(_tag(command), "A turn is running.")
            return
        if not await self._may_go_on(turn, command.text):
            return
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._client.sdk.query(turn.prompt(command.text))
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
        self._servers.stop_calls()
        await stop_turn(turn, self._client, contained=self._contained)
        try:
            async with asyncio.timeout(INTERRUPT_PATIENCE):
                await turn.ended.wait()
        except TimeoutError:
            if self._turns.current is turn:
                self._turns.cut_off(
                    outcome="interrupted", subtype="interrupt_timeout", text="It did not react."
                )
        await end_processes(turn, self._client, contained=self._contained)  # begun since then

    async def _sync(self, command: SyncTranscript) -> None:
        async with self._syncing:
            try:
                repaired = await self._files.sync()
            except OSError as error:
                self._fail(_tag(command), str(error))
            else:
                self._say(TranscriptSynced(sync_id=command.sync_id, repaired=repaired))

    async def _resume(self, command: ResumeAgent) -> None:
        """The agent that there is stays until there is something to take its place."""
        began = time.monotonic()
        if self._turns.current is not None:
            self._fail(_tag(command), "A turn is running.")
            return
        try:
            resumed = await self._resuming.resume(command)
        except NotResumed as failure:
            self._fail(_tag(command), failure.sentence)
            return
        took = int((time.monotonic() - began) * 1000)
        session = command.agent_session_id
        self._say(AgentResumed(agent_session_id=session, took_ms=took, pending=resumed.asks))
        if resumed.anew:
            self._say(ConversationReset(agent_session_id=session))
            return
        for event in self._translator.resumed(self._files.todo_entries(session)):
            self._say(event)

    def _next_client(self, command: ResumeAgent, resume: str | None) -> AgentClient:
        setup = msgspec.structs.replace(
            self._setup,
            model=command.model or self._setup.model,
            permission_mode=command.permission_mode or self._setup.permission_mode,
        )
        self._permissions.withdraw_all()
        self._translator = Translator()
        return self._new_client(self._options(setup, resume=resume))

    def _take(self, message: Message) -> None:
        for event in self._translator.translate(message):
            self._turns.follow_tasks(event)
            self._say(event)
        if isinstance(message, MirrorErrorMessage):
            self._files.distrust(as_text(as_dict(message.key).get("session_id")))
        measured = self._context.take(message)
        if isinstance(message, ResultMessage) and self._turns.take(message):
            say_memory(self._say)
        if measured is not None:
            self._say(measured)

    def _note_unreadable(self, error: str) -> None:
        self._say(SystemNoted(subtype="unreadable_message", data={"error": error}))

    def _bury(self, death: AgentDied) -> None:
        self._is_gone = True
        self._permissions.close()
        self._turns.abandon()
        while not self._commands.empty():
            self._refuse(self._commands.get_nowait())
        self._say(
            AgentDied(exit_code=death.exit_code, text=death.text, stderr=self._stderr.lines())
        )

    def _refuse(self, command: SandboxCommand) -> None:
        """The agent is gone. A turn that began too late for it is open all the same."""
        if not isinstance(command, StartTurn):
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
