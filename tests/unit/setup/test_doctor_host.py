"""The doctor's judgement of machines, from what was seen on some of them."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.ids import ProfileName
from orchestrator.sandboxes.settings import SlotSettings
from orchestrator.sessions.profiles import Profile
from orchestrator.setup.finding import Finding, bad, good, readable, warning
from orchestrator.setup.host_examination import HostFacts, IdRange, Place, Plans, examine_host
from orchestrator.setup.machine import file_system

GIB = 1 << 30
SERVER = HostFacts(
    uid=0,
    kernel="6.12.30-amd64",
    cgroup_controllers=("cpu", "memory", "pids", "io"),
    memory=32 * GIB,
    disk_free=80 * GIB,
    data=Place(path=Path("/srv/casemate"), owner=0, mode=0o700),
    slots_file_system="tmpfs",
    socket=Place(path=Path("/run/docker.sock"), owner=0, mode=0o660),
    ids=(IdRange(name="root", first=0), IdRange(name="ada", first=1000)),
)
PROFILE = Profile(name=ProfileName("default"), title="", agent=AgentSetup(model="m"))
PLANS = Plans(profiles=[PROFILE], pool_maximum=6, host_maximum=60, slots=SlotSettings())


def judged(facts: HostFacts, plans: Plans = PLANS) -> dict[str, Finding]:
    return {finding.about: finding for finding in examine_host(facts, plans)}


def test_a_server() -> None:
    """On a machine that is meant for it there is nothing to say."""
    found = judged(SERVER)
    assert [finding.about for finding in found.values() if finding.verdict != "good"] == []


@pytest.mark.parametrize(
    ("changed", "about", "verdict"),
    [
        ({"uid": 1000, "data": None}, "operator", "warning"),
        ({"kernel": "4.19.0-27-amd64"}, "kernel", "warning"),
        ({"cgroup_controllers": ("cpu", "pids")}, "controllers", "bad"),
        ({"cgroup_controllers": ()}, "controllers", "bad"),
        ({"memory": 8 * GIB}, "memory", "warning"),
        ({"memory": 1 * GIB}, "memory", "bad"),
        ({"disk_free": 1 * GIB}, "disk", "warning"),
        ({"data": Place(path=Path("/d"), owner=0, mode=0o755)}, "data directory", "bad"),
        ({"data": Place(path=Path("/d"), owner=0, mode=0o710)}, "data directory", "bad"),
        ({"data": Place(path=Path("/d"), owner=33, mode=0o700)}, "data directory", "bad"),
        ({"slots_file_system": "ext4"}, "slots", "warning"),
        ({"socket": Place(path=Path("/s"), owner=0, mode=0o666)}, "engine's socket", "bad"),
        ({"socket_group": ("ada", "bob", "c", "d", "e")}, "engine's socket", "warning"),
        ({"ids": (IdRange(name="ada", first=20_000),)}, "sandboxes' users", "bad"),
        ({"ids": (IdRange(name="ada", first=39_999),)}, "sandboxes' users", "bad"),
        ({"ids": (IdRange(name="x", first=100, count=65_536),)}, "sandboxes' users", "bad"),
    ],
)
def test_what_does_not_fit(changed: dict[str, Any], about: str, verdict: str) -> None:
    """Each is found, alone, and says what to do."""
    found = judged(replace(SERVER, **changed))
    assert {name: f.verdict for name, f in found.items() if f.verdict != "good"} == {about: verdict}
    assert found[about].advice


@pytest.mark.parametrize(
    "changed",
    [
        {"data": None},
        {"socket": None},
        {"kernel": "strange"},
        {"ids": (IdRange(name="ada", first=40_000), IdRange(name="bob", first=19_999))},
        {"ids": (IdRange(name="ada", first=100_000, count=65_536),)},
    ],
)
def test_what_fits(changed: dict[str, Any]) -> None:
    """What is not there yet, and ids beside the sandboxes', are no finding."""
    found = judged(replace(SERVER, **changed)).values()
    assert {f.about for f in found if f.verdict != "good"} <= {"kernel"}


def test_without_profiles() -> None:
    """A profile file that cannot be read is another finding's matter."""
    assert judged(SERVER, replace(PLANS, profiles=[]))["memory"].verdict == "good"


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /run rw,nosuid shared:2 - tmpfs tmpfs rw,size=1g
24 23 0:22 / /run/with\\040space rw shared:3 - ramfs none rw
25 22 0:23 / /runner rw - xfs /dev/sdb rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/run/casemate/slots", "tmpfs"),
        ("/run/with space/x", "ramfs"),
        ("/runner/x", "xfs"),
        ("/srv", "ext4"),
        ("/", "ext4"),
    ],
)
def test_file_system(path: str, kind: str) -> None:
    """The nearest mount decides, and names that only begin alike do not."""
    assert file_system(Path(path), mounts=MOUNTS) == kind


def test_what_a_person_reads() -> None:
    """Marks in front, what to do below, the sums at the end, and lines that fit a terminal."""
    long = "word " * 60
    lines = readable([good("a", "fine"), warning("b", long, f"{long}!"), bad("c", "no", "do")])
    assert lines[0].startswith("✓ a ")
    assert lines[1].startswith("! b ")
    assert any(line.strip() == "→ do" for line in lines)
    assert lines[-1].startswith("1 bad, 1 to improve, 1 good.")
    assert max(map(len, lines)) <= 92
