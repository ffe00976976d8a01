"""The host's kernel and files, attacked with what a sandbox's user may call and open.

Under runc the walls are the host kernel's: what is not allowed is refused. Under gVisor's runsc a
sandbox has a kernel of its own, which may serve a call itself: then it must be that kernel's.
"""

import os
from pathlib import Path

from .cases import attack
from .intruder import Intruder, docker

REFUSED = {"EPERM", "ENOSYS", "EACCES", "SIGSYS", "SIGSEGV", "SIGKILL"}
"""The last three: the kernel ended a child that tried."""
NO_SUCH = {"EPERM", "EACCES", "EAFNOSUPPORT", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT", "EINVAL"}
NOT_WRITABLE = {"EPERM", "EACCES", "EROFS", "ENOENT", "ENXIO", "ENODEV", "ENOTDIR"}
NOT_THEIRS = {"EPERM", "EACCES", "EROFS", "EXDEV", "EINVAL"}
REFUSED_BY = {
    "runc": REFUSED,
    "runsc": REFUSED | {"EINVAL", "EBADF", "ENODEV", "ENOTSUP"},
}
SERVED_BY = {  # by gVisor's kernel, about its own processes, users, keys and messages
    "runc": set(),
    "runsc": {
        *("keyctl", "ptrace", "process_vm_readv", "process_vm_writev", "syslog"),
        *("unshare user", "clone user"),
    },
}
GIVEN_BY = {"runc": set(), "runsc": {"block device", "character device", "priority"}}
OWN_DEVICES = {"runc": set(), "runsc": {"/dev/fuse", "/dev/net/tun"}}
"""gVisor's own, with nothing of the host behind them; its device files cannot be opened."""


@attack(
    "A09",
    "A10",
    "A11",
    tried="make sockets of other families; io_uring, ptrace, bpf, keys, namespaces, mounts, and "
    "the same by other ABIs",
    protects="the host's kernel",
)
async def test_the_kernel_is_closed(intruder: Intruder, runtime: str) -> None:
    """Of the system calls and sockets that lead to the kernel's weak sides none is let through."""
    found = await intruder.probe("system_calls")
    assert found["control"] == {"getpid": None, "unix": None}
    assert (found["release"] == os.uname().release) is (runtime == "runc")
    let_through = {n: e for n, e in found["calls"].items() if e not in REFUSED_BY[runtime]}
    assert {n: e for n, e in let_through.items() if n not in SERVED_BY[runtime]} == {}
    assert {n: e for n, e in found["sockets"].items() if e not in NO_SUCH} == {}


@attack(
    "A12",
    tried="become root, join a group, give files away, make devices, link and replace root's files",
    protects="the sandbox's own walls: root's files in it, and its sockets",
)
async def test_nobody_becomes_somebody_else(intruder: Intruder, runtime: str) -> None:
    """A sandbox has an own user without capabilities who can gain no others."""
    found = await intruder.probe("rights")
    gained = {n: e for n, e in found["identity"].items() if e not in NOT_THEIRS}
    assert {n: e for n, e in gained.items() if n not in GIVEN_BY[runtime]} == {}
    assert {int(value, 16) for value in found["capabilities"].values()} == {0}
    assert found["uid"] > 0
    if runtime == "runc":  # gVisor tells neither, and filters its own kernel's calls to the host
        assert (found["no_new_privileges"], found["seccomp"]) == ("1", "2")


@attack(
    "A13",
    "A14",
    tried="write to kernel settings, cgroups, devices and the system's files; look for set-id "
    "programs, block devices and engines' sockets",
    protects="the host",
)
async def test_nothing_of_the_host_is_in_reach(intruder: Intruder, runtime: str) -> None:
    """What belongs to the host cannot be written, and what would lead there is not there."""
    found = await intruder.probe("rights")
    written = {path: e for path, e in found["writes"].items() if e not in NOT_WRITABLE}
    assert {path: e for path, e in written.items() if path not in OWN_DEVICES[runtime]} == {}
    assert (found["set_id"], found["opened"], found["sockets"]) == ([], [], [])
    assert found["block"] == ([] if runtime == "runc" else ["/tmp/block"])  # as it made it itself
    assert found["mounts"].count("/run/agent") == 1
    own = {"/workspace", "/home/agent", "/tmp", "/dev/shm", "/dev/mqueue"}
    assert set(found["writable"]) <= own


@attack(
    "A12",
    tried="read the shim's memory and environment, and hide from the out-of-memory killer",
    protects="the shim, and whom the kernel chooses when memory is short",
)
async def test_the_shim_is_closed_to_its_tools(intruder: Intruder, runtime: str) -> None:
    """The shim's memory is closed, and no process of a sandbox is spared before the host's own.

    gVisor keeps a user's processes apart from nobody: there the shim is open, and has no secret.
    """
    found = await intruder.probe("rights")
    pid = docker("inspect", "-f", "{{.State.Pid}}", await intruder.sandbox())
    assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) >= 500
    if runtime == "runc":
        assert set(found["shim"].values()) <= {"EACCES", "EPERM"}
        assert int(found["oom_score"]) >= 500
        assert found["spared"] == "EACCES"


@attack(
    "A14",
    tried="run another program in the sandbox with its user id, from outside",
    protects="the same walls for whatever runs in there, the CLI or not",
)
async def test_a_raw_process_meets_the_same_walls(intruder: Intruder, runtime: str) -> None:
    """A process that the engine starts in the sandbox has no capabilities, either."""
    name = await intruder.sandbox()
    user = docker("inspect", "-f", "{{.Config.User}}", name)
    said = docker("exec", "--user", user, name, "cat", "/proc/self/status")
    assert user.split(":")[0] in said
    rights = [line.split()[1] for line in said.splitlines() if line.startswith("Cap")]
    assert {int(value, 16) for value in rights} == {0}
    release = docker("exec", "--user", user, name, "uname", "-r")
    assert (release == os.uname().release) is (runtime == "runc")
    assert runtime == "runsc" or "Seccomp:\t2" in said
