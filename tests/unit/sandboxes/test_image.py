import io
import tarfile
from pathlib import Path

import pytest

from orchestrator.sandboxes.image_context import BuildNetwork, build_context, host_network
from orchestrator.sandboxes.image_version import (
    REPOSITORY,
    ImageOptions,
    current_version,
    image_files,
)


def unpacked(context: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(context)) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "operator.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\n")
    return path


def test_the_version_is_the_content(certificate: Path):
    """Equal content has an equal version; a compiler or a certificate makes it another one."""
    plain = current_version(ImageOptions())
    assert plain == current_version(ImageOptions())
    others = {
        current_version(ImageOptions(compiler=True)),
        current_version(ImageOptions(extra_ca=(certificate,))),
    }
    assert len(others | {plain}) == 3


def test_a_changed_source_is_another_version(tmp_path: Path):
    """Whatever file of the image changes, the version changes."""
    for name in ("sandbox-image", "orchestrator", "requirements"):
        for path in (REPOSITORY / name).rglob("*"):
            if path.suffix in {".py", ".sh", ".json", ".txt", ""} and path.is_file():
                copy = tmp_path / path.relative_to(REPOSITORY)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
    before = current_version(ImageOptions(), repository=tmp_path)
    assert before == current_version(ImageOptions())
    with (tmp_path / "sandbox-image" / "shim" / "agent.py").open("a") as changed:
        changed.write("# changed\n")
    assert current_version(ImageOptions(), repository=tmp_path) != before


def test_only_what_the_shim_needs_is_in_the_image():
    """Of the control plane's code, the protocol and what plugins build on are copied, no more."""
    names = [name for name in image_files() if name.startswith("code/orchestrator/")]
    assert "code/orchestrator/protocol/link.py" in names
    assert "code/orchestrator/plugin_api/policies.py" in names
    parts = ("/protocol/", "/plugin_api/")
    others = {name for name in names if not any(part in name for part in parts)}
    assert others == {"code/orchestrator/__init__.py"}


def test_the_context_is_the_same_every_time(certificate: Path):
    """Equal sources give equal bytes, so that Docker's cache holds; nothing is others' to write."""
    options = ImageOptions(extra_ca=(certificate,))
    network = BuildNetwork(ca_bundle=b"x", pip_config="[global]\n")
    context = build_context(options, network, version="v")
    assert context == build_context(options, network, version="v")
    with tarfile.open(fileobj=io.BytesIO(context)) as archive:
        assert {(m.uid, m.mode & 0o022, m.mtime) for m in archive} == {(0, 0, 0)}
    files = unpacked(context)
    assert files["certificates/0-operator.crt"].startswith(b"-----BEGIN")
    assert files["code/version"] == b"v"


def test_the_machines_pip_settings_are_used(tmp_path: Path):
    """The build asks the index that this machine asks, but no directory of this machine."""
    (tmp_path / ".pip").mkdir()
    (tmp_path / ".pip" / "pip.conf").write_text(
        "[global]\nindex-url = https://index.example/simple\n"
        "extra-index-url = file:///opt/wheels https://more.example/simple\ncert = /etc/ca.crt\n"
    )
    network = host_network(
        {"HOME": str(tmp_path), "PIP_INDEX_URL": "https://other.example", "https_proxy": "p:1"}
    )
    assert "index-url = https://other.example\n" in network.pip_config
    assert "extra-index-url = https://more.example/simple\n" in network.pip_config
    assert "file:" not in network.pip_config
    assert "cert" not in network.pip_config
    assert network.proxies == {"https_proxy": "p:1"}


def test_a_broken_pip_configuration_is_no_obstacle(tmp_path: Path):
    """A file that pip itself could not read is left out."""
    (tmp_path / ".pip").mkdir()
    (tmp_path / ".pip" / "pip.conf").write_text("no section\n")
    assert host_network({"HOME": str(tmp_path)}).pip_config.startswith("[global]")
