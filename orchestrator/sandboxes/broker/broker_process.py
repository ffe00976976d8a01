"""The process of a broker of our own, whoever started it: told to end, and waited for.

By descriptor, not by number: a number may be another process's by the time that it is used.
"""

import asyncio
import contextlib
import os
import signal
import socket
import struct
import subprocess
from pathlib import Path
from typing import Self

import structlog

from orchestrator.sandboxes.broker.packets import packet_socket, ready
from orchestrator.sandboxes.errors import BrokerUnreachable

_CREDENTIALS = struct.Struct("3i")

_log = structlog.get_logger(__name__)


class BrokerProcess:
    """`close` it, or wait until it has `ended`."""

    def __init__(
        self, pid: int, descriptor: int, *, child: "subprocess.Popen[bytes] | None" = None
    ) -> None:
        self.pid = pid
        self._descriptor = descriptor
        self._child = child

    @classmethod
    def of_child(cls, child: "subprocess.Popen[bytes]") -> Self:
        return cls(child.pid, os.pidfd_open(child.pid), child=child)

    @classmethod
    def behind(cls, connection: socket.socket) -> Self:
        """Who listens at the other end. Raises BrokerUnreachable, where that cannot be told; then
        the connection is closed."""
        told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid = int(_CREDENTIALS.unpack(told)[0])
        try:
            process = cls(pid, os.pidfd_open(pid))
            _require_open(connection)
        except OSError as error:
            connection.close()
            raise BrokerUnreachable("The broker ended in this moment.") from error
        return process

    @property
    def is_child(self) -> bool:
        return self._child is not None

    def tell_to_end(self) -> None:
        """It does so once no control plane is connected."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    async def ended(self, *, limit: float) -> None:
        """Waits for its end; one that hangs is killed. Idempotent."""
        if self._descriptor < 0:
            return
        try:
            async with asyncio.timeout(limit):
                await self._over()
        except TimeoutError:
            _log.error("broker.killed", pid=self.pid, limit=limit)
            self._signal(signal.SIGKILL)
            await self._over()
        _log.info("broker.ended", pid=self.pid)
        self.close()

    async def _over(self) -> None:
        with _Pollable(self._descriptor) as pollable:
            await ready(pollable, reading=True)

    def close(self) -> None:
        """It may live on. Idempotent."""
        if self._child is not None:
            self._child.poll()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class _Pollable:
    """What of a socket `ready` needs, on a descriptor that is none."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _require_open(connection: socket.socket) -> None:
    """Raises OSError where the other end is gone: then its number may be somebody else's."""
    with contextlib.suppress(BlockingIOError):
        if not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
            raise ConnectionResetError


def listening_at(path: Path) -> BrokerProcess | None:
    """The broker that listens there; None where none does."""
    with packet_socket() as probe, contextlib.suppress(OSError, BrokerUnreachable):
        probe.settimeout(0)
        probe.connect(str(path))
        return BrokerProcess.behind(probe)
    return None
