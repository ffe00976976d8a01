"""What to do about the Docker engine, given what was found. Pure: `engine` looks and acts."""

from typing import Literal

import msgspec

EngineState = Literal[
    "answers",
    "forbidden",  # the socket is there and this user may not open it
    "silent",  # the socket is there and nothing answers on it
    "absent",
    "elsewhere",  # ssh:// and the like: sandboxes need directories of this machine
]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One place where an engine might be."""

    url: str
    origin: str
    """How it came to be looked at, for a person: `DOCKER_HOST`, `the Docker context "work"`, ..."""
    chosen: bool
    """A person named it: no other one will do instead."""
    state: EngineState


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    endpoints: tuple[Endpoint, ...]
    """In the order in which they are preferred."""
    is_root: bool
    can_install: bool
    """apt-get is there, and we may use it."""
    daemon_installed: bool
    daemon_running: bool
    """A dockerd process lives, whether it answers yet or not."""
    has_systemd: bool
    """systemd runs this machine (it may be installed and not run, as in a container)."""


class UseEngine(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    origin: str


class AwaitEngine(msgspec.Struct, frozen=True, kw_only=True):
    """A dockerd is coming up."""


class StartEngine(msgspec.Struct, frozen=True, kw_only=True):
    """Start what is installed, after installing it where `install` says so."""

    install: bool
    with_systemd: bool


class Refuse(msgspec.Struct, frozen=True, kw_only=True):
    sentence: str
    advice: str


EnginePlan = UseEngine | AwaitEngine | StartEngine | Refuse


def plan(found: Findings) -> EnginePlan:
    """The first endpoint that answers; else what this user can do on this machine."""
    for endpoint in found.endpoints:
        if endpoint.state == "answers":
            return UseEngine(url=endpoint.url, origin=endpoint.origin)
        if endpoint.chosen:
            return _refuse_chosen(endpoint)
    if any(endpoint.state == "forbidden" for endpoint in found.endpoints):
        return Refuse(
            sentence="A Docker engine runs here, but you may not use it.",
            advice="Join its group (as root: usermod -aG docker YOUR-NAME) and sign in again.",
        )
    if found.daemon_running:
        return AwaitEngine()
    if found.daemon_installed:
        return _start_installed(found)
    return _install(found)


def _refuse_chosen(endpoint: Endpoint) -> Refuse:
    match endpoint.state:
        case "elsewhere":
            return Refuse(
                sentence=f"{endpoint.origin} names {endpoint.url}, an engine of another machine.",
                advice="Casemate needs one on this machine: its sandboxes mount directories of it.",
            )
        case "forbidden":
            return Refuse(
                sentence=f"{endpoint.origin} names {endpoint.url}, which you may not use.",
                advice="Join the group that owns that socket and sign in again.",
            )
        case _:
            return Refuse(
                sentence=f"{endpoint.origin} names {endpoint.url}, and nothing answers there.",
                advice="Start that engine, or unset it so that Casemate looks for another.",
            )


def _start_installed(found: Findings) -> EnginePlan:
    if found.is_root:
        return StartEngine(install=False, with_systemd=found.has_systemd)
    return Refuse(
        sentence="Docker is installed and not running, and only root can start it.",
        advice="As root: systemctl start docker (or: service docker start).",
    )


def _install(found: Findings) -> EnginePlan:
    if found.can_install:
        return StartEngine(install=True, with_systemd=found.has_systemd)
    advice = (
        "Install Docker Engine (Fedora: dnf install moby-engine; Arch: pacman -S docker), start it "
        "and run this again."
        if found.is_root
        else "Install it (Debian, Ubuntu: run this once as root, or apt-get install docker.io), "
        "join the group docker, sign in again and run this again."
    )
    return Refuse(sentence="There is no Docker engine on this machine.", advice=advice)
