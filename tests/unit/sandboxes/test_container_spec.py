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
from orchestrator.sandboxes.possible_profiles import impossibility
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


def weakenings(value):  # noqa: C901 - one case for each kind of value
    """Every way in which one thing of `value` is not there, or is another."""
    match value:
        case dict():
            for name, part in value.items():
                if part not in (None, False, 0, "", []):
                    yield f".{name} dropped", {n: v for n, v in value.items() if n != name}
                    yield f".{name} emptied", value | {name: None}
                for how, other in weakenings(part):
                    yield f".{name}{how}", value | {name: other}
        case list():
            for number, part in enumerate(value):
                yield f"[{number}] dropped", value[:number] + value[number + 1 :]
                for how, other in weakenings(part):
                    yield f"[{number}]{how}", [*value[:number], other, *value[number + 1 :]]
            yield " has one more", [*value, value[-1] if value else "x"]
        case bool():
            yield f" is {not value}", not value
        case int() | float():
            yield " is greater", value + 1
            yield " is without end", -1
        case str() if "," in value and not value.startswith("seccomp="):
            options = value.split(",")
            for option in options:
                yield f" without {option}", ",".join(o for o in options if o != option)
        case str():
            yield " is another", f"{value}x"


def every_weakening(body):
    """Of the engine's answer to this body, in everything that was asked for."""
    for part in ("HostConfig", "Config"):
        asked = body["HostConfig"] if part == "HostConfig" else body
        for name in asked.keys() - {"HostConfig"}:
            for how, changed in weakenings({name: asked[name]}):
                answer = inspected(body)
                answer[part] = {n: v for n, v in answer[part].items() if n != name} | changed
                if how not in (".Env has one more", ".Labels has one more"):
                    yield f"{part}{how}", answer


@pytest.mark.parametrize("host", [RUNC, RUNSC], ids=lambda host: host.runtime)
def test_nothing_that_is_asked_for_can_be_missing(made, host):
    """Each thing in the body, whichever it is, is found when the engine left it out or made another
    of it; so a field that is added to the body has its check at once."""
    body = made(host)
    tried = list(every_weakening(body))
    unseen = [how for how, answer in tried if not violations(answer, asked=body)]
    assert [how for how in unseen if not how.startswith("HostConfig.RestartPolicy")] == []
    assert len(unseen) <= 4, "no restart policy is the policy that is asked for, and no more"
    assert len(tried) > 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Annotations", {"dev.example.setting": "x"}),
        ("Capabilities", ["CAP_SYS_ADMIN"]),
        ("Cgroup", "container:other"),
        ("CpuRealtimeRuntime", 950_000),
        ("Dns", ["192.0.2.1"]),
        ("StorageOpt", {"size": "1T"}),
        ("VolumeDriver", "other"),
        ("SomethingOfTheFuture", True),
    ],
)
def test_what_nobody_asked_for_is_noticed(made, field, value):
    """A setting that we do not know, because it is new or a plugin's, is no setting of ours."""
    body = made()
    found = inspected(body)
    found["HostConfig"] |= {"ConsoleSize": [0, 0], "Isolation": "", "Links": None, "CpuPeriod": 0}
    assert violations(found, asked=body) == []
    found["HostConfig"][field] = value
    assert violations(found, asked=body) == [f"no {field}"]


def test_a_network_is_noticed(made):
    """A container that is on any network is found, however it got there."""
    body = made()
    found = inspected(body) | {"NetworkSettings": {"Networks": {"none": {}}}}
    assert violations(found, asked=body) == []
    found["NetworkSettings"]["Networks"]["bridge"] = {}
    assert violations(found, asked=body) == ["no network"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Volumes", {"/data": {}}),
        ("ExposedPorts", {"80/tcp": {}}),
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


@pytest.mark.parametrize(
    ("resources", "word"),
    [
        ({"memory": 1259 * MIB}, "memory is 1259 MiB, and must be at least 1260 MiB"),
        ({"memory": 0}, "memory"),
        ({"memory": -1}, "memory"),
        ({"workspace": 4096 * MIB}, "memory"),
        ({"tmp": 0}, "tmp"),
        ({"home": -(64 * MIB)}, "home"),
        ({"shm": 10}, "shm"),
        ({"pids": 0}, "pids"),
        ({"pids": 5000}, "pids"),
        ({"cpus": 0.0}, "cpus"),
        ({"cpus": float("nan")}, "cpus"),
    ],
)
def test_resources_that_cannot_be(made, resources, word):
    """Resources of which there could be no sandbox are refused beforehand, with what is wrong."""
    assert impossibility(Resources(**resources)).startswith(word)


@pytest.mark.parametrize("resources", [{}, {"memory": 1260 * MIB}, {"pids": 1024, "cpus": 0.1}])
def test_resources_that_can_be(made, resources):
    """What is let in beforehand is not refused by the check of the container."""
    assert impossibility(Resources(**resources)) is None
    body = made(**resources)
    assert violations(inspected(body), asked=body) == []


def test_a_small_host(made):
    """A profile that wants more processors than there are gets what there is."""
    assert made(Host(runtime="runc", cpus=1))["HostConfig"]["NanoCpus"] == 10**9


def test_runsc(made):
    """gVisor gets no seccomp profile, and more pids."""
    host = made(RUNSC)["HostConfig"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["PidsLimit"] == 1024


def test_no_terminals(made):
    """What the kernel has a few thousand of for all containers together is not there on runc."""
    assert "ro," in made()["HostConfig"]["Tmpfs"]["/dev/pts"]
    assert "/dev/pts" not in made(RUNSC)["HostConfig"]["Tmpfs"]


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
    assert not any(name.startswith(("io_setup", "io_submit")) for name in allowed)


def test_nothing_of_a_person_in_it(made):
    """Names and paths of a container tell nothing about users; the key is a placeholder."""
    text = json.dumps(made())
    assert "session" not in text.lower().replace("sessions", "")
    assert "not-a-secret" in text
