"""Kills the shim or the CLI, whichever is named."""

import os
import signal
import sys
from pathlib import Path

for name in filter(str.isdigit, os.listdir("/proc")):
    words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
    found = {
        "claude": words[0].endswith(b"/claude"),
        "shim": b"shim" in words and b"docker-init" not in words[0],
    }
    if found[sys.argv[1]]:
        os.kill(int(name), signal.SIGKILL)
