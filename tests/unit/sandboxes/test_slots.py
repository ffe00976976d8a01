import json
import os
import secrets
import stat

import pytest

from orchestrator.protocol.agent import AgentSetup
from orchestrator.sandboxes.errors import SlotFailure
from orchestrator.sandboxes.settings import SlotSettings
from orchestrator.sandboxes.slots import Operator, Slots, this_operator

SETUP = AgentSetup(model="m")


@pytest.fixture
def settings(short_directory):
    return SlotSettings(root=short_directory / "slots", first_uid=20_000, uids=3)


@pytest.fixture
def slots(settings):
    with Slots(settings) as slots:
        yield slots


def new_id():
    return secrets.token_hex(16)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_slot(slots):
    """A slot is a directory for its sandbox alone, with the agent's setup in it."""
    slot = slots.create(new_id(), SETUP)
    assert mode(slot.path) == 0o700
    assert (slot.path.stat().st_uid, slot.path.stat().st_gid) == (slot.uid, slot.gid)
    assert json.loads((slot.path / "agent.json").read_bytes()) == {"model": "m"}
    assert slot.path.name == slot.id


@pytest.mark.parametrize("name", ["../up", "", "x" * 32, "0" * 31, "0" * 32 + "\n", "/" + "0" * 31])
def test_names(slots, settings, name):
    """What is no name for a slot is never a path."""
    with pytest.raises(SlotFailure, match="no name"):
        slots.create(name, SETUP)
    assert list(settings.root.iterdir()) == []


def test_never_twice(slots):
    """A slot that is there is not made again, and stays as it is."""
    slot = slots.create(new_id(), SETUP)
    (slot.path.parent / ("0" * 32)).mkdir()
    for taken in (slot.id, "0" * 32):
        with pytest.raises(SlotFailure, match="no name"):
            slots.create(taken, SETUP)
    assert (slot.path / "agent.json").exists()


def test_removed(slots):
    """A removed slot is gone with all that was in it; removing it again is nothing."""
    slot = slots.create(new_id(), SETUP)
    slot.link_socket.touch()
    slots.remove(slot.id)
    slots.remove(slot.id)
    assert not slot.path.exists()


def test_uids(settings, monkeypatch):
    """No two slots share a uid, nor take one that another installation uses; when all are taken
    that is said, and a removed slot gives its own back."""
    monkeypatch.setattr(os, "chown", lambda *_: None)  # so that it runs without root, too
    settings.root.mkdir()
    slots = Slots(settings, operator=Operator(uid=0, gid=0))
    first = slots.create(new_id(), SETUP, avoid={20_000})
    second = slots.create(new_id(), SETUP, avoid={20_000})
    assert {first.uid, second.uid} == {20_001, 20_002}
    with pytest.raises(SlotFailure, match="in use"):
        slots.create(new_id(), SETUP, avoid={20_000})
    slots.remove(first.id)
    assert slots.create(new_id(), SETUP, avoid={20_000}).uid == first.uid


def test_without_root(settings):
    """Who is not root shares the own uid with the sandboxes, and is told what that weakens."""
    settings.root.mkdir()
    me = Operator(uid=os.getuid(), gid=os.getgid())
    with Slots(settings, operator=me) as slots:
        assert (slots.weaker is None) == me.is_root
    assert "user id" in Slots(settings, operator=Operator(uid=1000, gid=1000)).weaker


def test_leftovers(settings):
    """What an earlier run left is swept; what is not a slot, and what is this run's, stays."""
    with Slots(settings) as earlier:
        earlier.create(new_id(), SETUP)
    (settings.root / "notes").mkdir()
    with Slots(settings) as slots:
        kept = slots.create(new_id(), SETUP)
        assert slots.sweep() == 1
        assert {entry.name for entry in settings.root.iterdir()} == {"notes", kept.id}


def test_one_process_at_a_time(settings):
    """Two processes cannot hold the same root: one would sweep the other's slots."""
    with Slots(settings), pytest.raises(SlotFailure, match="Another Casemate"):
        Slots(settings).__enter__()
    with Slots(settings):
        pass


def test_a_root_that_others_can_write_to(settings):
    """A root in which others can write, or that is a link, is refused."""
    settings.root.mkdir()
    settings.root.chmod(0o777)
    with pytest.raises(SlotFailure, match="others may write"):
        Slots(settings).__enter__()
    settings.root.rmdir()
    settings.root.symlink_to("/tmp")
    with pytest.raises(SlotFailure, match="not a directory"):
        Slots(settings).__enter__()


def test_a_path_too_long_for_sockets(short_directory):
    """A root whose sockets' paths would be too long is refused with a sentence."""
    with pytest.raises(SlotFailure, match="shorter"):
        Slots(SlotSettings(root=short_directory / ("x" * 80))).__enter__()


def test_a_full_disk(slots, settings, monkeypatch):
    """When a slot cannot be written nothing of it is left."""

    def full(self, path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Slots, "_write", full)
    with pytest.raises(SlotFailure, match="No space left"):
        slots.create(new_id(), SETUP)
    assert list(settings.root.iterdir()) == []


def test_this_operator():
    """The operator is whoever runs this process."""
    assert this_operator().uid == os.geteuid()
