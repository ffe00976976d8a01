import os

import pytest

from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.ids import SlotId
from orchestrator.sandboxes.errors import EngineFailure, SlotFailure
from orchestrator.sandboxes.settings import SlotSettings
from orchestrator.sandboxes.slots import Operator, Slots
from orchestrator.sandboxes.uid_shift import UidShift, uid_shift

SLOT = SlotId("ab" * 16)
SECCOMP = "name=seccomp,profile=default"


@pytest.mark.parametrize(
    ("options", "root", "shift"),
    [
        ([SECCOMP], "/var/lib/docker", UidShift()),
        (None, "/var/lib/docker", UidShift()),
        ([SECCOMP], "/srv/100000.100000", UidShift()),
        ([SECCOMP, "name=userns"], "/d/231072.231073", UidShift(uid=231072, gid=231073)),
        (["name=userns"], "/d/1000.2000/", UidShift(uid=1000, gid=2000)),
    ],
)  # fmt: skip
def test_the_shift_is_the_engines(options, root, shift):
    """Where the engine maps user ids, the first of them are in its directory's name."""
    assert uid_shift({"SecurityOptions": options, "DockerRootDir": root}) == shift


@pytest.mark.parametrize(
    ("options", "root", "word"),
    [
        (["name=userns"], "/var/lib/docker", "userns-remap"),
        (["name=userns"], None, "userns-remap"),
        ([SECCOMP, "name=rootless"], "/home/ada/.local/share/docker", "rootless"),
    ],
)
def test_an_engine_whose_users_are_unknown_is_refused(options, root, word):
    """Rather than a sandbox that waits for sockets which it may not open, there is a sentence."""
    with pytest.raises(EngineFailure, match=word):
        uid_shift({"SecurityOptions": options, "DockerRootDir": root})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_slot_belongs_to_the_user_outside(short_directory):
    """The sandbox keeps its own number inside, and its slot belongs to who that is outside."""
    with Slots(SlotSettings(root=short_directory / "slots")) as slots:
        slot = slots.create(SLOT, AgentSetup(model="m"), shift=UidShift(uid=231072, gid=300000))
        status = slot.path.stat()
        assert (status.st_uid - slot.uid, status.st_gid - slot.gid) == (231072, 300000)
        assert status.st_mode & 0o777 == 0o700


def test_without_root_a_shift_is_refused(short_directory):
    """Nobody else can make slots for mapped users; that is a sentence, and nothing is left."""
    owner = short_directory.stat()
    if owner.st_uid == 0:
        os.chown(short_directory, 12345, 12345)
    operator = Operator(uid=owner.st_uid or 12345, gid=owner.st_gid or 12345)
    with Slots(SlotSettings(root=short_directory), operator=operator) as slots:
        with pytest.raises(SlotFailure, match="userns-remap"):
            slots.create(SLOT, AgentSetup(model="m"), shift=UidShift(uid=231072, gid=231072))
        assert list(short_directory.iterdir()) == []
