"""How a control plane gets its connection: from a broker that listens, or from one it starts.

A broker that is started here is a child with one inherited connection, which nobody else can open,
and with an environment that the caller composed: it has no use for any secret. It ends when the
connection does, for whatever reason, and takes its sandboxes with it.
"""

import asyncio
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from orchestrator.sandboxes.broker.packets import packet_pair, packet_socket
from orchestrator.sandboxes.errors import BrokerFailure, BrokerUnreachable

LEAVE_LIMIT = 5.0
"""Seconds for a child that lost its connection to end by itself, before the next one is started."""

_log = structlog.get_logger(__name__)


class BrokerAddress:
    """A `Dial` to a broker of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __call__(self) -> socket.socket:
        connection = packet_socket()
        try:
            connection.settimeout(0)
            connection.connect(str(self._path))
        except OSError as error:
            connection.close()
            sentence = (
                f"No broker can be reached at {self._path}: {error.strerror}. "
                "Start one with `casemate broker`."
            )
            raise BrokerUnreachable(sentence) from error
        return connection


class BrokerChild:
    """A `Dial` that starts a broker for each connection. An async context manager: leaving it
    waits until the last one has removed everything."""

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], close_limit: float
    ) -> None:
        self._command = command
        self._environment = environment
        self._close_limit = close_limit
        self._child: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._until_ended(limit=self._close_limit)

    async def __call__(self) -> socket.socket:
        await self._until_ended(limit=LEAVE_LIMIT)
        ours, theirs = packet_pair()
        with theirs:
            try:
                self._child = await asyncio.create_subprocess_exec(
                    *self._command,
                    "--connection",
                    str(theirs.fileno()),
                    stdin=subprocess.DEVNULL,
                    env=dict(self._environment),
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,  # Ctrl-C is for us: we still need it then
                )
            except OSError as error:
                ours.close()
                sentence = f"The broker could not be started: {error.strerror}."
                raise BrokerFailure(sentence) from error
        _log.info("broker.started", pid=self._child.pid)
        return ours

    async def _until_ended(self, *, limit: float) -> None:
        """Its connection is gone, so it is on its way; one that hangs is killed."""
        if self._child is None:
            return
        try:
            async with asyncio.timeout(limit):
                status = await self._child.wait()
        except TimeoutError:
            _log.error("broker.killed", pid=self._child.pid, limit=limit)
            self._child.kill()
            status = await self._child.wait()
        _log.info("broker.ended", pid=self._child.pid, status=status)
        self._child = None
