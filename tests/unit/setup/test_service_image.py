import io
import os
import runpy
import socket
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from orchestrator.sandboxes.image_context import BuildNetwork, packed
from orchestrator.sandboxes.image_version import version_of
from orchestrator.setup.checkout import Checkout, this_checkout
from orchestrator.setup.service_image import BUILD_FILES, IMAGE_FILES, image_files

PROBE = this_checkout().root / IMAGE_FILES / "healthy.py"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A small one with everything that must be there, and some that must not get in."""
    written = {
        **{f"{IMAGE_FILES}/{name}": name for name in BUILD_FILES},
        "requirements/run.txt": "click==1\n",
        "orchestrator/__init__.py": "",
        "orchestrator/sandboxes/agent-seccomp.json": "{}",
        "orchestrator/__pycache__/cli.cpython-311.pyc": "",
        "web/dist/index.html": "<html>",
        "web/dist/assets/app.js": "1",
        "web/src/main.tsx": "",
        "tests/test_it.py": "",
        ".env": "ANTHROPIC_API_KEY=secret",
        "data/signing.key": "secret",
    }
    for name, text in written.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Checkout(root=tmp_path)


def test_the_image_has_code_and_page_and_nothing_else(checkout: Checkout):
    """The code, what lies beside it, and the built page are copied: no sources of the page, no
    tests, no settings of this checkout, nobody's keys."""
    files = image_files(checkout)
    code = {name for name in files if name.startswith("code/")}
    assert {name for name in code if "dist-info" not in name} == {
        "code/orchestrator/__init__.py",
        "code/orchestrator/sandboxes/agent-seccomp.json",
        "code/web/dist/index.html",
        "code/web/dist/assets/app.js",
    }
    assert set(files) - code == {*BUILD_FILES, "requirements.txt"}
    assert not [name for name, content in files.items() if b"secret" in content]


def test_other_content_is_another_version(checkout: Checkout):
    """A changed page or line of code makes the image stale; the same content does not."""
    versions = [version_of(image_files(checkout), packages=())]
    assert version_of(image_files(checkout), packages=()) == versions[0]
    for changed in ("web/dist/index.html", "orchestrator/__init__.py", "requirements/run.txt"):
        (checkout.root / changed).write_text("other")
        versions.append(version_of(image_files(checkout), packages=()))
    assert len(set(versions)) == 4


def test_the_builders_network_is_for_the_build_alone(checkout: Checkout):
    """What the build needs to reach an index is in its context, in files that no stage whose
    content is kept copies."""
    network = BuildNetwork(ca_bundle=b"authority", pip_config="[global]\n")
    context = packed(image_files(checkout), network)
    with tarfile.open(fileobj=io.BytesIO(context)) as archive:
        assert {"build-ca.crt", "pip.conf"} <= set(archive.getnames())
    stages = (this_checkout().root / IMAGE_FILES / "Dockerfile").read_text().split("\nFROM ")
    with_them = [stage for stage in stages if "build-ca.crt" in stage or "pip.conf" in stage]
    assert len(with_them) == 1
    assert with_them[0].startswith("system AS library")
    assert "COPY --from=library /opt/casemate/" in stages[-1]


def probe(monkeypatch: pytest.MonkeyPatch, path: Path) -> int:
    monkeypatch.setenv("CASEMATE_BROKER_SOCKET", os.fspath(path))
    monkeypatch.setattr(sys, "argv", ["healthy.py", "broker"])
    return runpy.run_path(str(PROBE))["main"]()


def test_a_broker_that_is_away_is_not_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No socket, or one that nobody listens on, is no broker."""
    path = tmp_path / "s"
    assert probe(monkeypatch, path) == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left:
        left.bind(str(path))
    assert probe(monkeypatch, path) == 1


def test_a_broker_that_attends_is_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Who is let go again is attended to."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(path))
        listening.listen()

        def let_go() -> None:
            listening.accept()[0].close()

        server = threading.Thread(target=let_go)
        server.start()
        assert probe(monkeypatch, path) == 0
        server.join()


def test_a_broker_that_hangs_is_not_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The kernel takes connections for a process that does nothing any more; that is not enough."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as hung:
        hung.bind(str(path))
        hung.listen()
        monkeypatch.setenv("CASEMATE_BROKER_SOCKET", os.fspath(path))
        module = runpy.run_path(str(PROBE))
        module["broker"].__globals__["LIMIT"] = 0.05
        with pytest.raises(TimeoutError):
            module["broker"]()
