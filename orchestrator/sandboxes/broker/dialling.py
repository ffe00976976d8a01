"""How a control plane gets its connection: from a broker that listens, or from one of its own.

A broker that an operator runs is dialled at its socket. One of our own is found by its socket's
name, which says of what it was made; where there is none it is started, with a connection that it
inherits and an environment that the caller composed: it has no use for any secret. It outlives us
for a while, so that whoever comes after us can go on with its sandboxes.
"""

import asyncio
import fcntl
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from orchestrator.sandboxes.broker.broker_process import BrokerProcess, listening_at
from orchestrator.sandboxes.broker.packets import packet_pair, packet_socket
from orchestrator.sandboxes.errors import BrokerFailure, BrokerTaken, BrokerUnreachable

SUFFIX = ".sock"
LOCK = "control-plane.lock"
LOCK_REST = 0.1

_log = structlog.get_logger(__name__)


class BrokerAddress:
    """A `Dial` to a broker that somebody else runs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __call__(self) -> socket.socket:
        try:
            return dialled(self._path)
        except OSError as error:
            sentence = (
                f"No broker can be reached at {self._path}: {error.strerror}. "
                "Start one with `casemate broker`."
            )
            raise BrokerUnreachable(sentence) from error

    def hung(self) -> None:
        """It is for its operator to end."""


class OwnBroker:
    """A `Dial` to a broker of this installation alone: the living one, or a new one.

    `folder` holds the socket, and nobody else may look into it. `make` says of what a broker would
    be made now (its version, its profiles, its settings): one that was made otherwise is ended,
    with its sandboxes. An async context manager: only one at a time can be inside; leaving it waits
    until the broker that was used has ended, which it does where it was told good-bye.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        make: str,
        start_limit: float,
        close_limit: float,
    ) -> None:
        self._command = command
        self._environment = environment
        self._folder = folder
        self._path = folder / f"{make}{SUFFIX}"
        self._start_limit = start_limit
        self._close_limit = close_limit
        self._used: BrokerProcess | None = None
        self._is_hung = False
        self._lock: int | None = None

    @property
    def pid(self) -> int | None:
        return None if self._used is None else self._used.pid

    async def __aenter__(self) -> Self:
        """Raises BrokerTaken, where another control plane of this installation is running and does
        not end soon, and BrokerFailure."""
        try:
            self._lock = _opened(self._folder)
            async with asyncio.timeout(self._start_limit):
                while not _locked(self._lock):  # noqa: ASYNC110 - the kernel wakes nobody for it
                    await asyncio.sleep(LOCK_REST)
        except TimeoutError as error:
            self._unlock()
            raise BrokerTaken("Another Casemate of this installation is running.") from error
        except OSError as error:
            self._unlock()
            sentence = f"{self._folder} cannot be used for a broker: {error.strerror}."
            raise BrokerFailure(sentence) from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._used is not None:
                self._used.tell_to_end()  # our good-bye may not have reached it
                await self._used.ended(limit=self._close_limit)
        finally:
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def __call__(self) -> socket.socket:
        """Raises BrokerFailure."""
        if self._is_hung and self._used is not None:
            self._used.tell_to_end()
            await self._used.ended(limit=self._close_limit)
        self._is_hung = False
        await self._end_others()
        try:
            connection = dialled(self._path)
        except OSError:
            return await self._started()
        self._take(BrokerProcess.behind(connection))
        _log.info("broker.found_alive", pid=self.pid)
        return connection

    def hung(self) -> None:
        self._is_hung = True

    async def _end_others(self) -> None:
        """Those that were made otherwise, and what is left of some that were killed."""
        for path in self._folder.glob(f"*{SUFFIX}"):
            if path == self._path:
                continue
            process = listening_at(path)
            if process is None:
                path.unlink(missing_ok=True)
                continue
            _log.info("broker.replaced", pid=process.pid)
            process.tell_to_end()
            await process.ended(limit=self._close_limit)

    async def _started(self) -> socket.socket:
        """Only one can hold the slots: it waits for one before it that is still ending."""
        if self._used is not None and self._used.is_child:
            await self._used.ended(limit=self._close_limit)
        try:
            ours, child = await self._spawned()
        except OSError as error:
            sentence = f"The broker could not be started: {error.strerror}."
            raise BrokerFailure(sentence) from error
        self._take(child)
        _log.info("broker.started", pid=self.pid)
        return ours

    async def _spawned(self) -> tuple[socket.socket, BrokerProcess]:
        """Raises OSError."""
        ours, theirs = packet_pair()
        try:
            with theirs:
                child = await asyncio.to_thread(self._spawn, theirs.fileno())
            return ours, BrokerProcess.of_child(child)
        except OSError:
            ours.close()  # one that was started even so is found at its path
            raise

    def _spawn(self, connection: int) -> "subprocess.Popen[bytes]":
        arguments = ("--connection", str(connection), "--listen", str(self._path))
        return subprocess.Popen(  # noqa: S603 - our own command
            [*self._command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # whoever reads ours shall not wait for its end, too
            env=dict(self._environment),
            pass_fds=(connection,),
            start_new_session=True,  # what ends us, like Ctrl-C in a terminal, shall not end it
        )

    def _take(self, process: BrokerProcess) -> None:
        if self._used is not None:
            self._used.close()
        self._used = process


def dialled(path: Path) -> socket.socket:
    """Raises OSError."""
    connection = packet_socket()
    try:
        connection.settimeout(0)
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def _opened(folder: Path) -> int:
    """The lock's descriptor, which no program that we start inherits. Raises OSError."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PermissionError(1, "others may look into it")
    return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
