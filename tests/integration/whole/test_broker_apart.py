"""The control plane without Docker: what it has not, and that a whole session works without."""

import contextlib
import os
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.protocol.broker import BROKER_PROTOCOL
from orchestrator.sandboxes.broker.packets import packet_socket
from orchestrator.sandboxes.image_builder import BuiltImage
from orchestrator.testing.chat_client import ApiClient
from orchestrator.testing.running_casemate import RunningCasemate
from orchestrator.testing.scripted_model import ScriptedModel

from .conftest import KEY, PASSWORD, environment

ROOT = Path(__file__).parents[3]
PACKAGES = f"{ROOT}:{sysconfig.get_path('purelib')}"
UNPRIVILEGED = 61_234
"""A user id that nobody has."""
STRANGER = 61_235

WHOLE_START = """
import os, signal, sys
from orchestrator.cli import _progress, _settings
from orchestrator.setup.serving import run

def say(text):
    if "is ready" in text:
        found = [name for name in sys.modules if name.split(".")[0] in {"docker", "aiodocker"}]
        print("IMPORTED", sorted(found), flush=True)
        os.kill(os.getpid(), signal.SIGTERM)

run(_settings(), demo=True, progress=_progress(), say=say)
"""

AS_STRANGER = """
import socket, sys
peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
peer.connect(sys.argv[1])
print(peer.recv(4096).decode(), peer.recv(4096))
"""


def test_no_docker_is_imported(sandbox_image: BuiltImage, model: ScriptedModel) -> None:
    """After a whole start, with sandboxes ready, the process that the network reaches has imported
    no Docker client."""
    assert sandbox_image
    casemate = RunningCasemate(environment(model))
    try:
        done = subprocess.run(
            [sys.executable, "-c", WHOLE_START],
            env=casemate.environment,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert "IMPORTED []" in done.stdout, done.stdout + done.stderr[-3000:]
        assert casemate.containers() == []
    finally:
        casemate.remove()


def test_the_broker_has_no_secret(casemate: RunningCasemate) -> None:
    """The broker's environment has neither the key nor anything else that it does not need."""
    told = Path(f"/proc/{casemate.broker_pid}/environ").read_text()
    assert KEY not in told
    names = {line.split("=")[0] for line in told.split("\0") if line}
    assert not {name for name in names if "KEY" in name or "TOKEN" in name or "SECRET" in name}
    assert not {name for name in names if name.startswith("ANTHROPIC_")}


@pytest.fixture(scope="module")
def apart(sandbox_image: BuiltImage, model: ScriptedModel) -> Iterator[RunningCasemate]:
    """A broker that runs as root, and a control plane of a user who may do nothing on the machine.

    Without root both are the same user, which still shows that two processes serve.
    """
    assert sandbox_image
    user = UNPRIVILEGED if os.geteuid() == 0 else os.geteuid()
    interpreter = _interpreter_for(user)
    casemate = RunningCasemate(environment(model) | {"PYTHONPATH": PACKAGES})
    path = casemate.slots.parent / f"{casemate.instance}.sock"
    casemate = _told(casemate, path, user)
    broker = _start_broker(casemate, path)
    try:
        casemate.add_user("ada", PASSWORD)
        _give(casemate.home, user)
        casemate.start("serve", user=user if os.geteuid() == 0 else None, interpreter=interpreter)
        yield casemate
        assert casemate.stop() == 0
        assert casemate.containers() == []
    finally:
        casemate.stop()
        broker.terminate()
        assert broker.wait(40) == 0
        casemate.remove()
    assert not path.exists()


def _interpreter_for(user: int) -> str:
    """A Python of our version that this user may read: our own may lie in root's home directory."""
    if os.geteuid() != 0:
        return sys.executable
    ours = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for program in (sys.executable, f"/usr/bin/{ours}", f"/usr/local/bin/{ours}"):
        with contextlib.suppress(OSError):
            done = subprocess.run(
                [program, "-c", "import orchestrator.app"],
                env={"PYTHONPATH": PACKAGES},
                user=user,
                group=user,
                extra_groups=[],
                capture_output=True,
                check=False,
            )
            if done.returncode == 0:
                return program
    pytest.skip("no Python of this version can be read by a user without rights")


def _told(casemate: RunningCasemate, path: Path, user: int) -> RunningCasemate:
    told = {"CASEMATE_BROKER_SOCKET": str(path), "CASEMATE_BROKER_CLIENT_UID": str(user)}
    casemate._environment |= told
    return casemate


def _start_broker(casemate: RunningCasemate, path: Path) -> "subprocess.Popen[bytes]":
    secrets = {"ANTHROPIC_API_KEY"}
    with (casemate.home / "broker-log").open("wb") as log:
        broker = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "broker"],
            env={name: v for name, v in casemate.environment.items() if name not in secrets},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    deadline = time.monotonic() + 60
    while not path.exists():
        assert broker.poll() is None, (casemate.home / "broker-log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return broker


def _give(folder: Path, user: int) -> None:
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, user)


async def test_a_session_without_docker(apart: RunningCasemate) -> None:
    """A control plane of a user without rights, who can neither reach Docker nor look into a slot,
    serves a whole session."""
    async with ApiClient.signed_in(apart.url, "ada", PASSWORD) as ada:
        view = await ada.create()
        async with ada.chat(view["id"]) as chat:
            assert (await chat.turn("!say 5 words", limit=60)).outcome == "completed"
        status = Path(f"/proc/{apart.pid}/status").read_text()
        owners = {slot.stat().st_uid for slot in apart.slot_directories()}
        if os.geteuid() == 0:
            assert f"Uid:\t{UNPRIVILEGED}\t{UNPRIVILEGED}" in status
            assert UNPRIVILEGED not in owners
            assert "CapEff:\t0000000000000000" in status
            for look in (["docker", "version"], ["ls", str(apart.slot_directories()[0])]):
                done = subprocess.run(look, user=UNPRIVILEGED, capture_output=True, check=False)
                assert done.returncode != 0
        await ada.end(view["id"])


def test_who_else_asks_is_refused(apart: RunningCasemate) -> None:
    """Another user is kept out by the file, and, where that is open, by the kernel's word on who
    calls; the control plane's own user finds the place taken."""
    path = apart.slots.parent / f"{apart.instance}.sock"
    with packet_socket() as second:
        second.connect(str(path))
        second.send(b'{"type":"hello","protocol":%d,"client":"%s"}' % (BROKER_PROTOCOL, b"0" * 32))
        assert b"broker_taken" in second.recv(4096)
    if os.geteuid() != 0:
        return
    assert _as_stranger(path).returncode != 0
    path.chmod(0o666)
    told = _as_stranger(path)
    assert "broker_user" in told.stdout, told.stderr
    assert told.stdout.rstrip().endswith("b''")
    path.chmod(0o600)


def _as_stranger(path: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [_interpreter_for(STRANGER), "-c", AS_STRANGER, str(path)],
        env={"PYTHONPATH": PACKAGES},
        user=STRANGER,
        group=STRANGER,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_only_one_broker_listens(apart: RunningCasemate) -> None:
    """A second broker at the same place is refused with a sentence, and the first goes on."""
    impatient = apart.environment | {"CASEMATE_BROKER_CONNECT_LIMIT": "0.5"}
    elsewhere = impatient | {"CASEMATE_ENGINE_INSTANCE": f"{apart.instance}-b"}
    for told, reason in ((impatient, "Another Casemate"), (elsewhere, "another broker")):
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", "broker"],
            env=told,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert reason in done.stderr
    (apart.slots / f"{apart.instance}-b").rmdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as still:
        still.connect(told["CASEMATE_BROKER_SOCKET"])
