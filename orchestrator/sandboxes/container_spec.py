"""What a sandbox's container is, and whether a container is that: all hardening is here. Pure.

`container_body` makes the body of Docker's create call; nothing in it comes from a user, an agent
or a plugin. `violations` reads a container back and says what is not as it must be: the daemon
silently drops fields that it does not know, and this is how we notice.
"""

import re
from importlib import resources
from typing import Any, Literal

import msgspec

from orchestrator.protocol.agent import CA_BUNDLE, LOOPBACK_PORT
from orchestrator.sandboxes.slots import Slot
from orchestrator.sandboxes.uid_shift import UidShift
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
_LENT_PROXY = f"http://127.0.0.1:{LOOPBACK_PORT}"
EGRESS_ENVIRONMENT = (
    *(f"{name}={_LENT_PROXY}" for name in ("HTTP_PROXY", "HTTPS_PROXY")),
    *(f"{name}={_LENT_PROXY}" for name in ("http_proxy", "https_proxy")),
    *(f"{name}=localhost,127.0.0.1,::1,gateway.internal" for name in ("NO_PROXY", "no_proxy")),
    *(f"{name}={CA_BUNDLE}" for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")),
    *(f"{name}={CA_BUNDLE}" for name in ("GIT_SSL_CAINFO", "PIP_CERT", "NODE_EXTRA_CA_CERTS")),
    f"npm_config_cafile={CA_BUNDLE}",
)
"""Where the profile allows hosts: how git, pip, npm, curl and their like find the proxy, and whom
they trust. The CLI's own traffic goes to its socket, past the proxy."""
COMMAND = ("/opt/casemate/bin/python3", "-I", "-m", "shim")  # -I: /workspace shadows nothing
MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kallsyms", "/proc/kcore"),
    *("/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/proc/config.gz", "/proc/cmdline", "/proc/modules"),
    *("/sys/firmware", "/sys/devices/virtual/powercap", "/sys/class/dmi"),
)
ULIMITS = ("nofile", "core", "fsize", "memlock", "msgqueue", "sigpending")
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
NO_TERMINALS = {"/dev/pts": "ro,nosuid,nodev,noexec,size=4096,nr_inodes=1,mode=0555"}
"""An empty folder where pseudo-terminals are made: the kernel has three thousand for all containers
together, and one sandbox could hold them all. gVisor has its own."""
RUNSC_PIDS = 1024
"""gVisor's own threads count too, and where they run out the whole sandbox dies."""
ADDED_TO = ("HostConfig", "Env", "Labels")
"""Of a body: what the image may add to, and the host's part. Everything else is as asked for."""
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
    shift: UidShift = UidShift()


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
        "Env": list(_environment(profile)),
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": _labels(profile, slot=slot, image=image, owner=owner),
        "NetworkDisabled": False,
        "StopSignal": "SIGTERM",
        "StopTimeout": 5,
        "HostConfig": {
            **_isolation(host, seccomp=seccomp),
            **_limits(profile.resources, host=host),
            **_files(profile.resources, slot=slot, host=host),
        },
    }


def _environment(profile: Profile) -> tuple[str, ...]:
    return ENVIRONMENT + (EGRESS_ENVIRONMENT if profile.egress.allow else ())


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


def _files(limits: Resources, *, slot: Slot, host: Host) -> dict[str, Any]:
    own = f"mode=0700,uid={slot.uid},gid={slot.gid}"
    return {
        "ReadonlyRootfs": True,
        "Binds": [f"{slot.path}:{SLOT_MOUNT}:ro"],
        "Tmpfs": {  # exec, because scripts and built programs are what a workspace is for
            "/tmp": _tmpfs(limits.tmp, "mode=1777", inodes=20_000),  # noqa: S108 - in the sandbox
            "/home/agent": _tmpfs(limits.home, own, inodes=20_000),
            "/workspace": _tmpfs(limits.workspace, own, inodes=100_000),
            **(NO_TERMINALS if host.runtime == "runc" else {}),
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
    host, config = inspected.get("HostConfig") or {}, inspected.get("Config") or {}
    own = {name: value for name, value in asked.items() if name not in ADDED_TO}
    found = [
        *_unlike(config, own),
        *_unlike(host, asked["HostConfig"]),
        *_unasked(host, asked["HostConfig"]),
        *_wrong_identity(inspected, config, asked),
        *_wrong_isolation(host),
        *_wrong_limits(host),
        *_wrong_mounts(inspected, host, asked),
    ]
    return list(dict.fromkeys(found))


def _unlike(host: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    found = []
    for name, value in asked.items():
        real = host.get(name)
        if name == "RestartPolicy":
            real, value = (real or {}).get("Name") or "no", value["Name"]  # noqa: PLW2901
        if real != value and (real or value):
            found.append(f"{name} is not as asked")
    return found


def _unasked(host: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Whatever else is set, in fields of later engines too, is more than a sandbox may have."""
    return [
        f"no {name}"
        for name, value in host.items()
        if name not in asked and value and value not in ([0, 0], "default")
    ]


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
            "image by id": bool(re.fullmatch(r"sha256:[0-9a-f]{64}", inspected.get("Image") or "")),
            "image as asked": inspected.get("Image") == asked["Image"],
            "user": user is not None and config["User"] == asked["User"],
            "environment": environment >= set(asked["Env"]),
            "no secret in the environment": not any(map(_SECRET.search, environment)),
            "labels": labels.items() >= asked["Labels"].items(),
            "no volumes and ports of the image": not config.get("Volumes")
            and not config.get("ExposedPorts"),
            "no network": set((inspected.get("NetworkSettings") or {}).get("Networks") or ())
            <= {"none"},
        }
    )


def _wrong_isolation(host: dict[str, Any]) -> list[str]:
    options = host.get("SecurityOpt") or []
    outside = (
        *("Devices", "DeviceRequests", "DeviceCgroupRules", "GroupAdd", "VolumesFrom", "Links"),
        *("ExtraHosts", "Sysctls", "CgroupParent", "PortBindings", "PublishAllPorts", "Mounts"),
        *("Privileged", "CapAdd", "PidMode", "UTSMode"),
    )
    return _failed(
        {
            "runtime": host.get("Runtime") in ("runc", "runsc"),
            "network": host.get("NetworkMode") == "none",
            "capabilities": host.get("CapDrop") == ["ALL"],
            "no-new-privileges": "no-new-privileges:true" in options,
            "confined": not any("unconfined" in o or "disable" in o[:40] for o in options),
            "no other security options": len(options) <= 2,  # noqa: PLR2004 - those two
            "system call filter": host.get("Runtime") == "runsc"
            or any(option.startswith("seccomp={") for option in options),
            "ipc": host.get("IpcMode") == "private",
            "namespaces": "host" not in (host.get("UsernsMode"), host.get("CgroupnsMode")),
            **{f"no {name}": not host.get(name) for name in outside},
        }
    )


def _wrong_limits(host: dict[str, Any]) -> list[str]:
    memory = host.get("Memory") or 0
    tmpfs = [
        _SIZE.search(options or "")
        for place, options in (host.get("Tmpfs") or {}).items()
        if options != NO_TERMINALS.get(place)
    ]
    filled = sum(int(size[1]) for size in tmpfs if size) + (host.get("ShmSize") or 0)
    names = {limit.get("Name") for limit in host.get("Ulimits") or []}
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
            "ulimits": names >= set(ULIMITS),
            "log size": log.get("Type") == "none"
            or (
                log.get("Type") == "local"
                and {"max-size", "max-file"} <= set(log.get("Config") or ())
            ),
        }
    )


def _wrong_mounts(
    inspected: dict[str, Any], host: dict[str, Any], asked: dict[str, Any]
) -> list[str]:
    mounts = inspected.get("Mounts") or []
    masked, read_only = host.get("MaskedPaths") or [], host.get("ReadonlyPaths") or []
    tmpfs = [options or "" for options in (host.get("Tmpfs") or {}).values()]
    return _failed(
        {
            "root file system": host.get("ReadonlyRootfs") is True,
            "one bind": host.get("Binds") == asked["HostConfig"]["Binds"],
            "only the slot is mounted": all(
                mount.get("Destination") == SLOT_MOUNT and not mount.get("RW", True)
                for mount in mounts
            ),
            "mounts are private": all(
                mount.get("Propagation") in ("rprivate", "private", "") for mount in mounts
            ),
            "tmpfs options": all(
                {"nosuid", "nodev"} <= set(o.split(",")) and "nr_inodes=" in o for o in tmpfs
            ),
            "masked paths": set(MASKED) <= set(masked),
            "read-only paths": set(READ_ONLY) <= set(read_only),
        }
    )
