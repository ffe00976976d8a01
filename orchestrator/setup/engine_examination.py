"""What a Docker engine offers to sandboxes, judged from its own answers. Pure; `doctor` asks."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from orchestrator.sandboxes.errors import EngineFailure
from orchestrator.sandboxes.known_holes import open_holes, parts
from orchestrator.sandboxes.uid_shift import uid_shift
from orchestrator.setup.finding import Finding, bad, good, warning

OLDEST_ENGINE = (20, 10)
SYS_RESOURCE = 24
"""The number of the capability CAP_SYS_RESOURCE."""
OLDEST_RUNSC = 20_230_000
"""Earlier releases fail system calls that today's programs make: `ls` and `stat` do not work."""
RUNSC_ARGUMENTS = ("--network=none", "--host-uds=open")


class EngineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of the engine, and what is known about it besides."""

    info: Mapping[str, Any]
    """`GET /info`"""
    version: Mapping[str, Any]
    """`GET /version`"""
    bridge: Mapping[str, Any] = {}
    """The options of the network `bridge`; empty where there is none."""
    runsc_version: str = ""
    """What the registered runsc says of itself; empty where there is none, or it does not run."""
    capabilities: int | None = None
    """Those of the engine's process; None where it cannot be looked at."""
    wanted: Literal["auto", "runc", "runsc"] = "auto"
    """The setting `runtime` of the engine."""


def examine_engine(facts: EngineFacts) -> list[Finding]:
    return [
        *_versions(facts),
        _doors(facts.info),
        _limits(facts.info),
        _swap(facts.info),
        _seccomp(facts.info),
        _user_namespaces(facts.info),
        _mandatory_access(facts.info),
        *_gvisor(facts),
        _oom_score(facts.capabilities),
        _storage(facts.info),
        _logs(facts.info),
        _restarts(facts.info),
        _bridge(facts.bridge),
    ]


def _options(info: Mapping[str, Any]) -> set[str]:
    return {option.split(",")[0] for option in info.get("SecurityOptions") or []}


def _versions(facts: EngineFacts) -> Iterator[Finding]:
    plugins = bool((facts.info.get("Plugins") or {}).get("Authorization"))
    for name, version, package in parts(facts.version):
        if name == "docker-init":
            continue
        shown = package if package.startswith(version) else version
        holes = open_holes(name, version, package=package, plugins=plugins)
        if not holes:
            yield good(name, f"{shown}: no known hole")
        for hole in holes:
            yield warning(
                name,
                f"{shown} is not known to have closed {hole.id}: {hole.what} ({hole.reach}).",
                f"Use at least {' or '.join(hole.fixed)}, unless your distribution mended it.",
            )


def _doors(info: Mapping[str, Any]) -> Finding:
    open_doors = [line for line in info.get("Warnings") or [] if "API is accessible on" in line]
    if open_doors:
        return bad(
            "engine's API",
            "The engine listens on the network without asking who is there, which makes everybody "
            "who reaches it root on this machine.",
            "Remove the tcp:// address from the engine's `hosts`, or protect it with TLS.",
        )
    return good("engine's API", "only on this machine")


def _limits(info: Mapping[str, Any]) -> Finding:
    needed = {
        "MemoryLimit": "memory",
        "PidsLimit": "pids",
        "CpuCfsQuota": "cpu",
        "CPUShares": "cpu shares",
    }
    about, version = "cgroups", f"version {info.get('CgroupVersion') or '1'}"
    missing = [name for field, name in needed.items() if info.get(field) is False]
    if missing:
        return bad(
            about,
            f"{version}, without limits of {', '.join(missing)}: the engine drops them silently, "
            "and Casemate refuses such a sandbox.",
            "Switch these controllers on (kernel command line, or delegation to the engine).",
        )
    return good(about, f"{version}, with limits of memory, processes and processors")


def _swap(info: Mapping[str, Any]) -> Finding:
    if info.get("SwapLimit") is False:
        return bad(
            "swap accounting",
            "The kernel does not count swap, so a sandbox's memory cannot be held, and Casemate "
            "refuses it.",
            "Boot with swapaccount=1, or use a kernel with cgroup version 2.",
        )
    return good("swap accounting", "on: a sandbox has no swap")


def _seccomp(info: Mapping[str, Any]) -> Finding:
    if "name=seccomp" in _options(info):
        return good(
            "system calls",
            "seccomp is there: Casemate's own filter leaves out io_uring, vsock, ptrace and what "
            "else the engine's default allows",
        )
    return bad(
        "system calls",
        "The engine or the kernel has no seccomp, so nothing filters a sandbox's system calls.",
        "Use a kernel with CONFIG_SECCOMP_FILTER and an engine that was built with it.",
    )


def _user_namespaces(info: Mapping[str, Any]) -> Finding:
    about = "user ids"
    try:
        shift = uid_shift(info)
    except EngineFailure as error:
        return bad(about, error.sentence, "Casemate does not start with this engine.")
    if shift.uid:
        return good(about, f"mapped (userns-remap): a sandbox's user 0 is the host's {shift.uid}")
    return warning(
        about,
        "A sandbox's user ids are the host's. They are nobody's, but root in a container would be "
        "root outside.",
        'Put "userns-remap": "default" into /etc/docker/daemon.json and restart the engine. It '
        "then starts with empty storage: build the image again.",
    )


def _mandatory_access(info: Mapping[str, Any]) -> Finding:
    found = {"name=apparmor": "AppArmor", "name=selinux": "SELinux"}
    here = [name for option, name in found.items() if option in _options(info)]
    if here:
        return good("access control", f"{' and '.join(here)}: the engine's own profile holds too")
    return warning(
        "access control",
        "Neither AppArmor nor SELinux: one wall less around runc's containers.",
        "Use a kernel that has one of them, or gVisor.",
    )


def _gvisor(facts: EngineFacts) -> Iterator[Finding]:
    about, runsc = "gVisor", (facts.info.get("Runtimes") or {}).get("runsc")
    if runsc is None:
        yield _no_gvisor(facts.wanted)
        return
    if missing := _missing_arguments(runsc):
        yield bad(
            about,
            f"runsc is registered without {' and '.join(missing)}: sandboxes would not start, or "
            "not reach their sockets.",
            "Add it to runtimeArgs of runsc in /etc/docker/daemon.json, and reload the engine.",
        )
    release = runsc_release(facts.runsc_version)
    if release is not None and release < OLDEST_RUNSC:
        yield bad(
            about,
            f"runsc of {release // 10_000} is too old: ls and stat fail in its sandboxes.",
            "Use one of 2023 or later (Debian 12: from bookworm-backports).",
        )
    elif not missing:
        used = "registered, and not used (runtime is runc)" if facts.wanted == "runc" else "used"
        yield good(about, f"{used}; sandboxes have a kernel of their own, {release or 'unknown'}")


def _no_gvisor(wanted: str) -> Finding:
    advice = (
        "Install runsc, register it (docs/operating.md, “gVisor”), and Casemate uses it by itself."
    )
    if wanted == "runsc":
        return bad("gVisor", "runsc is asked for and not registered with the engine.", advice)
    return warning("gVisor", "Not registered: sandboxes share the host's kernel (runc).", advice)


def _missing_arguments(runsc: Mapping[str, Any]) -> list[str]:
    given = {argument.lstrip("-") for argument in runsc.get("runtimeArgs") or []}
    if any(argument.startswith("host-uds=all") for argument in given):
        given.add("host-uds=open")
    return [argument for argument in RUNSC_ARGUMENTS if argument.lstrip("-") not in given]


def runsc_release(said: str) -> int | None:
    """The day of `runsc version release-20240729.0` and `… 0.0~20240729.0`, as 20240729."""
    digits = "".join(c if c.isdigit() else " " for c in said).split()
    days = [int(run) for run in digits if len(run) == 8 and run.startswith("20")]  # noqa: PLR2004
    return days[0] if days else None


def _oom_score(capabilities: int | None) -> Finding:
    about = "memory's victim"
    if capabilities is None:
        return good(about, "a sandbox goes first; whether it may change that was not looked at")
    if capabilities >> SYS_RESOURCE & 1:
        return good(about, "a sandbox goes first when memory is short, and cannot change that")
    return warning(
        about,
        "The engine has no CAP_SYS_RESOURCE: a process in a sandbox may lower its own score to "
        "the engine's, and is then no sooner ended than others when the machine is out of memory.",
        "Give the engine that capability, and keep the pools' memory below the machine's.",
    )


def _storage(info: Mapping[str, Any]) -> Finding:
    driver = str(info.get("Driver"))
    backing = dict(info.get("DriverStatus") or []).get("Backing Filesystem", "?")
    quotas = "quotas possible" if backing == "xfs" else "no quotas"
    text = f"{driver} on {backing} ({quotas}; sandboxes write to sized memory alone)"
    if driver in ("vfs", "devicemapper", "aufs"):
        return warning("storage", text, "Use overlay2: others copy the image for each sandbox.")
    return good("storage", text)


def _logs(info: Mapping[str, Any]) -> Finding:
    driver = str(info.get("LoggingDriver"))
    if "local" not in ((info.get("Plugins") or {}).get("Log") or ["local"]):
        return bad("logs", "The engine has no log driver `local`.", "Use a newer engine.")
    return good("logs", f"{driver} by default; sandboxes have `local` with 2 MiB at most")


def _restarts(info: Mapping[str, Any]) -> Finding:
    if info.get("LiveRestoreEnabled"):
        return good("engine restarts", "live-restore is on: sandboxes outlive them")
    return warning(
        "engine restarts",
        "live-restore is off: all sessions end when the engine is restarted or updated.",
        'Put "live-restore": true into /etc/docker/daemon.json and reload the engine.',
    )


def _bridge(options: Mapping[str, Any]) -> Finding:
    if options.get("com.docker.network.bridge.enable_icc") == "true":
        text = "containers on the default network reach each other; sandboxes are on none"
    else:
        text = "no default network on which containers reach each other; sandboxes are on none"
    return good("networks", text)
