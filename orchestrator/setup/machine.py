"""Looks at this machine and its Docker engine for the doctor. Judges nothing."""

import grp
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker

from orchestrator.sandboxes.settings import EngineSettings, SlotSettings
from orchestrator.setup import engine_search
from orchestrator.setup.engine_examination import EngineFacts
from orchestrator.setup.errors import NoEngine
from orchestrator.setup.host_examination import HostFacts, IdRange, Place

CGROUPS, PROCESSES = Path("/sys/fs/cgroup"), Path("/proc")
RUNSC_SECONDS = 5.0


def look_at_engine(url: str, settings: EngineSettings) -> EngineFacts:
    """Raises NoEngine."""
    try:
        client = docker.DockerClient(base_url=url, timeout=engine_search.ANSWER_SECONDS)
        try:
            info, version = client.info(), client.version()
            found = client.networks.list(names=["bridge"])
            bridge = found[0].attrs.get("Options") or {} if found else {}
        finally:
            client.close()
    except docker.errors.DockerException as error:
        raise NoEngine(f"The Docker engine at {url} does not answer.") from error
    return EngineFacts(
        info=info,
        version=version,
        bridge=bridge,
        runsc_version=_runsc_version(info),
        capabilities=_capabilities(_engine_process()),
        wanted=settings.runtime,
    )


def _runsc_version(info: dict[str, Any]) -> str:
    program = ((info.get("Runtimes") or {}).get("runsc") or {}).get("path")
    found = shutil.which(program) if program else None
    if found is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603 -- the program that the engine itself runs
            [found, "--version"], capture_output=True, text=True, timeout=RUNSC_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.split("\n", 1)[0]


def _engine_process() -> int | None:
    for entry in PROCESSES.iterdir():
        try:
            if entry.name.isdigit() and (entry / "comm").read_text().strip() == "dockerd":
                return int(entry.name)
        except OSError:
            continue
    return None


def _capabilities(pid: int | None) -> int | None:
    try:
        lines = (PROCESSES / str(pid) / "status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), None)


def look_at_host(*, data_dir: Path, slots: SlotSettings, engine_url: str | None) -> HostFacts:
    socket = _place(Path(urlsplit(engine_url).path)) if engine_url else None
    return HostFacts(
        uid=os.geteuid(),
        kernel=os.uname().release,
        cgroup_controllers=tuple(_controllers(CGROUPS)),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        disk_free=shutil.disk_usage(_existing(data_dir)).free,
        data=_place(data_dir.absolute()),
        slots_file_system=file_system(
            _existing(slots.root), mounts=(PROCESSES / "self/mountinfo").read_text()
        ),
        socket=socket,
        socket_group=tuple(_group(socket)),
        ids=(*_people(Path("/etc/passwd")), *_subordinate(Path("/etc/subuid"))),
    )


def _controllers(root: Path) -> list[str]:
    try:
        return (root / "cgroup.controllers").read_text().split()
    except OSError:
        pass
    try:
        return [entry.name for entry in root.iterdir() if entry.is_dir()]
    except OSError:
        return []


def _existing(path: Path) -> Path:
    """It, or the nearest directory above it that is there."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path.resolve()


def _place(path: Path) -> Place | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return Place(path=path, owner=status.st_uid, mode=stat.S_IMODE(status.st_mode))


def file_system(path: Path, *, mounts: str) -> str:
    """The type of what is mounted there, by the text of /proc/self/mountinfo."""
    best, found = -1, "an unknown file system"
    for line in mounts.splitlines():
        own, _, rest = line.partition(" - ")
        fields = own.split()
        if len(fields) < 5 or not rest:  # noqa: PLR2004 -- the fifth is the mount point
            continue
        point = Path(fields[4].replace("\\040", " "))
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, found = len(point.parts), rest.split()[0]
    return found


def _group(socket: Place | None) -> list[str]:
    """The members of the socket's group, where that group may write to it."""
    if socket is None or not socket.mode & stat.S_IWGRP:
        return []
    try:
        return [name for name in grp.getgrgid(socket.path.stat().st_gid).gr_mem if name != "root"]
    except (KeyError, OSError):
        return []


def _rows(path: Path) -> list[list[str]]:
    try:
        return [line.split(":") for line in path.read_text(errors="replace").splitlines()]
    except OSError:
        return []


def _people(passwd: Path) -> list[IdRange]:
    rows = [row for row in _rows(passwd) if len(row) > 2 and row[2].isdigit()]  # noqa: PLR2004
    return [IdRange(name=row[0], first=int(row[2])) for row in rows]


def _subordinate(subuid: Path) -> list[IdRange]:
    rows = [row for row in _rows(subuid) if len(row) == 3 and (row[1] + row[2]).isdigit()]  # noqa: PLR2004
    ranges = [
        IdRange(name=f"{row[0]} (subordinate)", first=int(row[1]), count=int(row[2]))
        for row in rows
    ]
    return [one for one in ranges if one.count]
