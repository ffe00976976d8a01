"""compose.yaml as a test sees it: read with its variables filled in, and its services run.

By `docker compose` where that is installed, else by hand: each service's options are handed to the
engine one by one, and one that is not known here is an error, so that nothing is left out unseen.
"""

import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import yaml
from docker.models.containers import Container
from docker.types import LogConfig, Mount

from orchestrator.setup.checkout import this_checkout
from orchestrator.testing.running_casemate import free_port

FILE = this_checkout().root / "compose.yaml"
HEALTHY_LIMIT = 90.0
NOT_THE_ENGINES = {"depends_on", "pull_policy", "restart", "stop_grace_period"}
"""What `docker compose` itself heeds."""
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-+])([^${}]*))?\}")


def composition(variables: Mapping[str, str]) -> dict[str, Any]:
    """The file, with these variables and no others."""
    return _filled(yaml.safe_load(FILE.read_text()), variables)


def _filled(part: Any, variables: Mapping[str, str]) -> Any:
    match part:
        case dict():
            return {name: _filled(value, variables) for name, value in part.items()}
        case list():
            return [_filled(value, variables) for value in part]
        case str():
            return _text(part, variables)
        case _:
            return part


def _text(text: str, variables: Mapping[str, str]) -> str:
    """Innermost first, as they may be nested."""

    def value(found: re.Match[str]) -> str:
        name, operator, other = found.groups()
        given = variables.get(name, "")
        if operator == "+":
            return other if given else ""
        return given or other or ""

    while _VARIABLE.search(text):
        text = _VARIABLE.sub(value, text)
    return text


def compose_program() -> list[str] | None:
    """`docker compose` of version 2, if it is installed."""
    for program in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(program[0]):
            told = subprocess.run(
                [*program, "version", "--short"], capture_output=True, text=True, check=False
            )
            if told.returncode == 0 and told.stdout.strip().removeprefix("v").startswith("2."):
                return program
    return None


class Composed:
    """The two services, under names of their own. `up`, then `down`."""

    def __init__(self, engine: docker.DockerClient, program: list[str] | None) -> None:
        self._engine = engine
        self._program = program
        self.project = f"casemate-test-{secrets.token_hex(4)}"
        self.instance = f"test-{secrets.token_hex(4)}"
        self.slots = Path("/run/casemate/tests")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.variables = {
            "CASEMATE_PORT": str(self.port),
            "CASEMATE_ENGINE_INSTANCE": self.instance,
            "CASEMATE_SLOTS_ROOT": str(self.slots),
        }

    def container(self, service: str) -> Container:
        return self._engine.containers.get(f"{self.project}-{service}-1")

    def sandboxes(self) -> list[Container]:
        label = f"casemate.instance={self.instance}"
        return self._engine.containers.list(all=True, filters={"label": label})

    def log(self, service: str) -> str:
        return self.container(service).logs().decode()

    def up(self) -> None:
        if self._program is not None:
            self._compose("up", "--detach", "--wait")
            return
        whole = composition(self.variables)
        self._engine.networks.create(self.project)
        for name in ("broker", "web"):  # as `depends_on` has it
            service = whole["services"][name]
            options = _run_options(service, whole=whole, project=self.project)
            made = self._engine.containers.create(name=f"{self.project}-{name}-1", **options)
            made.start()
            self.wait_until_healthy(name)

    def wait_until_healthy(self, service: str) -> None:
        deadline = time.monotonic() + HEALTHY_LIMIT
        while self._state(service) != "healthy":
            assert time.monotonic() < deadline, self.log(service)[-5000:]
            time.sleep(0.1)

    def _state(self, service: str) -> str:
        return str(self.container(service).attrs["State"]["Health"]["Status"])

    def down(self) -> None:
        """Stop and remove both, and their volumes."""
        if self._program is not None:
            self._compose("down", "--volumes")
            return
        services = composition(self.variables)["services"]
        for name in ("web", "broker"):
            grace = int(services[name]["stop_grace_period"].removesuffix("s"))
            container = self.container(name)
            container.stop(timeout=grace)
            container.remove()
        self._remove_own()

    def remove(self) -> None:
        """Take away whatever is left, however it went."""
        for name in ("web", "broker"):
            with suppress(docker.errors.NotFound):
                self.container(name).remove(force=True)
        if self._program is not None:
            self._compose("down", "--volumes")
        else:
            self._remove_own()
        for sandbox in self.sandboxes():
            sandbox.remove(force=True)
        shutil.rmtree(self.slots / self.instance, ignore_errors=True)

    def _remove_own(self) -> None:
        volumes = [(self._engine.volumes, f"{self.project}_{name}") for name in ("data", "broker")]
        for kind, name in (*volumes, (self._engine.networks, self.project)):
            with suppress(docker.errors.NotFound):
                kind.get(name).remove()

    def _compose(self, *arguments: str) -> None:
        options = ["--file", FILE, "--project-name", self.project, "--env-file", os.devnull]
        done = subprocess.run(
            [*(self._program or ()), *options, *arguments],
            env={"PATH": os.environ["PATH"], **self.variables},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]


def _run_options(service: dict[str, Any], *, whole: dict[str, Any], project: str) -> dict[str, Any]:
    """What docker-py wants to be told of a service."""
    plain = ("image", "command", "user", "init", "read_only", "cap_drop", "security_opt")
    more = ("pids_limit", "mem_limit", "cap_add", "userns_mode", "network_mode", "environment")
    options = {name: service[name] for name in (*plain, *more) if name in service}
    mounts = [_mount(volume, project) for volume in service["volumes"]]
    for secret in service.get("secrets", []):
        source = whole["secrets"][secret]["file"]
        mounts.append(Mount(f"/run/secrets/{secret}", source, type="bind", read_only=True))
    for volume in service["volumes"]:
        if volume.get("bind", {}).get("create_host_path"):
            Path(volume["source"]).mkdir(parents=True, exist_ok=True)
    options["mounts"] = mounts
    if "network_mode" not in service:
        options["network"] = project
    options["tmpfs"] = dict(place.split(":", 1) for place in service["tmpfs"])
    options["healthcheck"] = _healthcheck(service["healthcheck"])
    logging = service["logging"]
    options["log_config"] = LogConfig(type=logging["driver"], config=logging["options"])
    if "ports" in service:
        host, outside, inside = service["ports"][0].split(":")
        options["ports"] = {f"{inside}/tcp": (host, int(outside))}
    known = {*plain, *more, "volumes", "secrets", "tmpfs", "healthcheck", "logging", "ports"}
    assert set(service) <= known | NOT_THE_ENGINES, set(service) - known
    return options


def _mount(volume: dict[str, Any], project: str) -> Mount:
    named = volume["type"] == "volume"
    source = f"{project}_{volume['source']}" if named else volume["source"]
    return Mount(
        volume["target"], source, type=volume["type"], read_only=volume.get("read_only", False)
    )


def _healthcheck(asked: dict[str, Any]) -> dict[str, Any]:
    times = ("interval", "timeout", "start_period")
    seconds = {name: int(asked[name].removesuffix("s")) * 10**9 for name in times}
    return {"test": asked["test"], "retries": asked["retries"], **seconds}


@contextmanager
def composed(engine: docker.DockerClient, program: list[str] | None) -> Iterator[Composed]:
    """Both services, healthy; afterwards nothing of them is left."""
    one = Composed(engine, program)
    try:
        one.up()
        yield one
    finally:
        one.remove()
