"""A PostgreSQL server of the tests' own: on a unix socket, in a temporary directory, and without
caring for power cuts.

It ends with the process that started it, however that ends; what a killed run left on the disk goes
with the next one.
"""

import contextlib
import ctypes
import fcntl
import getpass
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestrator.setup.postgres import postgres_programs

PREFIX = "casemate-postgres-"
USER = "postgres"
PR_SET_PDEATHSIG = 1
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "32MB",
}
START_SECONDS = 60.0


class NoPostgres(Exception):
    """It is not installed, or does not start."""


class PostgresServer:
    """Made by `running_postgres`. `home` is where its socket is."""

    def __init__(self, home: Path, programs: Path) -> None:
        self.home = home
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        return f"postgresql://{owner()}@/{database}?host={self.home}"

    def start(self) -> None:
        """Returns when it answers. Raises NoPostgres."""
        options = [f"-c{name}={value}" for name, value in SETTINGS.items()]
        command = [self._programs / "postgres", "-D", self.home / "data", *options]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, f"-cunix_socket_directories={self.home}"],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                preexec_fn=ends_with_us(os.getpid()),  # noqa: PLW1509 - it calls the kernel and no more
                **as_owner(),
            )
        deadline = time.monotonic() + START_SECONDS
        while self.sql("SELECT 1") is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NoPostgres((self.home / "log").read_text()[-2000:])
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: at once, and in order. SIGQUIT: as after a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
            self._process = None

    def sql(self, statement: str, *, database: str = "postgres") -> str | None:
        """What it answers; None where it does not."""
        psql = [self._programs / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement]
        done = subprocess.run(
            [*psql, self.url(database)], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None

    def require_passwords(self, role: str) -> None:
        """Of this role, from now on; all others are trusted."""
        rules = self.home / "data" / "pg_hba.conf"
        rules.write_text(f"local all {role} scram-sha-256\n" + rules.read_text())
        self.sql("SELECT pg_reload_conf()")

    def make_database(self, name: str) -> str:
        """Its URL."""
        made = self.sql(f'CREATE DATABASE "{name}" ENCODING UTF8 TEMPLATE template0')
        assert made is not None
        return self.url(name)

    def drop_database(self, name: str) -> None:
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Raises NoPostgres."""
    programs = postgres_programs()
    if programs is None:
        raise NoPostgres("PostgreSQL is not installed")
    sweep(Path(tempfile.gettempdir()))
    home = Path(tempfile.mkdtemp(prefix=PREFIX))
    with held(home):
        try:
            home.chmod(0o755)
            make_cluster(home, programs)
            server = PostgresServer(home, programs)
            server.start()
            try:
                yield server
            finally:
                server.stop()
        finally:
            shutil.rmtree(home, ignore_errors=True)


def make_cluster(home: Path, programs: Path) -> None:
    data = home / "data"
    data.mkdir(mode=0o700)
    shutil.chown(home, owner())
    shutil.chown(data, owner())
    initdb = [programs / "initdb", "-D", data, "-U", owner(), "-A", "trust", "-E", "UTF8", "-N"]
    done = subprocess.run(
        [*initdb, "--locale=C.UTF-8"], capture_output=True, text=True, check=False, **as_owner()
    )
    if done.returncode != 0:
        raise NoPostgres(done.stderr[-2000:])


def owner() -> str:
    """The server refuses to run as root."""
    if os.geteuid() != 0:
        return getpass.getuser()
    try:
        return pwd.getpwnam(USER).pw_name
    except KeyError:
        return "nobody"


def as_owner() -> dict[str, object]:
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(owner())
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def ends_with_us(parent: int) -> Callable[[], None]:
    """Run in the child: the kernel stops it when its parent dies."""

    def prepare() -> None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


@contextlib.contextmanager
def held(home: Path) -> Iterator[None]:
    """Shows to others, for as long as this process lives, that the directory is in use."""
    lock = home.with_name(f"{home.name}.lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def sweep(directory: Path) -> None:
    """Remove what killed runs left: nobody holds their locks."""
    for lock in directory.glob(f"{PREFIX}*.lock"):
        with contextlib.suppress(OSError), lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)
