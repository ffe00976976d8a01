"""Fills a directory of the workspace with what an archive must not take at its word.

Argument: the directory. Prints what could be made.
"""

import io
import json
import os
import stat
import sys
import tarfile

os.makedirs(sys.argv[1])
os.chdir(sys.argv[1])
made = {}


def attempt(what, work):
    try:
        work()
        made[what] = "made"
    except OSError as error:
        made[what] = type(error).__name__


def write(name, content=b"content"):
    with open(name, "wb") as file:
        file.write(content)


def tar_that_leads_out():
    """Links that lead one to another until the real path is longer than a check can follow, and
    then out (CVE-2025-4517); and plainer ways."""
    packed = io.BytesIO()
    step, name = "d" * 247, ""
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for letter in "abcdefghijklmnop":
            for path, kind, target in (
                (f"{name}{step}", tarfile.DIRTYPE, ""),
                (f"{name}{letter}", tarfile.SYMTYPE, step),
            ):
                member = tarfile.TarInfo(path)
                member.type, member.linkname = kind, target
                tar.addfile(member)
            name += f"{step}/"
        for path, target in (("l" * 254, "../" * 16), ("escape", f"{'l' * 254}/../../etc")):
            member = tarfile.TarInfo(path)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
        for path in ("escape/out", "../../out", "/tmp/out"):
            member = tarfile.TarInfo(path)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"out"))
    write("evil.tar", packed.getvalue())


write("plain")
attempt("link to shadow", lambda: os.symlink("/etc/shadow", "shadow"))
attempt("link to passwd", lambda: os.symlink("/etc/passwd", "passwd"))
attempt("link to a directory", lambda: os.symlink("/etc", "etc"))
attempt("link to itself", lambda: os.symlink("loop", "loop"))
attempt("link to the slot", lambda: os.symlink("/run/agent/agent.json", "agent"))
attempt("link to the shim", lambda: os.symlink("/proc/self/environ", "environ"))
attempt("hard link", lambda: os.link("plain", "hard"))
attempt("hard link to passwd", lambda: os.link("/etc/passwd", "hard-passwd"))
attempt("pipe", lambda: os.mkfifo("pipe"))
attempt("device", lambda: os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3)))
attempt("socket", lambda: os.mknod("socket", stat.S_IFSOCK | 0o666))
attempt("line break", lambda: write("line\nbreak"))
attempt("escape", lambda: write("esc\x1b[2Jape"))
attempt("text direction", lambda: write("gpj\u202eexe.txt"))
attempt("zero width", lambda: write("a\u200bb"))
attempt("backslash", lambda: write("..\\..\\windows"))
attempt("not utf-8", lambda: write(b"\xff\xfe"))
attempt("too long", lambda: write("x" * 300))
attempt("longest", lambda: write("y" * 255))
attempt("unreadable", lambda: (write("closed"), os.chmod("closed", 0)))
attempt("tar", tar_that_leads_out)


def deep():
    os.makedirs("/".join(["deep"] * 70))


attempt("deep", deep)
print(json.dumps(made))
