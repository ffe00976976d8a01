"""The base of the sandbox image: from a registry where one answers, else made of Debian's packages.

The second way needs a package mirror and no registry: `mmdebstrap` makes a root file system with
every package of the image in it, so that the build itself has nothing left to fetch from Debian.
"""

import datetime as dt
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import docker
from docker.errors import APIError, DockerException, ImageNotFound

SUITE = "bookworm"
REGISTRY_REFERENCE = f"debian:{SUITE}-slim"
REGISTRY_TIMEOUT = 20
"""Seconds without a sign of life until a registry counts as out of reach."""
MAX_AGE = dt.timedelta(days=14)
"""An older base of our own is made anew, for Debian's security updates."""
MAKE_TIMEOUT = 1800
"""Seconds for `mmdebstrap`; 30 is usual, a slow mirror takes minutes."""

Progress = Callable[[str], None]


class ImageBuildFailed(Exception):
    """The image could not be built. `sentence` says why, `advice` what to do about it."""

    def __init__(self, sentence: str, *, advice: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.advice = advice


def provide_base(
    client: docker.DockerClient, *, base: str, packages: Sequence[str], on_progress: Progress
) -> str:
    """A reference to build from. `base` is `auto`, `debootstrap` or an image reference.

    Raises ImageBuildFailed.
    """
    match base:
        case "auto":
            return _from_registry(client, REGISTRY_REFERENCE, on_progress) or _from_packages(
                client, packages, on_progress
            )
        case "debootstrap":
            return _from_packages(client, packages, on_progress)
        case reference:
            return _named(client, reference, on_progress)


def _named(client: docker.DockerClient, reference: str, on_progress: Progress) -> str:
    found = _from_registry(client, reference, on_progress)
    if found is None:
        raise ImageBuildFailed(
            f"The base image {reference} is neither here nor at its registry.",
            advice="Check its name, or build with --base debootstrap, which needs no registry.",
        )
    return found


def _from_registry(
    client: docker.DockerClient, reference: str, on_progress: Progress
) -> str | None:
    """`reference` if it is here already or can be pulled, else None."""
    try:
        client.images.get(reference)
    except ImageNotFound:
        return _pulled(client, reference, on_progress)
    return reference


def _pulled(client: docker.DockerClient, reference: str, on_progress: Progress) -> str | None:
    on_progress(f"Asking the registry for {reference}")
    patience = client.api.timeout
    client.api.timeout = REGISTRY_TIMEOUT
    try:
        for step in client.api.pull(reference, stream=True, decode=True):
            if "error" in step:
                return None
    except (DockerException, OSError):  # requests' errors are OSErrors
        return None
    finally:
        client.api.timeout = patience
    return reference


def _from_packages(
    client: docker.DockerClient, packages: Sequence[str], on_progress: Progress
) -> str:
    wanted = hashlib.sha256(" ".join((SUITE, *packages)).encode()).hexdigest()[:12]
    reference = f"casemate-base:{SUITE}-{wanted}"
    if not _is_fresh(client, reference):
        _make(client, reference, packages, on_progress)
    return reference


def _is_fresh(client: docker.DockerClient, reference: str) -> bool:
    try:
        created = client.images.get(reference).attrs["Created"]
    except ImageNotFound:
        return False
    # Docker writes nanoseconds, which fromisoformat does not read everywhere.
    made = dt.datetime.fromisoformat(created[:19]).replace(tzinfo=dt.UTC)
    return dt.datetime.now(dt.UTC) - made < MAX_AGE


def _make(
    client: docker.DockerClient, reference: str, packages: Sequence[str], on_progress: Progress
) -> None:
    program = _mmdebstrap(on_progress)
    on_progress("Making a base from Debian's packages (half a minute, more on a slow mirror)")
    with tempfile.TemporaryDirectory(prefix="casemate-base-") as directory:
        archive = Path(directory) / "base.tar"
        _run([program, "--quiet", "--variant=minbase", f"--include={','.join(packages)}", SUITE,
              str(archive)])  # fmt: skip
        on_progress("Importing the base into Docker")
        repository, tag = reference.split(":")
        try:
            client.api.import_image_from_file(str(archive), repository=repository, tag=tag)
        except (APIError, OSError) as error:
            raise ImageBuildFailed("Docker did not take the base.", advice=str(error)) from error


def _mmdebstrap(on_progress: Progress) -> str:
    """The program's path; installed first where this is possible."""
    program = shutil.which("mmdebstrap")
    if program is None and os.geteuid() == 0 and shutil.which("apt-get"):
        on_progress("Installing mmdebstrap")
        _run(["apt-get", "-qq", "update"])
        _run(["apt-get", "-qqy", "install", "--no-install-recommends", "mmdebstrap",
              "debian-archive-keyring"])  # fmt: skip
        program = shutil.which("mmdebstrap")
    if program is None:
        raise ImageBuildFailed(
            "No registry answers, and mmdebstrap, which makes a base without one, is not here.",
            advice="Install mmdebstrap, or pull debian:bookworm-slim where a registry answers.",
        )
    return program


def _run(command: list[str]) -> None:
    try:
        subprocess.run(  # noqa: S603 - the arguments are ours, and no shell reads them
            command, check=True, timeout=MAKE_TIMEOUT, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ImageBuildFailed(
            f"{command[0]} did not end within {MAKE_TIMEOUT} seconds.",
            advice="Check that this machine reaches a Debian mirror.",
        ) from error
    except subprocess.CalledProcessError as error:
        raise ImageBuildFailed(
            f"{command[0]} failed: {error.stderr.strip()[-400:]}",
            advice="Check that this machine reaches a Debian mirror.",
        ) from error
