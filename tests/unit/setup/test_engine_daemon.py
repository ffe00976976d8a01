from pathlib import Path

import pytest

from orchestrator.setup.engine_daemon import (
    DaemonFiles,
    daemon_process,
    last_complaint,
    remove_stale_pid_files,
    start_daemon,
)
from orchestrator.setup.errors import EngineDidNotStart


@pytest.fixture
def files(tmp_path: Path) -> DaemonFiles:
    for pid, name, state in (
        (10, "dockerd", "S (sleeping)"),
        (11, "containerd", "S (sleeping)"),
        (12, "postgres", "R (running)"),
        (13, "dockerd", "Z (zombie)"),
    ):
        (tmp_path / "proc" / str(pid)).mkdir(parents=True)
        status = f"Name:\t{name}\nUmask:\t0022\nState:\t{state}\n"
        (tmp_path / "proc" / str(pid) / "status").write_text(status)
    return DaemonFiles(
        pid=tmp_path / "docker.pid",
        containerd_pid=tmp_path / "containerd.pid",
        processes=tmp_path / "proc",
    )


def test_living_engine_keeps_its_files(files: DaemonFiles):
    """What a living dockerd and containerd wrote is left alone."""
    files.pid.write_text("10")
    files.containerd_pid.write_text("11\n")
    assert daemon_process(files) == 10
    assert remove_stale_pid_files(files) == []


@pytest.mark.parametrize("content", ["99", "12", "13", "", "rubbish"])
def test_stale_pid_files_go(files: DaemonFiles, content: str):
    """A pid file of a dead process, a zombie, another program, or with rubbish in it goes."""
    files.pid.write_text(content)
    files.containerd_pid.write_text(content)
    assert daemon_process(files) is None
    assert remove_stale_pid_files(files) == [files.pid, files.containerd_pid]
    assert not files.pid.exists()


def test_containerd_that_outlived_its_dockerd(files: DaemonFiles):
    """A containerd that still runs is left for the next dockerd to take over."""
    files.pid.write_text("99")
    files.containerd_pid.write_text("11")
    assert remove_stale_pid_files(files) == [files.pid]


def test_last_complaint(tmp_path: Path):
    """Of a daemon's log the line is told that says why it ended."""
    log = tmp_path / "log"
    assert last_complaint(log) == ""
    log.write_bytes(b"level=info up\n\xff\nfailed to start daemon: no iptables\nlevel=info bye\n")
    assert last_complaint(log) == "failed to start daemon: no iptables"


def test_daemon_runs_in_a_session_of_its_own(tmp_path: Path):
    """Its output goes to the log, and the terminal's Ctrl-C does not reach it."""
    program = tmp_path / "daemon"
    program.write_text("#!/bin/sh\nps -o sid= -p $$ | tr -d ' '\necho $PATH\n")
    program.chmod(0o755)
    log = tmp_path / "state" / "log"
    process = start_daemon(str(program), log=log)
    process.wait(10)
    session, path = log.read_text().splitlines()
    assert int(session) == process.pid
    assert "/usr/sbin" in path


def test_daemon_that_cannot_start(tmp_path: Path):
    """A program that is gone is told as a sentence."""
    with pytest.raises(EngineDidNotStart, match="could not be started"):
        start_daemon(str(tmp_path / "none"), log=tmp_path / "log")
