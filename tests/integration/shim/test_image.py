import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from orchestrator.sandboxes.image_builder import BuiltImage, is_stale, preread_image

MAX_SIZE = 700 << 20
SECRET = re.compile(r"sk-ant-|SECRET|PASSWORD|TOKEN|ghp_|AKIA|_proxy=", re.IGNORECASE)
SECRET_FILES = re.compile(
    r"(^|/)(pip\.conf|\.netrc|\.npmrc|\.pypirc|\.env|id_(rsa|ed25519)|\.git-credentials|"
    r"credentials\.json|\.aws/|\.docker/config\.json|usr/local/share/ca-certificates/.+\.crt$)"
)


@pytest.fixture(scope="module")
def files(
    docker_engine: docker.DockerClient,
    sandbox_image: BuiltImage,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tarfile.TarFile]:
    """Every file of the image, as its layers have it."""
    container = docker_engine.containers.create(sandbox_image.id)
    path: Path = tmp_path_factory.mktemp("image") / "image.tar"
    try:
        with path.open("wb") as out:
            for chunk in container.export():
                out.write(chunk)
    finally:
        container.remove()
    with tarfile.open(path) as archive:
        yield archive
    path.unlink()


def shell(engine: docker.DockerClient, image: BuiltImage, command: str) -> str:
    output: bytes = engine.containers.run(
        image.id, ["/bin/sh", "-c", command], remove=True, network_mode="none", read_only=True,
        tmpfs={"/tmp": "", "/home/agent": "mode=0777"}, environment={"HOME": "/home/agent"},
    )  # fmt: skip
    return output.decode().strip()


def test_it_is_lean(sandbox_image):
    """The CLI is most of the image; the rest stays small."""
    assert sandbox_image.size_bytes < MAX_SIZE


def test_nothing_has_more_rights_than_its_user(files):
    """No file is set-uid or set-gid."""
    assert [m.name for m in files if m.isfile() and m.mode & 0o6000] == []


def test_nothing_can_be_written_by_everybody(files):
    """Only the mount point of the temporary files, which is always covered, is world-writable."""
    writable = {m.name for m in files if (m.isfile() or m.isdir()) and m.mode & 0o002}
    assert writable <= {"tmp", "dev/shm"}


def test_all_code_is_roots(files):
    """Whatever runs in a sandbox belongs to root."""
    places = ("opt/", "usr/", "etc/", "bin", "lib")
    assert [m.name for m in files if m.name.startswith(places) and m.uid != 0] == []


def test_nothing_of_the_machine_that_built_it(files, docker_engine, sandbox_image):
    """Neither the builder's certificates nor its package indexes are in the image."""
    names = {member.name for member in files}
    assert not {name for name in names if name.startswith(("build", "etc/pip.conf", "etc/apt"))}
    local = [n for n in names if n.startswith("usr/local/share/ca-certificates/")]
    assert [n for n in local if n.endswith(".crt")] == []
    bundle = files.extractfile("etc/ssl/certs/ca-certificates.crt")
    assert bundle is not None
    machine = Path("/usr/local/share/ca-certificates").glob("*.crt")
    text = bundle.read().decode()
    assert [path.name for path in machine if path.read_text().strip() in text] == []
    history = json.dumps(docker_engine.api.history(sandbox_image.id))
    assert "pip.conf" not in history
    assert "index-url" not in history


def test_it_asks_for_nothing_of_the_host(docker_engine, sandbox_image):
    """The image's own user is not root, and it brings no volumes, ports or triggers along."""
    config = docker_engine.api.inspect_image(sandbox_image.id)["Config"]
    assert config["User"].split(":")[0] not in {"", "0", "root"}
    assert [config.get(name) for name in ("Volumes", "ExposedPorts", "OnBuild")] == [None] * 3
    assert [v for v in config["Env"] if SECRET.search(v)] == []


def test_no_layer_hides_a_secret(docker_engine, sandbox_image, tmp_path):
    """Also in what later layers cover there is no key, no credential and no setting of the machine
    that built it."""
    path = tmp_path / "image.tar"
    with path.open("wb") as out:
        for chunk in docker_engine.images.get(sandbox_image.id).save():
            out.write(chunk)
    names, suspicious = 0, []
    with tarfile.open(path) as image:
        for member in filter(is_layer, image):
            with tarfile.open(fileobj=image.extractfile(member), mode="r|*") as layer:
                for file in layer:
                    names += 1
                    if SECRET_FILES.search(file.name):
                        suspicious.append(file.name)
    path.unlink()
    assert names > 5000
    assert suspicious == []


def is_layer(member):
    """Of an image's archive, in either of the forms that engines write."""
    is_old = member.name.endswith("/layer.tar")
    return member.isfile() and (
        is_old or (member.size > 1 << 16 and "/blobs/" in f"/{member.name}")
    )


def test_packages_leave_their_list_for_scanners(files):
    """A scanner can still tell which Debian packages are in the image."""
    status = files.extractfile("var/lib/dpkg/status")
    assert status is not None
    assert b"Package: git\n" in status.read()


def test_managed_settings(files):
    """The CLI's rules, hooks and servers are nobody's to add, and asking cannot be switched off."""
    member = files.getmember("etc/claude-code/managed-settings.json")
    settings = json.load(files.extractfile(member))
    assert member.mode & 0o022 == 0
    assert settings["allowManagedHooksOnly"]
    assert settings["allowManagedPermissionRulesOnly"]
    assert settings["allowManagedMcpServersOnly"]
    assert settings["allowedMcpServers"] == []
    assert settings["permissions"]["disableBypassPermissionsMode"] == "disable"


@pytest.mark.parametrize(
    "command",
    [
        "git --version",
        "rg --version",
        "jq --version",
        "curl --version",
        "python3 -c 'import json, sqlite3, ssl'",
        "perl -e 'print 1'",
        "/opt/casemate/lib/python3*/site-packages/claude_agent_sdk/_bundled/claude --version",
    ],
)
def test_what_the_agent_works_with(docker_engine, sandbox_image, command):
    """The tools that Claude expects work under a read-only root without a network."""
    shell(docker_engine, sandbox_image, command)  # raises where the command fails


def test_bytecode_is_used(docker_engine, sandbox_image):
    """The shim and its libraries are loaded as bytecode, with no look at the source."""
    output = shell(
        docker_engine,
        sandbox_image,
        "/opt/casemate/bin/python3 -I -v -c 'import shim.outbox, websockets' 2>&1"
        " | grep -E 'code object from .*/opt/casemate/.*\\.py' | grep -v __pycache__ || true",
    )
    assert output == ""


def test_there_is_no_package_manager(docker_engine, sandbox_image):
    """Nothing in the image can install anything."""
    assert shell(docker_engine, sandbox_image, "command -v apt-get pip pip3 || true") == ""


def test_its_version_is_what_would_be_built(sandbox_image):
    """The image is told from one of other content by its label."""
    assert len(sandbox_image.version) == 32
    assert not is_stale()
    assert is_stale(compiler=True)
    assert is_stale(tag="casemate-sandbox:never-built")


def test_pre_reading(sandbox_image):
    """The CLI can be read into the page cache at any time."""
    preread_image(sandbox_image.tag)
