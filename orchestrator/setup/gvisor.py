"""gVisor to try sandboxes with: a runsc, and a second Docker engine that has it registered.

That engine has a socket, storage and containers of its own, and the machine's own one is not
touched: registering runsc there is its operator's decision, for which docs/operating.md has the
words. What is installed lies in a folder, and nothing else of the system is changed.
"""

import json
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import docker
import msgspec
from docker.errors import DockerException, ImageNotFound

from orchestrator.setup import engine_daemon, engine_search
from orchestrator.setup.engine import daemon_program
from orchestrator.setup.engine_daemon import DaemonFiles
from orchestrator.setup.engine_examination import OLDEST_RUNSC, RUNSC_ARGUMENTS, runsc_release
from orchestrator.setup.errors import EngineDidNotStart, NoEngine, PackagesNotInstalled
from orchestrator.setup.progress import Progress

RUN = Path("/run/casemate/gvisor")
"""Of the second engine: its socket and what does not outlast it. Short, as sockets' paths are."""
SOCKET = f"unix://{RUN}/docker.sock"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
START_SECONDS, POLL_SECONDS = 60.0, 0.2
APT_SECONDS, COPY_SECONDS = 300.0, 600


class SecondEngine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it keeps what."""

    home: Path
    """Images, log, and runsc where it had to be fetched."""
    run: Path = RUN

    def arguments(self) -> list[str]:
        """It makes no networks, so that it needs no rules of the machine's firewall."""
        return [
            *("--config-file", str(self.home / "daemon.json")),
            *("--data-root", str(self.home / "storage"), "--exec-root", str(self.run / "exec")),
            *(
                "--pidfile",
                str(self.run / "docker.pid"),
                "--host",
                f"unix://{self.run}/docker.sock",
            ),
            *("--bridge", "none", "--iptables=false", "--ip-forward=false"),
        ]

    def files(self) -> DaemonFiles:
        containerd = self.run / "exec" / "containerd" / "containerd.pid"
        return DaemonFiles(pid=self.run / "docker.pid", containerd_pid=containerd)


def ensure_gvisor_engine(*, home: Path, image: str, progress: Progress) -> str:
    """The address of the second engine, which runs, with the machine's own engine's image in it.

    Raises NoEngine, EngineDidNotStart, PackagesNotInstalled.
    """
    engine = SecondEngine(home=home)
    if not engine_search.answers(SOCKET):
        runsc = ensure_runsc(home, progress=progress)
        with progress.step("Starting a second Docker engine, with gVisor"):
            _start(engine, runsc=runsc)
    _copy_image(image, progress=progress)
    return SOCKET


# --- runsc ---------------------------------------------------------------------------------------


def ensure_runsc(home: Path, *, progress: Progress) -> Path:
    """A runsc that is new enough: the installed one, or Debian's newest. Raises
    PackagesNotInstalled."""
    found = shutil.which("runsc")
    for program in (Path(found) if found else None, home / "usr/bin/runsc"):
        if program is not None and _is_new_enough(program):
            return program
    with progress.step("Fetching gVisor's runsc"):
        for suite in _suites():
            if _fetch(suite, home) and _is_new_enough(home / "usr/bin/runsc"):
                return home / "usr/bin/runsc"
    raise PackagesNotInstalled(
        "There is no runsc that is new enough.",
        advice="Install gVisor's runsc of 2023 or later, so that it is found as `runsc`.",
    )


def _is_new_enough(program: Path) -> bool:
    said = _said([str(program), "--version"], seconds=10)
    release = runsc_release(said or "")
    return release is not None and release >= OLDEST_RUNSC


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """A part of Debian, at the mirror that this machine uses."""

    mirror: str
    name: str


def _suites() -> list[Suite]:
    """Debian's own, and its backports: the system need not have these among its sources."""
    wanted = ["apt-get", "indextargets", "--format", "$(SITE)|$(CODENAME)|$(LABEL)|$(COMPONENT)"]
    return suites(_said([*wanted, "Created-By: Packages"], seconds=30) or "")


def suites(targets: str) -> list[Suite]:
    """From what `apt-get indextargets` says; nothing for a system that is not Debian."""
    rows = [line.split("|") for line in targets.splitlines()]
    own = [
        Suite(mirror=site, name=name)
        for site, name, label, component in (row for row in rows if len(row) == 4)  # noqa: PLR2004
        if label == "Debian" and component == "main" and re.fullmatch(r"[a-z]+", name)
    ]
    return [one for suite in own for one in (suite, _backports(suite))][:4]


def _backports(suite: Suite) -> Suite:
    return Suite(mirror=suite.mirror, name=f"{suite.name}-backports")


def _fetch(suite: Suite, home: Path) -> bool:
    """Unpack the suite's runsc below `home`, with package lists that are thrown away again."""
    work = home / "apt"
    shutil.rmtree(work, ignore_errors=True)
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    source = f"Types: deb\nURIs: {suite.mirror}\nSuites: {suite.name}\nComponents: main\n"
    (work / "only.sources").write_text(f"{source}Signed-By: {KEYRING}\n")
    settings = {
        "Dir::Etc::sourcelist": work / "only.sources",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": work / "lists",
        "Dir::Cache": work / "cache",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in settings.items())]
    got = _said([*apt, "update"], seconds=APT_SECONDS) is not None and (
        _said([*apt, "download", "runsc"], seconds=APT_SECONDS, cwd=work) is not None
    )
    packages = list(work.glob("runsc_*.deb")) if got else []
    done = [_said(["dpkg-deb", "-x", str(one), str(home)], seconds=60) for one in packages]
    shutil.rmtree(work, ignore_errors=True)
    return bool(done) and None not in done


def _said(command: list[str], *, seconds: float, cwd: Path | None = None) -> str | None:
    """What a command wrote, or None where it failed."""
    try:
        done = subprocess.run(  # noqa: S603 -- fixed programs, arguments of our own
            command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=seconds, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


# --- the engine ----------------------------------------------------------------------------------


def _start(engine: SecondEngine, *, runsc: Path) -> None:
    program = daemon_program()
    if program is None or platform.system() != "Linux":
        raise NoEngine("dockerd is not installed.", advice="`casemate prepare engine` installs it.")
    for folder in (engine.home, engine.run):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    runtime = {"path": str(runsc), "runtimeArgs": list(RUNSC_ARGUMENTS)}
    (engine.home / "daemon.json").write_text(json.dumps({"runtimes": {"runsc": runtime}}))
    if engine_daemon.daemon_process(engine.files()) is None:
        engine_daemon.remove_stale_pid_files(engine.files())
        log = engine.home / "dockerd.log"
        # In a network namespace of its own: an engine without a bridge removes one named docker0,
        # which is that of the machine's own engine.
        process = engine_daemon.start_daemon(
            "unshare", log=log, arguments=["--net", program, *engine.arguments()]
        )
        _await(log, ended=lambda: process.poll() is not None)
    else:
        _await(engine.home / "dockerd.log", ended=lambda: False)


def _await(log: Path, *, ended: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not engine_search.answers(SOCKET):
        if ended() or time.monotonic() - began > START_SECONDS:
            complaint = engine_daemon.last_complaint(log)
            sentence = f"The second Docker engine did not start. {complaint}".strip()
            raise EngineDidNotStart(sentence, advice=f"Its log is {log}.")
        time.sleep(POLL_SECONDS)


def _copy_image(tag: str, *, progress: Progress) -> None:
    """From the machine's own engine, where that has it: it would take minutes to build again."""
    try:
        source = docker.from_env(timeout=COPY_SECONDS)
        target = docker.DockerClient(base_url=SOCKET, timeout=COPY_SECONDS)
        image = source.images.get(tag)
        if image.id in {one.id for one in target.images.list()}:
            return
        with progress.step("Copying the sandbox image to the second engine"):
            target.images.load(image.save(named=True))
    except ImageNotFound:
        return
    except DockerException as error:
        progress.note(f"The image was not copied, so it is built again: {error}")
