"""Casemate in two containers: what compose.yaml gives them, and that it works so."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from orchestrator.sandboxes.image_builder import BuiltImage
from orchestrator.settings import load_settings
from orchestrator.setup import service_image as images
from orchestrator.setup.checkout import this_checkout
from orchestrator.testing.chat_client import ApiClient

from .composition import Composed, compose_program, composed, composition
from .conftest import PASSWORD

WAYS = {"by hand": None} | ({"docker compose": compose_program()} if compose_program() else {})
SERVICES = ("broker", "web")


@pytest.fixture
def services() -> dict[str, Any]:
    return composition({})["services"]


def places(service: dict[str, Any]) -> set[str]:
    return {volume["target"] for volume in service["volumes"]}


def test_the_web_service_may_do_nothing_on_the_machine(services: dict[str, Any]):
    """Neither Docker nor the slots are mounted into what the network reaches; it is no root, has
    no right, and is to be had on the machine's loopback only."""
    web = services["web"]
    assert places(web) == {
        "/var/lib/casemate",
        "/run/casemate/broker",
        "/etc/casemate/profiles.toml",
    }
    assert [volume["type"] for volume in web["volumes"]] == ["volume", "volume", "bind"]
    assert "docker.sock" not in str(web)
    assert "CASEMATE_SLOTS_ROOT" not in web["environment"]
    assert web["user"] == "10808:10808"
    assert "cap_add" not in web
    assert web["ports"] == ["127.0.0.1:8080:8080"]
    assert web["depends_on"] == {"broker": {"condition": "service_healthy"}}


def test_the_broker_has_no_network_and_no_secret(services: dict[str, Any]):
    """What holds Docker hears nobody but through its socket, and has none of the secrets."""
    broker = services["broker"]
    assert broker["network_mode"] == "none"
    assert not {"ports", "networks", "secrets"} & set(broker)
    assert broker["cap_add"] == ["CHOWN", "DAC_OVERRIDE"]
    names = " ".join(broker["environment"])
    assert not any(word in names for word in ("KEY", "TOKEN", "SECRET", "ANTHROPIC"))
    slots = next(v for v in broker["volumes"] if v["target"] == "/run/casemate/slots")
    assert slots["source"] == slots["target"]


@pytest.mark.parametrize("name", SERVICES)
def test_both_are_walled_in(services: dict[str, Any], name: str):
    """Nothing but volumes can be written, no right is gained, and each limit is set."""
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"]
    assert service["mem_limit"]
    assert service["logging"]["options"]["max-size"]
    assert service["healthcheck"]["test"]
    assert all("noexec" in place and "size=" in place for place in service["tmpfs"])
    unwanted = {"privileged", "devices", "pid", "ipc", "cgroup_parent", "extra_hosts"}
    assert not unwanted & set(service)
    assert all(
        volume.get("read_only")
        for volume in service["volumes"]
        if volume["type"] == "bind" and volume["target"].startswith("/etc")
    )


@pytest.mark.parametrize("name", SERVICES)
def test_every_variable_is_a_setting(services: dict[str, Any], name: str, tmp_path: Path):
    """The services' settings are ones that there are, whatever the operator sets."""
    key = tmp_path / "key"
    key.write_text("sk-of-a-file\n")
    environment = {
        variable: str(key) if value.startswith("/run/secrets/") else value
        for variable, value in _texts(services[name]["environment"])
    }
    settings = load_settings(environment)
    assert settings.broker.socket == Path("/run/casemate/broker/broker.sock")
    assert settings.profiles.path is None
    if name == "web":
        assert str(settings.model.api_key.reveal()) == "sk-of-a-file"
        assert settings.server.url == "http://127.0.0.1:8080"
    else:
        assert settings.broker.client_uid == 10808


def _texts(environment: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in environment.items()]


def test_what_an_operator_sets_arrives():
    """Port, profiles and the key's file lead to both ends: where it is on the machine, and where
    the services find it."""
    told = {
        "CASEMATE_PORT": "9000",
        "CASEMATE_PROFILES_PATH": "./profiles.toml",
        "ANTHROPIC_API_KEY_FILE": "/etc/casemate/key",
    }
    whole = composition(told)
    web, broker = whole["services"]["web"], whole["services"]["broker"]
    assert web["ports"] == ["127.0.0.1:9000:8080"]
    assert web["environment"]["CASEMATE_SERVER_PUBLIC_URL"] == "http://127.0.0.1:9000"
    assert whole["secrets"]["api_key"]["file"] == "/etc/casemate/key"
    for service in (web, broker):
        assert service["environment"]["CASEMATE_PROFILES_PATH"] == "/etc/casemate/profiles.toml"
        assert service["volumes"][-1]["source"] == "./profiles.toml"
        assert service["volumes"][-1]["read_only"] is True


# --- the two containers -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service_image(docker_engine: docker.DockerClient, sandbox_image: BuiltImage) -> str:
    """The control plane's image, current."""
    assert docker_engine
    assert sandbox_image
    if images.is_stale(this_checkout()):
        pytest.skip("the control plane's image is missing or stale; run `./just service`")
    return images.TAG


@pytest.fixture(scope="module", params=list(WAYS))
def running(
    request: pytest.FixtureRequest, docker_engine: docker.DockerClient, service_image: str
) -> Iterator[Composed]:
    assert service_image
    if os.geteuid() != 0:
        pytest.skip(
            "only root can look into the slots that the broker makes; run the tests as root"
        )
    with composed(docker_engine, WAYS[request.param]) as one:
        add = ["docker", "exec", "-i", one.container("web").id, "casemate", "users", "add", "ada"]
        subprocess.run(
            [*add, "--password"], input=f"{PASSWORD}\n", text=True, check=True, capture_output=True
        )
        yield one
        one.down()
        assert one.sandboxes() == []
        assert list((one.slots / one.instance).iterdir()) == []


async def _one_turn(running: Composed) -> None:
    async with ApiClient.signed_in(running.url, "ada", PASSWORD) as ada:
        view = await ada.create()
        async with ada.chat(view["id"]) as chat:
            assert (await chat.turn("!say 5 words", limit=60)).outcome == "completed"
        await ada.end(view["id"])


async def test_a_session_through_two_containers(running: Composed):
    """Somebody signs in and has a turn; the sandbox is a sibling on the machine's own engine."""
    await _one_turn(running)
    assert running.sandboxes()
    assert "#link=" in running.log("web")


def _status(container_pid: int) -> dict[str, str]:
    """Of the process under the container's init."""
    child = Path(f"/proc/{container_pid}/task/{container_pid}/children").read_text().split()[0]
    lines = Path(f"/proc/{child}/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def test_the_kernel_sees_them_so(running: Composed):
    """The control plane runs without any right, the broker with two; neither gains one."""
    rights = {}
    for name in SERVICES:
        status = _status(running.container(name).attrs["State"]["Pid"])
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
        rights[name] = (status["Uid"].split()[0], int(status["CapBnd"], 16))
    assert rights == {"web": ("10808", 0), "broker": ("0", 0b11)}


def test_what_the_web_container_sees(running: Composed):
    """In the control plane's container there is no Docker and no slot, and nothing that it could
    write but its data; not even the broker's socket can be replaced."""
    web = running.container("web")
    look = "ls /run/casemate; ls -A /run/casemate/broker; ls /var/run/docker.sock 2>/dev/null; true"
    assert web.exec_run(["sh", "-c", look]).output.split() == [b"broker", b"broker.sock"]
    for place in ("/", "/opt/casemate", "/run/casemate/broker", "/etc/casemate"):
        assert web.exec_run(["touch", f"{place}/mine"]).exit_code != 0
    assert web.exec_run(["touch", "/var/lib/casemate/mine"]).exit_code == 0


async def test_a_broker_that_was_killed_comes_back(running: Composed):
    """A killed broker starts again over the socket that it left, sweeps what it had made, and the
    control plane finds it; the probe tells while it is away."""
    before = {one.id for one in running.sandboxes()}
    running.container("broker").kill()
    web = running.container("web")
    probe = ["/opt/casemate/bin/python3", "-I", "/opt/casemate/healthy.py"]
    assert web.exec_run([*probe, "broker"]).exit_code == 1
    running.container("broker").start()
    running.wait_until_healthy("broker")
    await _one_turn(running)
    assert not before & {one.id for one in running.sandboxes()}


LEFTOVERS = r"""
set -eu
test -s /opt/casemate/lib/code/web/dist/index.html
find / -xdev '(' -name build-ca.crt -o -name pip.conf -o -name 'pip-*.whl' -o -name apt-get ')'
find / -xdev -type f -perm /6000
find / -xdev ! -type l ! -type c -perm -0002 ! -path /tmp
ls -d /build /root/.cache /opt/casemate/lib/code/tests 2>/dev/null || true
for program in git curl pip gcc; do command -v $program || true; done
"""


def test_nothing_of_the_build_is_in_the_image(
    service_image: str, docker_engine: docker.DockerClient
):
    """The image has the code and the page, and nothing of who built it: no certificates, no index,
    no package manager. Nothing in it is anybody's to write, or runs with more rights than its
    user, who is not root."""
    told = docker_engine.containers.run(
        service_image,
        ["sh", "-c", LEFTOVERS],
        user="0",
        remove=True,
        network_mode="none",
        read_only=True,
    )
    assert told.decode().split() == []
    assert docker_engine.images.get(service_image).attrs["Config"]["User"] == "10808:10808"
