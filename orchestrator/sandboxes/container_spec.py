"""What a sandbox's container is, and whether a container is that: all hardening is here. Pure.

`container_body` makes the body of Docker's create call; nothing in it comes from a user, an agent
or a plugin. `violations` reads a container back and says what is not as it must be: the daemon
silently drops fields that it does not know, and this is how we notice.
"""

import re
from importlib import resources
from typing import Any, Literal

import msgspec

from orchestrator.sandboxes.slots import Slot
from orchestrator.sessions.profiles import Profile, Resources

MIB = 1 << 20
AGENT_MEMORY = 300 * MIB
"""What the agent itself needs beside full tmpfs mounts."""
SLOT_MOUNT = "/run/agent"
MANAGED, INSTANCE, EPOCH, SLOT, PROFILE, VERSION, UID = (
    f"casemate.{name}"
    for name in ("managed", "instance", "epoch", "slot", "profile", "version", "uid")
)
ENVIRONMENT = (
    "HOME=/home/agent",
    "PATH=/usr/local/bin:/usr/bin:/bin",
    "LANG=C.UTF-8",
    "ANTHROPIC_UNIX_SOCKET=/run/agent/gw.sock",
    "ANTHROPIC_BASE_URL=http://gateway.internal",
    "ANTHROPIC_API_KEY=not-a-secret",
    "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST=1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
    "CLAUDE_CODE_ENABLE_TODO_TOOLS=1",  # else only some models have them
    "CLAUDE_CODE_MAX_RETRIES=3",  # the default of 10 leaves a person without a word for minutes
    "DISABLE_AUTOUPDATER=1",
    "DISABLE_TELEMETRY=1",
    "DISABLE_ERROR_REPORTING=1",
)
COMMAND = ("/opt/casemate/bin/python3", "-I", "-m", "shim")  # -I: /workspace shadows nothing
MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kallsyms", "/proc/kcore"),
    *("/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/proc/config.gz", "/proc/cmdline", "/proc/modules"),
    *("/sys/firmware", "/sys/devices/virtual/powercap", "/sys/class/dmi"),
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
RUNSC_PIDS = 1024
"""gVisor's own threads count too, and where they run out the whole sandbox dies."""
_SECRET = re.compile(r"sk-ant-|SECRET|PASSWORD|TOKEN=|ghp_|AKIA")
_SIZE = re.compile(r"\bsize=(\d+)\b")


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image as the engine knows it; `version` is the digest that its builder gave it."""

    id: str
    version: str


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What of the Docker host shapes a container."""

    runtime: Literal["runc", "runsc"]
    cpus: float


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Whose containers these are: the installation, and which run of it."""

    instance: str
    epoch: str


def seccomp_profile() -> str:
    """Our system call filter, as one line of JSON. It is shipped beside this file."""
    source = resources.files(__package__).joinpath("agent-seccomp.json").read_bytes()
    return msgspec.json.encode(msgspec.json.decode(source)).decode()


def container_body(
    profile: Profile, *, slot: Slot, image: Image, host: Host, owner: Owner, seccomp: str
) -> dict[str, Any]:
    """The body of `POST /containers/create` (API 1.41 and later)."""
    return {
        "Image": image.id,
        "User": f"{slot.uid}:{slot.gid}",
        "WorkingDir": "/workspace",
        "Entrypoint": [],
        "Cmd": list(COMMAND),
        "Hostname": "sandbox",
        "AttachStdout": False,
        "AttachStderr": False,
        "OpenStdin": False,
        "Tty": False,
        "Env": list(ENVIRONMENT),
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": _labels(profile, slot=slot, image=image, owner=owner),
        "NetworkDisabled": False,
        "StopSignal": "SIGTERM",
        "StopTimeout": 5,
        "HostConfig": {
            **_isolation(host, seccomp=seccomp),
            **_limits(profile.resources, host=host),
            **_files(profile.resources, slot=slot),
        },
    }


def _labels(profile: Profile, *, slot: Slot, image: Image, owner: Owner) -> dict[str, str]:
    return {
        MANAGED: "1",
        INSTANCE: owner.instance,
        EPOCH: owner.epoch,
        SLOT: slot.id,
        PROFILE: profile.name,
        VERSION: image.version,
        UID: str(slot.uid),
    }


def _isolation(host: Host, *, seccomp: str) -> dict[str, Any]:
    filtered = [f"seccomp={seccomp}"] if host.runtime == "runc" else []  # runsc has no use for it
    return {
        "Runtime": host.runtime,
        "NetworkMode": "none",
        "Init": True,
        "AutoRemove": False,
        "Privileged": False,
        "PublishAllPorts": False,
        "CapDrop": ["ALL"],
        "CapAdd": [],
        "SecurityOpt": ["no-new-privileges:true", *filtered],
        "UsernsMode": "",
        "IpcMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "CgroupnsMode": "private",
        "GroupAdd": [],
        "Devices": [],
        "DeviceCgroupRules": [],
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {
            "Type": "local",
            "Config": {"max-size": "1m", "max-file": "2", "compress": "false"},
        },
    }


def _limits(limits: Resources, *, host: Host) -> dict[str, Any]:
    largest_file = max(limits.tmp, limits.home, limits.workspace)
    return {
        "ShmSize": limits.shm,
        "Memory": limits.memory,
        "MemorySwap": limits.memory,  # the sum of both: no swap
        "MemorySwappiness": 0,
        "OomKillDisable": False,
        "OomScoreAdj": 500,
        "NanoCpus": round(min(limits.cpus, host.cpus) * 1e9),
        "CpuShares": 512,
        "PidsLimit": limits.pids if host.runtime == "runc" else max(limits.pids, RUNSC_PIDS),
        "BlkioWeight": 0,
        "Ulimits": [
            _ulimit("nofile", 4096),
            _ulimit("core", 0),
            _ulimit("fsize", largest_file),
            _ulimit("memlock", 8 * MIB),
            _ulimit("msgqueue", 819_200),
            _ulimit("sigpending", 1024),
        ],
    }


def _ulimit(name: str, value: int) -> dict[str, Any]:
    return {"Name": name, "Soft": value, "Hard": value}


def _files(limits: Resources, *, slot: Slot) -> dict[str, Any]:
    own = f"mode=0700,uid={slot.uid},gid={slot.gid}"
    return {
        "ReadonlyRootfs": True,
        "Binds": [f"{slot.path}:{SLOT_MOUNT}:ro"],
        "Tmpfs": {  # exec, because scripts and built programs are what a workspace is for
            "/tmp": _tmpfs(limits.tmp, "mode=1777", inodes=20_000),  # noqa: S108 - in the sandbox
            "/home/agent": _tmpfs(limits.home, own, inodes=20_000),
            "/workspace": _tmpfs(limits.workspace, own, inodes=100_000),
        },
        "MaskedPaths": list(MASKED),
        "ReadonlyPaths": list(READ_ONLY),
    }


def _tmpfs(size: int, access: str, *, inodes: int) -> str:
    return f"rw,nosuid,nodev,exec,size={size},{access},nr_inodes={inodes}"


def violations(inspected: dict[str, Any], *, asked: dict[str, Any]) -> list[str]:
    """What `GET /containers/{id}/json` shows that must not be; `asked` is the body it was made of.

    First what was asked for and is not so, then what no container of ours may ever be.
    """
    host, config = inspected["HostConfig"], inspected["Config"]
    return [
        *_unlike(host, asked["HostConfig"]),
        *_wrong_identity(inspected, config, asked),
        *_wrong_isolation(host),
        *_wrong_limits(host),
        *_wrong_mounts(inspected, host, asked),
    ]


def _unlike(host: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    found = []
    for name, value in asked.items():
        real = host.get(name)
        if name == "RestartPolicy":
            real, value = (real or {}).get("Name") or "no", value["Name"]  # noqa: PLW2901
        if real != value and (real or value):
            found.append(f"{name} is not as asked")
    return found


def _failed(checks: dict[str, bool]) -> list[str]:
    return [name for name, passed in checks.items() if not passed]


def _wrong_identity(
    inspected: dict[str, Any], config: dict[str, Any], asked: dict[str, Any]
) -> list[str]:
    user = re.fullmatch(r"([1-9]\d*):([1-9]\d*)", config.get("User") or "")
    environment = set(config.get("Env") or [])
    labels = config.get("Labels") or {}
    return _failed(
        {
            "image by id": bool(re.fullmatch(r"sha256:[0-9a-f]{64}", inspected["Image"])),
            "image as asked": inspected["Image"] == asked["Image"],
            "user": user is not None and config["User"] == asked["User"],
            "command": config.get("Cmd") == asked["Cmd"] and not config.get("Entrypoint"),
            "environment": environment >= set(asked["Env"]),
            "no secret in the environment": not any(map(_SECRET.search, environment)),
            "labels": labels.items() >= asked["Labels"].items(),
        }
    )


def _wrong_isolation(host: dict[str, Any]) -> list[str]:
    options = host.get("SecurityOpt") or []
    outside = (
        *("Devices", "DeviceRequests", "DeviceCgroupRules", "GroupAdd", "VolumesFrom", "Links"),
        *("ExtraHosts", "Sysctls", "CgroupParent", "PortBindings", "PublishAllPorts"),
        *("Privileged", "CapAdd", "PidMode", "UTSMode"),
    )
    return _failed(
        {
            "runtime": host.get("Runtime") in ("runc", "runsc"),
            "network": host.get("NetworkMode") == "none",
            "capabilities": host.get("CapDrop") == ["ALL"],
            "no-new-privileges": "no-new-privileges:true" in options,
            "confined": not any("unconfined" in o or "disable" in o[:40] for o in options),
            "system call filter": host.get("Runtime") == "runsc"
            or any(option.startswith("seccomp={") for option in options),
            "ipc": host.get("IpcMode") == "private",
            "namespaces": "host" not in (host.get("UsernsMode"), host.get("CgroupnsMode")),
            **{f"no {name}": not host.get(name) for name in outside},
        }
    )


def _wrong_limits(host: dict[str, Any]) -> list[str]:
    memory = host.get("Memory") or 0
    tmpfs = [_SIZE.search(options) for options in (host.get("Tmpfs") or {}).values()]
    filled = sum(int(size[1]) for size in tmpfs if size) + (host.get("ShmSize") or 0)
    names = {limit["Name"] for limit in host.get("Ulimits") or []}
    log = host.get("LogConfig") or {}
    return _failed(
        {
            "memory": memory > 0 and memory == host.get("MemorySwap"),
            "memory beyond what the tmpfs mounts can fill": filled + AGENT_MEMORY <= memory,
            "tmpfs sizes": bool(tmpfs) and all(tmpfs),
            "cpus": (host.get("NanoCpus") or 0) > 0,
            "pids": 0 < (host.get("PidsLimit") or 0) <= RUNSC_PIDS,
            "out-of-memory killer": not host.get("OomKillDisable"),
            "out-of-memory score": (host.get("OomScoreAdj") or 0) > 0,
            "ulimits": names >= {"nofile", "core", "fsize"},
            "log size": log.get("Type") in ("local", "none"),
        }
    )


def _wrong_mounts(
    inspected: dict[str, Any], host: dict[str, Any], asked: dict[str, Any]
) -> list[str]:
    mounts = inspected.get("Mounts") or []
    masked, read_only = host.get("MaskedPaths") or [], host.get("ReadonlyPaths") or []
    tmpfs = (host.get("Tmpfs") or {}).values()
    return _failed(
        {
            "root file system": host.get("ReadonlyRootfs") is True,
            "no Mounts": not host.get("Mounts"),
            "one bind": host.get("Binds") == asked["HostConfig"]["Binds"],
            "only the slot is mounted": all(
                mount["Destination"] == SLOT_MOUNT and not mount["RW"] for mount in mounts
            ),
            "mounts are private": all(
                mount.get("Propagation") in ("rprivate", "private", "") for mount in mounts
            ),
            "tmpfs options": all("nosuid" in o and "nodev" in o for o in tmpfs),
            "masked paths": {"/proc/kcore", "/proc/keys", "/sys/firmware"} <= set(masked),
            "read-only paths": {"/proc/sys", "/proc/sysrq-trigger"} <= set(read_only),
        }
    )
