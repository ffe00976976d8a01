"""Starts dockerd on a machine without systemd, whatever an earlier one left behind.

Not for: stopping it. Containers of others may run there, so an engine that was started stays.
"""

import contextlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from orchestrator.setup.errors import EngineDidNotStart

LOG_TAIL_BYTES = 4096


class DaemonFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Where dockerd keeps what matters at its start."""

    pid: Path = Path("/var/run/docker.pid")
    containerd_pid: Path = Path("/var/run/docker/containerd/containerd.pid")
    processes: Path = Path("/proc")


def daemon_process(files: DaemonFiles) -> int | None:
    """The running dockerd that the pid file names, if there is one."""
    return _named_process(files.pid, program="dockerd", processes=files.processes)


def remove_stale_pid_files(files: DaemonFiles) -> list[Path]:
    """Remove those that name a dead process or another program, and return them.

    dockerd trusts the number alone: after a reboot, in a restored machine, or where nobody reaps
    the dead, it then refuses to start, or waits for a containerd that never answers. A containerd
    that really outlived its dockerd is left alone: the next dockerd takes it over.
    """
    stale = []
    for path, program in ((files.pid, "dockerd"), (files.containerd_pid, "containerd")):
        if path.exists() and not _named_process(path, program=program, processes=files.processes):
            path.unlink(missing_ok=True)
            stale.append(path)
    return stale


def _named_process(pid_file: Path, *, program: str, processes: Path) -> int | None:
    try:
        pid = int(pid_file.read_text().strip())
        status = (processes / str(pid) / "status").read_text(errors="replace")
    except (OSError, ValueError):
        return None
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    # A zombie has its number and name still, which is enough to deceive dockerd.
    is_alive = not facts.get("State", "").startswith(("Z", "X"))
    return pid if facts.get("Name") == program and is_alive else None


def start_daemon(
    program: str, *, log: Path, arguments: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, so that Ctrl-C and the terminal's end do not reach it."""
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # dockerd finds runc, containerd and iptables by PATH, and a trimmed one lacks the sbin folders.
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
    try:
        with log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603 -- the dockerd that was found on PATH
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/",
                env={**os.environ, "PATH": path},
            )
    except OSError as error:
        raise EngineDidNotStart(f"{program} could not be started: {error.strerror}.") from error


def last_complaint(log: Path) -> str:
    """The last line of the log that says why it ended, or nothing."""
    with contextlib.suppress(OSError):
        tail = log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        lines = [line.strip() for line in tail.splitlines() if line.strip()]
        telling = [line for line in lines if "level=fatal" in line or "failed to" in line]
        return (telling or lines or [""])[-1]
    return ""
