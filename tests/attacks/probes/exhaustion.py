"""Takes as much of one thing as it gets, says how much that was, and gives it back.

Argument: what. Every loop is bounded, for a machine on which nothing holds it.
"""

import ctypes
import errno
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

MIB = 1 << 20
MOST_FORKS = 3000
FOLDERS = {"/tmp": 256, "/home/agent": 128, "/workspace": 512, "/dev/shm": 64}


def forks():
    """Children that stay, until there can be no more."""
    children, met = [], None
    try:
        while len(children) < MOST_FORKS:
            if (pid := os.fork()) == 0:
                time.sleep(30)
                os._exit(0)
            children.append(pid)
        time.sleep(1)
    except OSError as error:
        met = errno.errorcode[error.errno]
    time.sleep(2)  # the neighbour's turn runs meanwhile
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)
    return {"taken": len(children), "met": met}


def memory():
    """A child that wants 3 GiB."""
    if (pid := os.fork()) == 0:
        held = []
        for _ in range(192):
            held.append(b"x" * (16 * MIB))
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return {"killed_by": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None}


def disk():
    """Every place that can be written to."""
    taken, block = {}, b"x" * MIB
    for folder, size in FOLDERS.items():
        names, written, met = [], 0, None
        try:
            while written < 2 * size:
                names.append(f"{folder}/fill-{len(names)}")
                with open(names[-1], "wb", buffering=0) as file:
                    for _ in range(64):
                        written += file.write(block) / MIB
        except OSError as error:
            met = errno.errorcode[error.errno]
        for name in names:
            os.unlink(name)
        taken[folder] = {"taken": written, "met": met}
    return taken


def inodes():
    """Empty files, which cost no bytes."""
    taken = {}
    for folder in ("/tmp", "/workspace"):
        home, count, met = f"{folder}/many", 0, None
        os.mkdir(home)
        os.chdir(home)
        try:
            while count < 400_000:
                os.close(os.open(str(count), os.O_CREAT | os.O_WRONLY))
                count += 1
        except OSError as error:
            met = errno.errorcode[error.errno]
        for number in range(count):
            os.unlink(str(number))
        os.chdir("/")
        os.rmdir(home)
        taken[folder] = {"taken": count, "met": met}
    return taken


def descriptors():
    count, met, held = 0, None, []
    try:
        while count < 100_000:
            held.append(os.open("/dev/null", os.O_RDONLY))
            count += 1
    except OSError as error:
        met = errno.errorcode[error.errno]
    for descriptor in held:
        os.close(descriptor)
    return {"taken": count, "met": met}


def file_size():
    """A file with a hole of ten TiB, and a core dump."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    met = None
    try:
        with open("/tmp/hole", "wb") as file:
            file.truncate(10 << 40)
    except OSError as error:
        met = errno.errorcode[error.errno]
    return {"met": met, "core": resource.getrlimit(resource.RLIMIT_CORE)[1]}


def raise_limits():
    """All hard limits at once; without rights only the kernel's default is left."""
    met = {}
    for name in ("NOFILE", "CORE", "FSIZE", "MEMLOCK", "SIGPENDING"):
        limit = getattr(resource, f"RLIMIT_{name}", None)
        if limit is None:
            continue
        hard = resource.getrlimit(limit)[1]
        try:
            resource.setrlimit(limit, (hard + 1, hard + 1))
            met[name] = None
        except (OSError, ValueError) as error:
            met[name] = type(error).__name__
    return met


def watches():
    """inotify instances, which the kernel counts for each user (gVisor: as open files)."""
    kept = Path("/workspace/taken").open("w") if "stay" in sys.argv else None
    libc, count, met = ctypes.CDLL(None, use_errno=True), 0, None
    while count < 10_000:
        if libc.inotify_init1(0) < 0:
            met = errno.errorcode[ctypes.get_errno()]
            break
        count += 1
    if kept is not None:
        kept.write(json.dumps({"taken": count, "met": met}))
        kept.close()
        time.sleep(120)
    return {"taken": count, "met": met}


def log():
    """Sixty MiB into what Docker keeps of the container's own output, if it is to be reached."""
    reached, line = [], b"x" * 1000 + b"\n"
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        for number in (1, 2):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if b"docker-init" not in words[0] and b"shim" not in words:
                    continue
                output = os.open(f"/proc/{pid}/fd/{number}", os.O_WRONLY)
            except OSError:
                continue
            for _ in range(600):
                os.write(output, line * 50)
            reached.append(f"{pid}/{number}")
            os.close(output)
    return {"reached": reached}


print(json.dumps(globals()[sys.argv[1]]()))
