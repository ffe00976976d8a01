"""Tries to become somebody else, to write what belongs to the host, and to find what leads there.

Prints, for each attempt, the name of the error it met: none, where it succeeded.
"""

import errno
import json
import os
import stat
from pathlib import Path

CGROUP = "/sys/fs/cgroup"
TARGETS = (
    *("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/vm/overcommit_memory"),
    "/sys/kernel/uevent_helper",
    *(f"{CGROUP}/memory/release_agent", f"{CGROUP}/memory/memory.limit_in_bytes"),
    *(f"{CGROUP}/devices/devices.allow", f"{CGROUP}/pids/pids.max", f"{CGROUP}/cgroup.procs"),
    *(f"{CGROUP}/memory/cgroup.procs", f"{CGROUP}/memory.max", f"{CGROUP}/pids.max"),
    *("/etc/passwd", "/etc/shadow", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"),
    *("/etc/claude-code/managed-settings.json", "/opt/casemate/lib/code/shim/agent.py"),
    *("/usr/bin/python3", "/run/agent/agent.json", "/dev/mem", "/dev/kmsg", "/dev/kvm"),
    *("/dev/fuse", "/dev/net/tun", "/dev/sda", "/dev/vda", "/dev/loop0", "/dev/loop-control"),
)
SOCKETS = ("docker.sock", "containerd/containerd.sock", "podman/podman.sock", "crio/crio.sock")


def attempt(action):
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    return None


def open_to_write(path):
    os.close(os.open(path, os.O_WRONLY))


def replace_socket():
    os.unlink("/run/agent/link.sock")


def own_file_to_root():
    Path("/tmp/own").write_text("")
    os.chown("/tmp/own", 0, 0)


def shim():
    for name in filter(str.isdigit, os.listdir("/proc")):
        words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
        if b"shim" in words and b"docker-init" not in words[0]:
            return name
    raise SystemExit("no shim")


def kind_of(path):
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0


identity = {
    "setuid": attempt(lambda: os.setuid(0)),
    "setgid": attempt(lambda: os.setgid(0)),
    "setgroups": attempt(lambda: os.setgroups([0])),
    "map users": attempt(lambda: Path("/proc/self/uid_map").write_text("0 0 1")),
    "chown": attempt(own_file_to_root),
    "block device": attempt(lambda: os.mknod("/tmp/block", 0o60666, os.makedev(254, 0))),
    "character device": attempt(lambda: os.mknod("/tmp/character", 0o20666, os.makedev(1, 1))),
    "hard link": attempt(lambda: os.link("/etc/shadow", "/tmp/shadow")),
    "read shadow": attempt(lambda: Path("/etc/shadow").read_bytes()),
    "priority": attempt(lambda: os.nice(-5)),
    "replace a socket": attempt(replace_socket),
    "write into the slot": attempt(lambda: Path("/run/agent/new").write_text("")),
    "write into the root": attempt(lambda: Path("/new").write_text("")),
}
set_id, block = [], []
for folder, folders, names in os.walk("/"):
    folders[:] = [f for f in folders if os.path.join(folder, f) not in ("/proc", "/sys")]
    for path in (os.path.join(folder, name) for name in names):
        mode = kind_of(path)
        if stat.S_ISREG(mode) and mode & 0o6000:
            set_id.append(path)
        if stat.S_ISBLK(mode):
            block.append(path)
status = dict(
    line.split(":\t", 1)
    for line in Path("/proc/self/status").read_text().splitlines()
    if "\t" in line
)
mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
print(
    json.dumps(
        {
            "identity": identity,
            "writes": {path: attempt(lambda p=path: open_to_write(p)) for path in TARGETS},
            "sockets": [
                s for s in SOCKETS for d in ("/run", "/var/run") if os.path.exists(f"{d}/{s}")
            ],
            "set_id": set_id,
            "block": block,
            "opened": [path for path in block if attempt(lambda p=path: open_to_write(p)) is None],
            "capabilities": {n: status[n] for n in status if n.startswith("Cap")},
            "no_new_privileges": status.get("NoNewPrivs"),
            "seccomp": status["Seccomp"],
            "release": os.uname().release,
            "uid": os.getuid(),
            "mounts": mounts,
            "writable": [m for m in mounts if os.path.isdir(m) and os.access(m, os.W_OK)],
            "oom_score": Path("/proc/self/oom_score_adj").read_text().strip(),
            "spared": attempt(lambda: Path("/proc/self/oom_score_adj").write_text("-1")),
            "shim": {
                part: attempt(lambda p=part: os.open(f"/proc/{shim()}/{p}", os.O_RDONLY))
                for part in ("environ", "mem", "maps", "fd/0", "fd/1")
            },
        }
    )
)
