"""What a sandbox's container is, looked at from outside while it runs.

The second half holds it against the container section of the CIS Docker Benchmark, as the script
docker-bench-security checks it. The table in docs/security.md tells the same in words.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import docker
import pytest

from orchestrator.profiles import default_profile
from orchestrator.protocol.ids import SlotId
from orchestrator.sandboxes import container_spec as spec
from orchestrator.sandboxes.slots import Slot
from orchestrator.sandboxes.uid_shift import UidShift, uid_shift
from orchestrator.testing.running_casemate import RunningCasemate

from .intruder import Intruder
from .intruder import docker as docker_says

NAMESPACES = ("mnt", "pid", "net", "ipc", "uts", "cgroup")


class Looked(NamedTuple):
    """One running sandbox: what the engine says of it, and what the host's kernel does."""

    inspected: dict[str, Any]
    processes: list[str]
    status: dict[str, str]
    """`/proc/<its first process>/status`"""
    namespaces: dict[str, bool]
    """Which are its own."""

    @property
    def host(self) -> dict[str, Any]:
        return dict(self.inspected["HostConfig"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.inspected["Config"]["Labels"])


@pytest.fixture
async def looked(intruder: Intruder) -> Looked:
    name = await intruder.sandbox()
    inspected = json.loads(docker_says("inspect", name))[0]
    pid = inspected["State"]["Pid"]
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return Looked(
        inspected=inspected,
        processes=docker_says("top", name, "-eo", "pid,args").splitlines()[1:],
        status=dict(line.split(":\t", 1) for line in lines if ":\t" in line),
        namespaces={
            kind: Path(f"/proc/{pid}/ns/{kind}").readlink()
            != Path(f"/proc/self/ns/{kind}").readlink()
            for kind in NAMESPACES
        },
    )


@pytest.fixture
def shift(docker_engine: docker.DockerClient) -> UidShift:
    return uid_shift(docker_engine.info())


def test_a_running_sandbox_is_what_was_asked_for(
    looked: Looked, docker_engine: docker.DockerClient, runtime: str, shift: UidShift
) -> None:
    """Made anew from what its labels say, the body is the running container's in every field."""
    uid, gid = map(int, looked.inspected["Config"]["User"].split(":"))
    source = Path(looked.inspected["Mounts"][0]["Source"])
    asked = spec.container_body(
        default_profile("m"),
        slot=Slot(id=SlotId(looked.labels[spec.SLOT]), path=source, uid=uid, gid=gid),
        image=spec.Image(id=looked.inspected["Image"], version=looked.labels[spec.VERSION]),
        host=spec.Host(
            runtime="runsc" if runtime == "runsc" else "runc",
            cpus=docker_engine.info()["NCPU"],
            shift=shift,
        ),
        owner=spec.Owner(instance=looked.labels[spec.INSTANCE], epoch=looked.labels[spec.EPOCH]),
        seccomp=spec.seccomp_profile(),
    )
    assert spec.violations(looked.inspected, asked=asked) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give each sandbox a user of its own")
def test_its_slot_is_its_users(
    looked: Looked, casemate: RunningCasemate, shift: UidShift, runtime: str
) -> None:
    """The slot belongs to the sandbox's user as the host knows it, which nobody else has."""
    uid = int(looked.labels[spec.UID]) + shift.uid
    source = Path(looked.inspected["Mounts"][0]["Source"])
    assert (source.stat().st_uid, source.stat().st_mode & 0o777) == (uid, 0o700)
    assert sorted(slot.stat().st_uid for slot in casemate.slot_directories()).count(uid) == 1
    if runtime == "runc":
        assert looked.status["Uid"].split() == [str(uid)] * 4


# --- the CIS Docker Benchmark, section 5 ----------------------------------------------------------


def _nothing_published(looked: Looked) -> bool:
    ports = looked.inspected["NetworkSettings"]["Ports"]
    return not ports and not looked.host["PortBindings"] and not looked.host["PublishAllPorts"]


def _without_capabilities(looked: Looked) -> bool:
    asked = looked.host["CapDrop"] == ["ALL"] and not looked.host["CapAdd"]
    kernel = {int(looked.status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")}
    return asked and (kernel == {0} or looked.host["Runtime"] == "runsc")


def _only_the_slot_is_mounted(looked: Looked) -> bool:
    return [(mount["Destination"], mount["RW"]) for mount in looked.inspected["Mounts"]] == [
        ("/run/agent", False)
    ]


def _filtered(looked: Looked) -> bool:
    filtered = any(option.startswith("seccomp={") for option in looked.host["SecurityOpt"])
    return (filtered and looked.status["Seccomp"] == "2") or looked.host["Runtime"] == "runsc"


def _own(*kinds: str) -> Callable[[Looked], bool]:
    """gVisor has a kernel of its own around whatever namespaces its process on the host has."""
    return lambda looked: (
        looked.host["Runtime"] == "runsc" or all(looked.namespaces[kind] for kind in kinds)
    )


ITEMS: dict[str, tuple[str, Callable[[Looked], bool]]] = {
    "5.1": ("AppArmor", lambda k: k.inspected["AppArmorProfile"] not in ("", "unconfined")),
    "5.2": ("security options", lambda k: bool(k.host["SecurityOpt"])),
    "5.3": ("capabilities", _without_capabilities),
    "5.4": ("not privileged", lambda k: not k.host["Privileged"]),
    "5.5": ("no directories of the host", _only_the_slot_is_mounted),
    "5.6": ("no sshd", lambda k: not any("sshd" in process for process in k.processes)),
    "5.7": ("no privileged ports", _nothing_published),
    "5.8": ("only needed ports", _nothing_published),
    "5.9": ("own network", lambda k: k.host["NetworkMode"] == "none" and _own("net")(k)),
    "5.10": ("memory", lambda k: 0 < k.host["Memory"] == k.host["MemorySwap"]),
    "5.11": ("processors", lambda k: 0 < k.host["CpuShares"] < 1024 and k.host["NanoCpus"] > 0),
    "5.12": ("read-only root", lambda k: bool(k.host["ReadonlyRootfs"])),
    "5.13": ("ports on one interface", _nothing_published),
    "5.14": ("no restarts", lambda k: k.host["RestartPolicy"]["Name"] in ("", "no")),
    "5.15": ("own processes", lambda k: not k.host["PidMode"] and _own("pid")(k)),
    "5.16": ("own IPC", lambda k: k.host["IpcMode"] == "private" and _own("ipc")(k)),
    "5.17": ("no devices", lambda k: not k.host["Devices"] and not k.host["DeviceRequests"]),
    "5.18": ("ulimits", lambda k: {u["Name"] for u in k.host["Ulimits"]} == set(spec.ULIMITS)),
    "5.19": (
        "private mounts",
        lambda k: {m["Propagation"] for m in k.inspected["Mounts"]} <= {"rprivate", "private"},
    ),
    "5.20": ("own host name", lambda k: not k.host["UTSMode"] and _own("uts")(k)),
    "5.21": ("system calls", _filtered),
    "5.22": ("no privileged exec", lambda k: not k.inspected["ExecIDs"]),
    "5.23": ("no exec as root", lambda k: not k.inspected["ExecIDs"]),
    "5.24": ("cgroup", lambda k: not k.host["CgroupParent"]),
    "5.25": ("no new privileges", lambda k: "no-new-privileges:true" in k.host["SecurityOpt"]),
    "5.26": ("health", lambda k: bool(k.inspected["State"].get("Health"))),
    "5.27": ("image by id", lambda k: k.inspected["Config"]["Image"].startswith("sha256:")),
    "5.28": ("processes", lambda k: 0 < k.host["PidsLimit"] <= spec.RUNSC_PIDS),
    "5.29": (
        "not on docker0",
        lambda k: set(k.inspected["NetworkSettings"]["Networks"]) == {"none"},
    ),
    "5.30": ("user namespace", lambda k: k.host["UsernsMode"] != "host"),
    "5.31": (
        "no engine's socket",
        lambda k: not any("docker.sock" in mount["Source"] for mount in k.inspected["Mounts"]),
    ),
}
EXPLAINED = {
    "5.1": "many kernels have no AppArmor; where the engine has it, its profile holds",
    "5.26": "the shim answers pings on its link, which ends a hung sandbox sooner than a health "
    "check would, and runs nothing more in it",
}


def test_nothing_of_the_benchmark_is_unexplained(
    looked: Looked, docker_engine: docker.DockerClient
) -> None:
    """Of the benchmark's container section a sandbox meets every item but two, with a reason."""
    failed = {number for number, (_, met) in ITEMS.items() if not met(looked)}
    assert sorted(failed - EXPLAINED.keys()) == []
    if any(
        option.startswith("name=apparmor") for option in docker_engine.info()["SecurityOptions"]
    ):
        assert "5.1" not in failed


def test_the_manual_has_every_item() -> None:
    """The table in docs/security.md has each item of the benchmark, with its number."""
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    assert [number for number in ITEMS if f"{number} " not in text.replace(",", " ")] == []
    assert list(ITEMS) == [f"5.{number}" for number in range(1, 32)]
