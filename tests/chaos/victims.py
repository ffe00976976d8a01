"""Where a sandbox's processes and connections are on this machine, and how they come to harm.

Everything here acts on one container that the run itself had made, found by its name.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

PIDFD_GETFD = 438
_libc = ctypes.CDLL(None, use_errno=True)


class NoVictim(Exception):
    """It is gone already, or not there yet."""


def container_of(sandbox_id: str) -> str:
    return f"casemate-{sandbox_id}"


def docker(*arguments: str) -> str:
    """Raises NoVictim where Docker refuses."""
    done = subprocess.run(
        ["docker", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise NoVictim(done.stderr.strip())
    return done.stdout.strip()


def processes(sandbox_id: str) -> dict[int, str]:
    """Each process of the container as the host numbers it, with its command line."""
    first = int(docker("inspect", "-f", "{{.State.Pid}}", container_of(sandbox_id)))
    if not first:
        raise NoVictim("It does not run.")
    found: dict[int, str] = {}
    waiting = [first]
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
            found[pid] = line.decode(errors="replace")
            for thread in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (thread / "children").read_text().split())
    return found


def shim_of(sandbox_id: str) -> int:
    return _one(sandbox_id, " -m shim")


def cli_of(sandbox_id: str) -> int:
    return _one(sandbox_id, "_bundled/claude")


def _one(sandbox_id: str, sign: str) -> int:
    """The outermost one: init itself names the shim in its own line."""
    found = [
        pid
        for pid, line in processes(sandbox_id).items()
        if sign in line and "init" not in line.split(" ")[0]
    ]
    if not found:
        raise NoVictim(f"There is no process with {sign.strip()!r}.")
    return min(found)


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        raise NoVictim("It ended by itself.") from None


def cut_link(sandbox_id: str) -> None:
    """Shut the connection that the shim has to its link, under its hands."""
    pid = shim_of(sandbox_id)
    with _pidfd(pid) as pidfd:
        cut = 0
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(entry.readlink()).startswith("socket:") and _shut(pidfd, int(entry.name)):
                    cut += 1
    if not cut:
        raise NoVictim("It has no connection now.")


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        raise NoVictim(str(error)) from error
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def _shut(pidfd: int, number: int) -> bool:
    """Only a connection to a socket in the slot is shut: the CLI's pipes are sockets, too."""
    fd = _libc.syscall(PIDFD_GETFD, pidfd, number, 0)
    if fd < 0:
        return False
    with socket.socket(fileno=fd) as theirs:
        if theirs.family != socket.AF_UNIX or "link.sock" not in str(theirs.getpeername()):
            return False
        theirs.shutdown(socket.SHUT_RDWR)
        return True
