import json
from pathlib import Path

import msgspec
import pytest

from orchestrator.protocol.ids import SlotId
from orchestrator.sandboxes.container_spec import (
    ENVIRONMENT,
    Host,
    Image,
    Owner,
    container_body,
    seccomp_profile,
    violations,
)
from orchestrator.sandboxes.slots import Slot
from orchestrator.sessions.profiles import MIB, Resources

IMAGE = Image(id="sha256:" + "a" * 64, version="v1")
SLOT = Slot(
    id=SlotId("ab" * 16), path=Path("/run/casemate/slots/" + "ab" * 16), uid=20017, gid=20017
)
OWNER = Owner(instance="test", epoch="e")
RUNC, RUNSC = Host(runtime="runc", cpus=8), Host(runtime="runsc", cpus=8)


@pytest.fixture
def made(profile):
    def make(host=RUNC, **resources):
        recipe = msgspec.structs.replace(profile, resources=Resources(**resources))
        return container_body(
            recipe, slot=SLOT, image=IMAGE, host=host, owner=OWNER, seccomp=seccomp_profile()
        )

    return make


def inspected(body):
    """What Docker tells of a container that was made of this body."""
    copy = json.loads(json.dumps(body))
    host = copy.pop("HostConfig")
    host["RestartPolicy"]["MaximumRetryCount"] = 0
    for name in ("CapAdd", "GroupAdd", "DeviceCgroupRules"):
        host[name] = host[name] or None
    copy["Env"] += ["PYTHON_VERSION=3"]
    mount = {"Type": "bind", "Destination": "/run/agent", "RW": False, "Propagation": "rprivate"}
    return {"Image": copy["Image"], "Config": copy, "HostConfig": host, "Mounts": [mount]}


@pytest.mark.parametrize("host", [RUNC, RUNSC], ids=lambda host: host.runtime)
def test_what_is_made_is_in_order(made, host):
    """The body that we make has no violation, on either runtime."""
    body = made(host)
    assert violations(inspected(body), asked=body) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Privileged", True),
        ("NetworkMode", "bridge"),
        ("ReadonlyRootfs", False),
        ("CapDrop", []),
        ("CapAdd", ["SYS_ADMIN"]),
        ("SecurityOpt", ["no-new-privileges:true"]),
        ("SecurityOpt", ["no-new-privileges:true", "seccomp=unconfined"]),
        ("SecurityOpt", ["seccomp={}"]),
        ("SecurityOpt", ["no-new-privileges:true", "seccomp={}", "label:disable"]),
        ("Runtime", "other"),
        ("IpcMode", "host"),
        ("PidMode", "host"),
        ("UTSMode", "host"),
        ("UsernsMode", "host"),
        ("CgroupnsMode", "host"),
        ("Memory", 0),
        ("MemorySwap", -1),
        ("NanoCpus", 0),
        ("PidsLimit", None),
        ("PidsLimit", 100_000),
        ("OomKillDisable", True),
        ("OomScoreAdj", 0),
        ("Ulimits", []),
        ("LogConfig", {"Type": "json-file", "Config": {}}),
        ("Tmpfs", {}),
        ("Tmpfs", {"/tmp": "rw,exec"}),
        ("Binds", ["/:/run/agent:ro"]),
        ("Binds", ["/run/casemate/slots/" + "ab" * 16 + ":/run/agent:rw"]),
        ("Mounts", [{"Source": "/"}]),
        ("Devices", [{"PathOnHost": "/dev/kvm"}]),
        ("DeviceRequests", [{}]),
        ("GroupAdd", ["docker"]),
        ("ExtraHosts", ["a:1.2.3.4"]),
        ("VolumesFrom", ["x"]),
        ("Sysctls", {"a": "b"}),
        ("CgroupParent", "/x"),
        ("PortBindings", {"80/tcp": [{}]}),
        ("MaskedPaths", []),
        ("ReadonlyPaths", None),
        ("RestartPolicy", {"Name": "always"}),
        ("Init", False),
        ("ShmSize", 2048 * MIB),
    ],
)
def test_every_change_of_the_host_config_is_noticed(made, field, value):
    """Whatever of the hardening is not as it was asked for is found, and so is what is too lax even
    when it was asked for."""
    body = made()
    found = inspected(body)
    found["HostConfig"][field] = value
    assert violations(found, asked=body)
    if field not in ("Init", "RestartPolicy", "Memory"):
        lax = json.loads(json.dumps(body))
        lax["HostConfig"][field] = value
        assert violations(found, asked=lax) or field == "Binds"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("User", ""),
        ("User", "0:0"),
        ("User", "20017:0"),
        ("User", "20018:20018"),
        ("Cmd", ["sh"]),
        ("Entrypoint", ["sh"]),
        ("Env", ["ANTHROPIC_API_KEY=sk-ant-real"]),
        ("Env", [*ENVIRONMENT, "GITHUB_TOKEN=ghp_x"]),
        ("Labels", {}),
    ],
)
def test_every_change_of_the_identity_is_noticed(made, field, value):
    """Another user, command, environment or label than asked for is found."""
    body = made()
    found = inspected(body)
    found["Config"][field] = value
    assert violations(found, asked=body)


def test_another_image_or_mount_is_noticed(made):
    """Another image, and a volume that an image brings along, are found."""
    body = made()
    other = inspected(body) | {"Image": "sha256:" + "b" * 64}
    assert violations(other, asked=body) == ["image as asked"]
    volume = {"Type": "volume", "Destination": "/data", "RW": True, "Propagation": ""}
    found = inspected(body)
    found["Mounts"].append(volume)
    assert violations(found, asked=body) == ["only the slot is mounted"]


def test_a_misspelt_field_is_noticed(made):
    """Docker drops fields that it does not know; that is found."""
    body = made()
    found = inspected(body)
    body["HostConfig"]["PidsLimt"] = 5
    assert violations(found, asked=body) == ["PidsLimt is not as asked"]


def test_memory_that_tmpfs_could_fill(made):
    """A profile whose tmpfs mounts could take all of its memory is refused."""
    body = made(memory=1024 * MIB)
    assert "memory beyond what the tmpfs mounts can fill" in violations(inspected(body), asked=body)


def test_a_small_host(made):
    """A profile that wants more processors than there are gets what there is."""
    assert made(Host(runtime="runc", cpus=1))["HostConfig"]["NanoCpus"] == 10**9


def test_runsc(made):
    """gVisor gets no seccomp profile, and more pids."""
    host = made(RUNSC)["HostConfig"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["PidsLimit"] == 1024


def test_seccomp_profile():
    """Our system call filter denies by default, and io_uring with the error that makes programs
    fall back."""
    filters = json.loads(seccomp_profile())
    assert filters["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = {
        name
        for rule in filters["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW"
        for name in rule["names"]
    }
    assert not allowed & {"ptrace", "bpf", "mount", "unshare", "io_uring_setup", "keyctl", "setns"}


def test_nothing_of_a_person_in_it(made):
    """Names and paths of a container tell nothing about users; the key is a placeholder."""
    text = json.dumps(made())
    assert "session" not in text.lower().replace("sessions", "")
    assert "not-a-secret" in text
