"""The host's kernel and files, attacked with what a sandbox's user may call and open."""

from .cases import attack
from .intruder import Intruder, docker

REFUSED = {"EPERM", "ENOSYS", "EACCES", "SIGSYS", "SIGSEGV", "SIGKILL"}
"""The last three: the kernel ended a child that tried."""
NO_SUCH = {"EPERM", "EACCES", "EAFNOSUPPORT", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT", "EINVAL"}
NOT_WRITABLE = {"EPERM", "EACCES", "EROFS", "ENOENT", "ENXIO", "ENODEV", "ENOTDIR"}
NOT_THEIRS = {"EPERM", "EACCES", "EROFS", "EXDEV", "EINVAL"}


@attack(
    "A09",
    "A10",
    "A11",
    tried="make sockets of other families; io_uring, ptrace, bpf, keys, namespaces, mounts, and "
    "the same by other ABIs",
    protects="the host's kernel",
)
async def test_the_kernel_is_closed(intruder: Intruder) -> None:
    """Of the system calls and sockets that lead to the kernel's weak sides none is let through."""
    found = await intruder.probe("system_calls")
    assert found["control"] == {"getpid": None, "unix": None}
    assert {n: e for n, e in found["calls"].items() if e not in REFUSED} == {}
    assert {n: e for n, e in found["sockets"].items() if e not in NO_SUCH} == {}


@attack(
    "A12",
    tried="become root, join a group, give files away, make devices, link and replace root's files",
    protects="the sandbox's own walls: root's files in it, and its sockets",
)
async def test_nobody_becomes_somebody_else(intruder: Intruder) -> None:
    """A sandbox has an own user without capabilities who can gain no others."""
    found = await intruder.probe("rights")
    assert {n: e for n, e in found["identity"].items() if e not in NOT_THEIRS} == {}
    assert {int(value, 16) for value in found["capabilities"].values()} == {0}
    assert (found["no_new_privileges"], found["uid"] > 0) == ("1", True)
    assert found["seccomp"] == "2"


@attack(
    "A13",
    "A14",
    tried="write to kernel settings, cgroups, devices and the system's files; look for set-id "
    "programs, block devices and engines' sockets",
    protects="the host",
)
async def test_nothing_of_the_host_is_in_reach(intruder: Intruder) -> None:
    """What belongs to the host cannot be written, and what would lead there is not there."""
    found = await intruder.probe("rights")
    assert {path: e for path, e in found["writes"].items() if e not in NOT_WRITABLE} == {}
    assert (found["set_id"], found["block"], found["sockets"]) == ([], [], [])
    assert found["mounts"].count("/run/agent") == 1
    own = {"/workspace", "/home/agent", "/tmp", "/dev/shm", "/dev/mqueue"}
    assert set(found["writable"]) <= own


@attack(
    "A12",
    tried="read the shim's memory and environment, and hide from the out-of-memory killer",
    protects="the shim, and whom the kernel chooses when memory is short",
)
async def test_the_shim_is_closed_to_its_tools(intruder: Intruder) -> None:
    """The shim's memory is closed, and no process of a sandbox is spared before the host's own."""
    found = await intruder.probe("rights")
    assert set(found["shim"].values()) <= {"EACCES", "EPERM"}
    assert int(found["oom_score"]) >= 500
    assert found["spared"] == "EACCES"


@attack(
    "A14",
    tried="run another program in the sandbox with its user id, from outside",
    protects="the same walls for whatever runs in there, the CLI or not",
)
async def test_a_raw_process_meets_the_same_walls(intruder: Intruder) -> None:
    """A process that the engine starts in the sandbox has no capabilities, either."""
    name = await intruder.sandbox()
    user = docker("inspect", "-f", "{{.Config.User}}", name)
    said = docker("exec", "--user", user, name, "cat", "/proc/self/status")
    assert user.split(":")[0] in said
    rights = [line.split()[1] for line in said.splitlines() if line.startswith("Cap")]
    assert {int(value, 16) for value in rights} == {0}
    assert "Seccomp:\t2" in said
