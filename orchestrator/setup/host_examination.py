"""What this machine offers, and whether it fits the settings, judged from what was seen. Pure."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from orchestrator.sandboxes.settings import SlotSettings
from orchestrator.sessions.profiles import Profile
from orchestrator.setup.finding import Finding, bad, good, warning

GB, MIB = 10**9, 1 << 20
LEAST_DISK = 5 * GB
LEAST_MEMORY = 2048 * MIB
LEAST_KERNEL = (5, 4)
"""Older ones are without care of their makers."""
IN_MEMORY = ("tmpfs", "ramfs")
OTHERS_READ, OTHERS_WRITE = 0o077, 0o002
SHOWN = 4
"""Names in one finding; a company's machine may have thousands of users."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A directory or a socket as it is on the disk."""

    path: Path
    owner: int
    mode: int
    """The permission bits."""


class IdRange(msgspec.Struct, frozen=True, kw_only=True):
    """User ids that somebody has: one, or the subordinate ones of /etc/subuid."""

    name: str
    first: int
    count: int = 1


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    uid: int
    kernel: str
    cgroup_controllers: tuple[str, ...]
    memory: int
    """Bytes in all."""
    disk_free: int
    """Bytes, where the data directory is or would be."""
    data: Place | None
    """None where there is none yet."""
    slots_file_system: str
    socket: Place | None = None
    """The engine's socket; None where it is none."""
    socket_group: tuple[str, ...] = ()
    """Who may use it by being in its group."""
    ids: tuple[IdRange, ...] = ()


class Plans(msgspec.Struct, frozen=True, kw_only=True):
    """What of the settings the machine must carry."""

    profiles: Sequence[Profile]
    pool_maximum: int
    host_maximum: int
    slots: SlotSettings


def examine_host(facts: HostFacts, plans: Plans) -> list[Finding]:
    return [
        _operator(facts.uid),
        _kernel(facts.kernel),
        _controllers(facts.cgroup_controllers),
        _memory(facts.memory, plans),
        _disk(facts.disk_free),
        _data(facts.data, uid=facts.uid),
        _slots(plans.slots.root, facts.slots_file_system),
        _ids(facts.ids, plans.slots),
        _socket(facts.socket, facts.socket_group),
    ]


def _operator(uid: int) -> Finding:
    if uid == 0:
        return good("operator", "root: each sandbox gets a user id of its own")
    return warning(
        "operator",
        "Not root: all sandboxes run with your user id and share its kernel limits.",
        "Run Casemate as root, or as a service that is.",
    )


def _kernel(release: str) -> Finding:
    digits = release.split("-", maxsplit=1)[0].split(".")[:2]
    version = tuple(int(part) for part in digits if part.isdigit())
    if version < LEAST_KERNEL:
        return warning(
            "kernel",
            f"{release} is old, and sandboxes under runc use it.",
            "Use a kernel that is still cared for, or gVisor.",
        )
    return good(
        "kernel", f"{release}; what is often open in it (io_uring, vsock, AF_ALG) sandboxes lack"
    )


def _controllers(controllers: Sequence[str]) -> Finding:
    missing = [name for name in ("memory", "pids", "cpu") if name not in controllers]
    if missing:
        return bad(
            "controllers",
            f"No cgroup controller for {', '.join(missing)}: sandboxes would have no such limits.",
            "Switch it on (kernel command line: cgroup_enable=memory, for one).",
        )
    return good("controllers", ", ".join(sorted(controllers)))


def _memory(total: int, plans: Plans) -> Finding:
    about, has = "memory", f"{total / GB:.1f} GB"
    if not plans.profiles:
        return good(about, has)
    largest = max(profile.resources.memory for profile in plans.profiles)
    each = [plans.pool_maximum * profile.resources.memory for profile in plans.profiles]
    most = min(sum(each), plans.host_maximum * largest)
    if total < max(LEAST_MEMORY, largest):
        return bad(
            about,
            f"{has}, and one sandbox may take {largest / GB:.1f} GB.",
            "Use a larger machine, or profiles with less memory.",
        )
    if most > total:
        return warning(
            about,
            f"{has}; if all sandboxes that the pools allow took all they may, {most / GB:.1f} GB. "
            "An idle one takes 0.2 GB.",
            "Lower the pools' maximum or the profiles' memory, or accept that it is shared.",
        )
    return good(about, f"{has}, enough for all sandboxes at their limits ({most / GB:.1f} GB)")


def _disk(free: int) -> Finding:
    if free < LEAST_DISK:
        return warning(
            "disk",
            f"{free / GB:.1f} GB free; the image and its making take {LEAST_DISK / GB:.0f} GB.",
            "Make room, or move the data directory.",
        )
    return good("disk", f"{free / GB:.0f} GB free")


def _data(place: Place | None, *, uid: int) -> Finding:
    about = "data directory"
    if place is None:
        return good(about, "not made yet")
    if place.owner not in (uid, 0):
        return bad(
            about,
            f"{place.path} belongs to user {place.owner}, who could change keys and users.",
            f"chown -R it to the user that runs Casemate ({uid}).",
        )
    if place.mode & OTHERS_READ:
        return bad(
            about,
            f"{place.path} can be entered by others (mode {place.mode:04o}): it holds the keys "
            "that sign tokens, and what everybody said.",
            f"chmod 700 {place.path}",
        )
    return good(about, f"{place.path}, for its owner alone")


def _slots(root: Path, file_system: str) -> Finding:
    if file_system in IN_MEMORY:
        return good("slots", f"{root}, in memory ({file_system})")
    return warning(
        "slots",
        f"{root} is on {file_system}: what a crash leaves there outlives a restart of the machine.",
        "Let CASEMATE_SLOTS_ROOT name a directory on a tmpfs, as /run mostly is.",
    )


def _ids(taken: Sequence[IdRange], slots: SlotSettings) -> Finding:
    first, last = slots.first_uid, slots.first_uid + slots.uids - 1
    others = [one.name for one in taken if one.first <= last and one.first + one.count - 1 >= first]
    span = f"{first} to {last}"
    if others:
        named = ", ".join(dict.fromkeys(others[:SHOWN])) + (" ..." if len(others) > SHOWN else "")
        return bad(
            "sandboxes' users",
            f"Of the user ids {span}, some are somebody else's: {named}.",
            "Let CASEMATE_SLOTS_FIRST_UID and CASEMATE_SLOTS_UIDS name ids that nobody has.",
        )
    return good("sandboxes' users", f"{span}, which nobody else has")


def _socket(socket: Place | None, group: Sequence[str]) -> Finding:
    about = "engine's socket"
    if socket is None:
        return good(about, "none on this machine's disk")
    if socket.mode & OTHERS_WRITE:
        return bad(
            about,
            f"Everybody on this machine may use {socket.path}, and is root by it.",
            f"chmod 660 {socket.path}",
        )
    if group:
        named = ", ".join(group[:SHOWN]) + (" ..." if len(group) > SHOWN else "")
        return warning(
            about,
            f"{named} may use {socket.path}, which is as good as being root.",
            "Leave in its group only whom you would give root to.",
        )
    return good(about, f"{socket.path}, for root alone")
