"""Debian's packages, installed with apt-get where that is possible: as root, on Debian's kin."""

import os
import shutil
import subprocess

from orchestrator.setup.errors import PackagesNotInstalled
from orchestrator.setup.progress import Progress

APT_SECONDS = 900.0
"""A slow mirror and a small machine together; beyond that something hangs."""
LOCK_SECONDS = 120
"""Another apt run (unattended upgrades after boot) is waited for this long."""


def can_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: list[str], *, progress: Progress) -> None:
    """Install them without what they merely recommend. Raises PackagesNotInstalled.

    The package lists are refreshed only where the first try fails: a fresh machine has none, others
    should not wait for it.
    """
    with progress.step(f"Installing {', '.join(packages)}") as step:
        failure = _apt_get(["install", "--no-install-recommends", *packages])
        if failure is None:
            return
        step.say("refreshing the package lists")
        failure = _apt_get(["update"]) or _apt_get(
            ["install", "--no-install-recommends", *packages]
        )
        if failure is not None:
            raise PackagesNotInstalled(
                f"apt-get could not install {', '.join(packages)}: {failure}",
                advice="Install them yourself and run this again.",
            )


def _apt_get(arguments: list[str]) -> str | None:
    """Run it; what it complained about, or None where it succeeded."""
    command = ["apt-get", "-y", "-qq", "-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}", *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}
    try:
        done = subprocess.run(  # noqa: S603 -- fixed program, package names from our own code
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=APT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    complaints = [line for line in done.stderr.splitlines() if line.startswith(("E:", "dpkg:"))]
    return " ".join(complaints[-2:]) or f"it ended with status {done.returncode}."
