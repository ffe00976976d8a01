"""Where a Docker engine might be, in the order of Docker's own client, and whether it answers."""

import errno
import hashlib
import json
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import msgspec
import requests

from orchestrator.setup.engine_plan import Endpoint, EngineState

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
ANSWER_SECONDS = 5.0


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    origin: str
    chosen: bool


def candidates(environment: Mapping[str, str], *, home: Path) -> list[Candidate]:
    """DOCKER_HOST, the chosen context, then the sockets that engines open by themselves."""
    if url := environment.get("DOCKER_HOST"):
        return [Candidate(url=url, origin="DOCKER_HOST", chosen=True)]
    if found := _context(environment, home=home):
        return [found]
    sockets = [Candidate(url=DEFAULT_SOCKET, origin="Docker's usual socket", chosen=False)]
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        rootless = f"unix://{runtime}/docker.sock"
        sockets.append(Candidate(url=rootless, origin="rootless Docker's socket", chosen=False))
    return sockets


def _context(environment: Mapping[str, str], *, home: Path) -> Candidate | None:
    folder = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
    name = environment.get("DOCKER_CONTEXT") or _read(folder / "config.json").get("currentContext")
    if not isinstance(name, str) or name in {"", "default"}:
        return None
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = _read(folder / "contexts" / "meta" / digest / "meta.json")
    try:
        url = str(meta["Endpoints"]["docker"]["Host"])
    except (KeyError, TypeError):
        url = f"context://{name}"
    return Candidate(url=url, origin=f'The Docker context "{name}"', chosen=True)


def _read(path: Path) -> dict[str, Any]:
    """A file of Docker's client; one that is missing or broken says nothing."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def look_at(candidate: Candidate) -> Endpoint:
    return Endpoint(
        url=candidate.url,
        origin=candidate.origin,
        chosen=candidate.chosen,
        state=state_of(candidate.url),
    )


def state_of(url: str) -> EngineState:
    match urlsplit(url).scheme:
        case "unix":
            return _socket_state(url)
        case "tcp" | "http" | "https":
            return "answers" if answers(url) else "silent"
        case _:
            return "elsewhere"


def _socket_state(url: str) -> EngineState:
    path = urlsplit(url).path
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            return "absent"
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(ANSWER_SECONDS)
            probe.connect(path)
    except OSError as error:
        return _socket_failure(error)
    return "answers" if answers(url) else "silent"


def _socket_failure(error: OSError) -> EngineState:
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return "forbidden"
        case errno.ENOENT | errno.ENOTDIR:
            return "absent"
        case _:
            return "silent"


def answers(url: str) -> bool:
    """An engine answers its ping there within a few seconds."""
    try:
        client = docker.DockerClient(base_url=url, timeout=ANSWER_SECONDS)
    except (docker.errors.DockerException, requests.RequestException, ValueError):
        return False
    try:
        return bool(client.ping())
    except (docker.errors.DockerException, requests.RequestException, OSError):
        return False
    finally:
        client.close()
