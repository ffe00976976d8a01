"""One tool server of the profile, as the agent calls it: each call has an answer in time.

A server that hangs, floods or dies costs its own calls and nothing else. After failures in a row it
is not called for a while (`circuitbreaker`), then one call at a time tries.

NoAnswer       a call that the server has not answered; the sentence is for Claude
"""

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
from circuitbreaker import STATE_OPEN, CircuitBreaker
from mcp import ClientSession
from mcp.shared.exceptions import MCPError
from mcp.types import (
    CONNECTION_CLOSED,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Tool,
)
from pydantic import ValidationError

from orchestrator.protocol.agent import McpServer
from shim import mcp_words as words
from shim.mcp_life import RESTART_PAUSES, ServerLives
from shim.mcp_results import bounded_result, error_result
from shim.mcp_words import Failure

FAILURES = 3
"""Calls in a row without an answer, after which it is not called for a while."""
BREAK_SECONDS = 60


class NoAnswer(Exception):
    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class ToolServer:
    """`start` once, then `call` at any time from any task, and `close`."""

    def __init__(
        self,
        server: McpServer,
        *,
        on_failure: Callable[[Failure], None],
        on_return: Callable[[str], None],
        workspace: str,
        pauses: tuple[float, ...] = RESTART_PAUSES,
    ) -> None:
        self.name = server.name
        self._server = server
        self._on_failure = on_failure
        self._lives = ServerLives(
            server, on_end=on_failure, on_return=on_return, workspace=workspace, pauses=pauses
        )
        self.start = self._lives.start
        self._circuit = CircuitBreaker(
            failure_threshold=FAILURES,
            recovery_timeout=BREAK_SECONDS,
            expected_exception=NoAnswer,
        )
        self._is_tried = False
        """One call tries whether it answers again."""
        self._calls: set[asyncio.Task[CallToolResult]] = set()
        self._checks: set[asyncio.Task[None]] = set()

    @property
    def tools(self) -> list[Tool]:
        return self._lives.tools

    async def close(self) -> None:
        for task in (*self._calls, *self._checks):
            task.cancel()
        await self._lives.close()

    def stop_calls(self) -> None:
        """A person said stop: nobody waits for these any more."""
        for call in self._calls:
            call.cancel()

    async def call(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        """Always an answer, but for a caller that is cancelled itself."""
        session = self._lives.session
        if all(tool != offered.name for offered in self.tools):
            return error_result(f"The tool server `{self.name}` has no tool `{tool}`.")
        if session is None:
            return error_result(words.gone(self.name, for_good=self._lives.is_over))
        if self._circuit.state == STATE_OPEN or self._is_tried:
            seconds = self._circuit.open_remaining
            return error_result(words.not_asked(self.name, seconds=seconds))
        call = asyncio.create_task(self._ask(session, tool, arguments), name=f"call-{tool}")
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        try:
            return await self._answer(call)
        except NoAnswer as none:
            return error_result(none.sentence)
        finally:
            call.cancel()

    async def _answer(self, call: "asyncio.Task[CallToolResult]") -> CallToolResult:
        """Raises NoAnswer. A call that was stopped says nothing about the server."""
        self._is_tried = was_broken = self._circuit.failure_count >= FAILURES
        try:
            await asyncio.wait({call})
        finally:
            self._is_tried = False
        if call.cancelled():
            return error_result("This call was stopped.")
        try:
            with self._circuit:
                return call.result()
        finally:
            if self._circuit.state == STATE_OPEN and not was_broken:
                self._on_failure(Failure(server=self.name, why="broken_off"))

    async def _ask(
        self, session: ClientSession, tool: str, arguments: dict[str, Any]
    ) -> CallToolResult:
        """Raises NoAnswer. Cancelled or late, the server is told so, and looked after."""
        request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=arguments))
        seconds = self._server.call_seconds
        try:
            async with asyncio.timeout(seconds):
                result = await session.send_request(request, CallToolResult)
        except TimeoutError as error:
            self._look_after(session)
            raise NoAnswer(words.took_too_long(self.name, seconds=seconds)) from error
        except asyncio.CancelledError:
            self._look_after(session)
            raise
        except MCPError as error:
            if error.error.code != CONNECTION_CLOSED:
                return error_result(error.error.message[: self._server.max_output_chars])
            raise NoAnswer(words.gone(self.name, for_good=False)) from error
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, RuntimeError) as error:
            raise NoAnswer(words.gone(self.name, for_good=False)) from error
        except ValidationError as error:
            raise NoAnswer(f"The tool server `{self.name}` answered nonsense.") from error
        return bounded_result(result, max_chars=self._server.max_output_chars)

    def _look_after(self, session: ClientSession) -> None:
        check = asyncio.create_task(
            self._lives.end_if_stuck(session), name=f"tool-server-{self.name}-alive"
        )
        self._checks.add(check)
        check.add_done_callback(self._checks.discard)
