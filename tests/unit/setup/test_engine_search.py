import hashlib
import json
import socket
from pathlib import Path

import pytest

from orchestrator.setup.engine_search import candidates, state_of


def write_context(home: Path, name: str, host: str) -> None:
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = home / ".docker" / "contexts" / "meta" / digest / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host}}}))


def test_docker_host_wins(tmp_path: Path):
    """DOCKER_HOST is looked at alone, as Docker's client does."""
    write_context(tmp_path, "work", "unix:///work.sock")
    found = candidates({"DOCKER_HOST": "unix:///x", "DOCKER_CONTEXT": "work"}, home=tmp_path)
    assert [(each.url, each.chosen) for each in found] == [("unix:///x", True)]


def test_current_context(tmp_path: Path):
    """The context that a person switched to is theirs to be used."""
    write_context(tmp_path, "work", "unix:///work.sock")
    (tmp_path / ".docker" / "config.json").write_text('{"currentContext": "work"}')
    (found,) = candidates({}, home=tmp_path)
    assert found.url == "unix:///work.sock"
    assert "work" in found.origin


@pytest.mark.parametrize("config", ["", "not json", "[]", '{"currentContext": "default"}'])
def test_usual_sockets(tmp_path: Path, config: str):
    """Without a choice, and with broken files of Docker's, the usual sockets are looked at."""
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(config)
    found = candidates({"XDG_RUNTIME_DIR": "/run/user/7"}, home=tmp_path)
    assert [each.url for each in found] == [
        "unix:///var/run/docker.sock",
        "unix:///run/user/7/docker.sock",
    ]


def test_unknown_context(tmp_path: Path):
    """A chosen context whose files are gone is told about, not replaced by another engine."""
    (found,) = candidates({"DOCKER_CONTEXT": "gone"}, home=tmp_path)
    assert found.chosen
    assert state_of(found.url) == "elsewhere"


def test_states_of_a_socket(tmp_path: Path):
    """A missing socket is absent; one on which nobody listens is silent."""
    path = tmp_path / "s"
    assert state_of(f"unix://{path}") == "absent"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    assert state_of(f"unix://{path}") == "silent"


def test_something_else_answers(tmp_path: Path):
    """A socket that closes what it accepts is silent, not an engine and not a crash."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.shutdown(socket.SHUT_RDWR)
        assert state_of(f"unix://{path}") == "silent"
