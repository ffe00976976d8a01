"""Where a broker of its own is reached: a socket file, and who may come in.

Who calls is asked of the kernel, not of the caller. A peer of any other user is sent away with a
sentence before a word of it is read.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from orchestrator.sandboxes.background import BackgroundTasks
from orchestrator.sandboxes.broker.packets import PacketSocket, packet_socket, ready
from orchestrator.sandboxes.errors import BrokerUnreachable

BACKLOG = 16
CONNECTIONS = 8
"""One control plane has one; others that try have one each until they are told."""
ACCEPT_REST = 0.1
"""Seconds after a failure to accept, such as no descriptor being left."""
_CREDENTIALS = struct.Struct("3i")

_log = structlog.get_logger(__name__)


class BrokerListener:
    """An async context manager. `converse` is called for each peer that may come in, `refuse` for
    every other; both own the connection."""

    def __init__(
        self,
        path: Path,
        *,
        client_uid: int | None,
        converse: Callable[[PacketSocket], Awaitable[None]],
        refuse: Callable[[PacketSocket], Awaitable[None]],
    ) -> None:
        self._path = path
        self._client_uid = client_uid
        self._allowed = frozenset({0, os.geteuid(), client_uid})
        self._converse = converse
        self._refuse = refuse
        self._listening: socket.socket | None = None
        self._open = 0
        self._tasks = BackgroundTasks()

    async def __aenter__(self) -> "BrokerListener":
        """Raises BrokerUnreachable where it cannot listen, or another broker does already."""
        try:
            self._listening = self._listen()
        except OSError as error:
            sentence = f"The broker cannot listen at {self._path}: {error.strerror}."
            raise BrokerUnreachable(sentence) from error
        self._tasks.start(self._accept_all(self._listening), name="broker-accept")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._tasks.close()
        if self._listening is not None:
            self._path.unlink(missing_ok=True)
            self._listening.close()

    def _listen(self) -> socket.socket:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._remove_stale()
        listening = packet_socket()
        try:
            listening.settimeout(0)
            listening.bind(str(self._path))
            self._path.chmod(0o600)
            self._let_client_in()
            listening.listen(BACKLOG)
        except BaseException:
            listening.close()
            raise
        return listening

    def _let_client_in(self) -> None:
        if self._client_uid in (None, os.geteuid()):
            return
        if os.geteuid() == 0:
            os.chown(self._path, self._client_uid or 0, -1)
        else:
            self._path.chmod(0o666)  # who calls is asked of the kernel anyway

    def _remove_stale(self) -> None:
        """What a broker that was killed left. Raises OSError where one is alive."""
        if not self._path.is_socket():
            return
        with packet_socket() as probe, contextlib.suppress(ConnectionRefusedError):
            probe.settimeout(0)
            probe.connect(str(self._path))
            raise FileExistsError(0, "another broker listens there")
        self._path.unlink(missing_ok=True)

    async def _accept_all(self, listening: socket.socket) -> None:
        while True:
            await ready(listening, reading=True)
            try:
                self._accept(listening)
            except BlockingIOError:
                pass
            except OSError as error:
                _log.warning("connection.not_accepted", reason=error.strerror)
                await asyncio.sleep(ACCEPT_REST)

    def _accept(self, listening: socket.socket) -> None:
        connection, _ = listening.accept()
        if self._open >= CONNECTIONS:
            connection.close()
            return
        self._open += 1
        uid = peer_uid(connection)
        answer = self._converse if uid in self._allowed else self._refuse
        if answer is self._refuse:
            _log.warning("connection.refused", uid=uid)
        self._tasks.start(self._attend(answer, PacketSocket(connection)), name="broker-connection")

    async def _attend(
        self, answer: Callable[[PacketSocket], Awaitable[None]], connection: PacketSocket
    ) -> None:
        try:
            await answer(connection)
        finally:
            self._open -= 1


def peer_uid(connection: socket.socket) -> int:
    """Whose process connected, as the kernel knows it."""
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(told)[1])
