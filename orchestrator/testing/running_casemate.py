"""A whole Casemate as its users meet it: the `casemate` command in a process of its own.

For integration tests, browser tests and benches. It gets a fresh data directory, a free port, slots
and an instance name of its own, so that several can run beside each other on one Docker host.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

START_LIMIT = 120.0
STOP_LIMIT = 40.0
LINK_LIMIT = 10.0


class NotRunning(RuntimeError):
    """It ended or did not become ready; the message holds the end of its log."""


class RunningCasemate:
    """`url` is where it listens; `log` is everything that it wrote. `program` is what Python runs
    to serve: the `casemate` command, or a script that hands it what only tests bring."""

    def __init__(
        self, environment: Mapping[str, str], *, program: tuple[str, ...] = ("-m", "orchestrator")
    ) -> None:
        self._program = program
        self.instance = f"test-{secrets.token_hex(4)}"
        self.home = Path(tempfile.mkdtemp(prefix="casemate-"))
        self.slots = (Path("/run/casemate") if os.geteuid() == 0 else self.home) / "tests"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {**self._own_environment(), **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def _own_environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CASEMATE_", "ANTHROPIC_", "CLAUDE_"))
        }
        return inherited | {
            "CASEMATE_PORT": str(self.port),
            "CASEMATE_SERVER_DATA_DIR": str(self.home / "data"),
            "CASEMATE_SLOTS_ROOT": str(self.slots),
            "CASEMATE_ENGINE_INSTANCE": self.instance,
            "CASEMATE_TELEMETRY_LOG_FORMAT": "json",
            "CASEMATE_ENV_FILE": os.devnull,
        }

    @property
    def log(self) -> str:
        path = self.home / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def environment(self) -> dict[str, str]:
        """What its processes are started with."""
        return dict(self._environment)

    @property
    def broker_pid(self) -> int:
        """Its broker, whoever started it; raises NotRunning while there is none."""
        listening = bytes(self.slots / self.instance / "broker")
        for process in Path("/proc").iterdir():
            try:
                if process.name.isdigit() and listening in (process / "cmdline").read_bytes():
                    return int(process.name)
            except OSError:  # it ended in this moment
                continue
        raise NotRunning("It has no broker now.")

    def command(self, *arguments: str, stdin: str = "") -> str:
        """Run the `casemate` command on the same data. Raises NotRunning where it fails."""
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "orchestrator", *arguments],
            env=self._environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise NotRunning(f"casemate {arguments[0]}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def add_user(self, name: str, password: str, *, role: str = "user") -> None:
        self.command("users", "add", name, "--role", role, "--password", stdin=f"{password}\n")

    def start(
        self,
        *arguments: str,
        ready: str = "/health/ready",
        user: int | None = None,
        interpreter: str = sys.executable,
    ) -> None:
        """Start serving, as this user, and wait until it says that it is ready."""
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [interpreter, *self._program, *(arguments or ("serve", "--demo"))],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        deadline = time.monotonic() + START_LIMIT
        while not self._answers(ready):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NotRunning(f"It did not become ready:\n{self.log[-6000:]}")
            time.sleep(0.05)

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=2) as answer:  # noqa: S310
                return bool(answer.status == 200)  # noqa: PLR2004
        except (urllib.error.URLError, OSError):
            return False

    def stop(self, *, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """End it and return its exit status; idempotent."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(with_signal)
        try:
            return self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def sign_in_link(self) -> str:
        """The last one-time link that it printed. It may come a moment after it is ready."""
        deadline = time.monotonic() + LINK_LIMIT
        while not (links := re.findall(r"https?://\S+#link=\S+", self.log)):
            if time.monotonic() > deadline:
                raise NotRunning(f"It printed no sign-in link:\n{self.log[-3000:]}")
            time.sleep(0.05)
        return str(links[-1])

    def containers(self) -> list[str]:
        """The ids of the containers that it has now."""
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["docker", "ps", "-aq", "--filter", f"label=casemate.instance={self.instance}"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return done.stdout.split()

    def slot_directories(self) -> list[Path]:
        own = self.slots / self.instance
        return sorted(own.glob("[0-9a-f]" * 32)) if own.exists() else []

    def remove(self) -> None:
        """Take away whatever is left of it."""
        for container in self.containers():
            subprocess.run(["docker", "rm", "-f", container], capture_output=True, check=False)  # noqa: S603, S607
        shutil.rmtree(self.slots / self.instance, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)


@contextmanager
def running_casemate(
    environment: Mapping[str, str] | None = None,
    *,
    arguments: tuple[str, ...] = (),
    users: Mapping[str, str] | None = None,
    program: tuple[str, ...] = ("-m", "orchestrator"),
) -> Iterator[RunningCasemate]:
    """A started one. `users` maps names to passwords; `admin` gets the role of that name."""
    casemate = RunningCasemate(environment or {}, program=program)
    try:
        for name, password in (users or {}).items():
            casemate.add_user(name, password, role="admin" if name == "admin" else "user")
        casemate.start(*arguments)
        yield casemate
    finally:
        casemate.stop()
        casemate.remove()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
