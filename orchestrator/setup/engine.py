"""Finds a Docker engine, or brings one up. `engine_plan` decides; here is what looks and acts."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import assert_never

import msgspec

from orchestrator.setup import engine_daemon, engine_search, system_packages
from orchestrator.setup.engine_daemon import DaemonFiles
from orchestrator.setup.engine_plan import (
    AwaitEngine,
    Findings,
    Refuse,
    StartEngine,
    UseEngine,
    plan,
)
from orchestrator.setup.errors import EngineDidNotStart, NoEngine
from orchestrator.setup.progress import Progress, Step

PACKAGES = ["docker.io", "iptables"]
START_SECONDS = 90.0
"""A first start on a slow disk takes 20 s; beyond this it will not come up any more."""
POLL_SECONDS = 0.2
SYSTEMCTL_SECONDS = 120.0


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """One that answers."""

    url: str
    origin: str
    started: bool
    """We started it, or waited for its start."""


def ensure_engine(*, environment: Mapping[str, str], state_dir: Path, progress: Progress) -> Engine:
    """An engine that answers, started and even installed where that is possible.

    `state_dir` gets the log of a dockerd that is started here. Raises NoEngine, EngineDidNotStart,
    PackagesNotInstalled.
    """
    decision = plan(look_around(environment))
    match decision:
        case UseEngine():
            return Engine(url=decision.url, origin=decision.origin, started=False)
        case Refuse():
            raise NoEngine(decision.sentence, advice=decision.advice)
        case AwaitEngine():
            with progress.step("Waiting for the Docker engine") as step:
                _await(step, log=Path("/var/log"), ended=lambda: False)
        case StartEngine():
            if decision.install:
                system_packages.install(PACKAGES, progress=progress)
            with progress.step("Starting the Docker engine") as step:
                _start(decision, step=step, log=state_dir / "dockerd.log")
        case _:
            assert_never(decision)
    return Engine(url=engine_search.DEFAULT_SOCKET, origin="Docker's usual socket", started=True)


def look_around(environment: Mapping[str, str], *, files: DaemonFiles | None = None) -> Findings:
    found = engine_search.candidates(environment, home=Path.home())
    return Findings(
        endpoints=tuple(engine_search.look_at(candidate) for candidate in found),
        is_root=os.geteuid() == 0,
        can_install=system_packages.can_install(),
        daemon_installed=daemon_program() is not None,
        daemon_running=engine_daemon.daemon_process(files or DaemonFiles()) is not None,
        has_systemd=Path("/run/systemd/system").is_dir() and shutil.which("systemctl") is not None,
    )


def daemon_program() -> str | None:
    """dockerd, which a user's PATH often leaves out."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin"
    return shutil.which("dockerd", path=path)


def _start(decision: StartEngine, *, step: Step, log: Path) -> None:
    if decision.with_systemd:
        _start_with_systemd()
        return _await(step, log=log, ended=lambda: False)
    # Installing the package may have started it through its service script.
    if engine_daemon.daemon_process(DaemonFiles()) is not None:
        return _await(step, log=log, ended=lambda: False)
    for path in engine_daemon.remove_stale_pid_files(DaemonFiles()):
        step.say(f"removed {path}, which an earlier engine left behind")
    program = daemon_program()
    if program is None:
        raise NoEngine("dockerd is not there although its package is installed.")
    process = engine_daemon.start_daemon(program, log=log)
    _await(step, log=log, ended=lambda: process.poll() is not None)
    return None


def _start_with_systemd() -> None:
    try:
        subprocess.run(
            ["systemctl", "start", "docker"],  # noqa: S607 -- found on PATH just before
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SYSTEMCTL_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineDidNotStart(
            "systemd could not start the Docker engine.",
            advice="Its reason: journalctl -u docker",
        ) from error


def _await(step: Step, *, log: Path, ended: Callable[[], bool]) -> None:
    """Until it answers. Raises EngineDidNotStart when it ends first, or after START_SECONDS."""
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS:
        if engine_search.state_of(engine_search.DEFAULT_SOCKET) == "answers":
            return
        if ended():
            raise EngineDidNotStart(
                f"The Docker engine ended at once. {engine_daemon.last_complaint(log)}".strip(),
                advice=f"Its log is {log}.",
            )
        step.say(f"{time.monotonic() - began:.0f} s")
        time.sleep(POLL_SECONDS)
    raise EngineDidNotStart(
        f"The Docker engine does not answer after {START_SECONDS:.0f} s.",
        advice=f"Look into {log}, or stop it and run this again.",
    )
