"""Whether this machine can run sandboxes well: what is there, what is missing, what is old."""

import os
import shutil
from pathlib import Path
from typing import Literal

import msgspec

from orchestrator.sandboxes import image_builder
from orchestrator.sandboxes.image_base import ImageBuildFailed
from orchestrator.settings import Settings
from orchestrator.setup import engine as docker_engine
from orchestrator.setup import sandbox_image
from orchestrator.setup.engine_plan import UseEngine, plan
from orchestrator.setup.errors import SetupFailed

Verdict = Literal["good", "warning", "bad"]
OLDEST_FIXED = {"runc": (1, 2, 8), "Engine": (25, 0, 0)}
"""Below these, known ways out of a container are open. Distributions patch older ones with
the number unchanged, so it is a warning and no refusal."""
LEAST_DISK_GB = 5
LEAST_MEMORY_MB = 2048


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    about: str
    verdict: Verdict
    text: str


def examine(settings: Settings) -> list[Finding]:
    """Look at everything. Never raises: what cannot be looked at is a finding too."""
    found = [
        _privileges(os.geteuid()),
        _cgroups(Path("/sys/fs/cgroup")),
        _memory(),
        _disk(settings),
    ]
    environment = dict(os.environ)
    if settings.engine.url:
        environment["DOCKER_HOST"] = settings.engine.url
    decision = plan(docker_engine.look_around(environment))
    if not isinstance(decision, UseEngine):
        missing = "none answers; `casemate up` brings one up where it can"
        return [*found, Finding(about="engine", verdict="bad", text=missing)]
    os.environ["DOCKER_HOST"] = decision.url
    return [*found, *_engine(decision), _image(settings)]


def _privileges(uid: int) -> Finding:
    if uid == 0:
        return Finding(
            about="user", verdict="good", text="root: each sandbox gets a uid of its own"
        )
    return Finding(
        about="user",
        verdict="warning",
        text="not root: all sandboxes run with your uid and share its kernel limits",
    )


def _cgroups(root: Path) -> Finding:
    if (root / "cgroup.controllers").exists():
        return Finding(about="cgroups", verdict="good", text="version 2")
    if (root / "memory").is_dir():
        return Finding(about="cgroups", verdict="good", text="version 1")
    return Finding(
        about="cgroups", verdict="bad", text="no memory controller: sandboxes would have no limits"
    )


def _memory() -> Finding:
    megabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (1 << 20)
    verdict: Verdict = "good" if megabytes >= LEAST_MEMORY_MB else "warning"
    return Finding(about="memory", verdict=verdict, text=f"{megabytes} MiB in all")


def _disk(settings: Settings) -> Finding:
    folder = settings.server.data_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    verdict: Verdict = "good" if free >= LEAST_DISK_GB else "warning"
    return Finding(about="disk", verdict=verdict, text=f"{free:.0f} GB free at {folder}")


def _engine(decision: UseEngine) -> list[Finding]:
    try:
        versions = docker_engine.engine_version(decision.url)
    except SetupFailed as error:
        return [Finding(about="engine", verdict="bad", text=str(error))]
    here = Finding(about="engine", verdict="good", text=f"{decision.origin}, {decision.url}")
    return [here, *(version_finding(name, version) for name, version in versions.items())]


def version_finding(name: str, version: str) -> Finding:
    oldest = OLDEST_FIXED.get(name)
    if oldest is None or numbers(version) >= oldest:
        return Finding(about=name, verdict="good", text=version)
    return Finding(
        about=name,
        verdict="warning",
        text=f"{version} is old; unless your distribution patches it, use at least "
        + ".".join(map(str, oldest)),
    )


def numbers(version: str) -> tuple[int, ...]:
    """`1.1.5+ds1` -> (1, 1, 5)."""
    parts = []
    for part in version.split("."):
        digits = part[: next((i for i, c in enumerate(part) if not c.isdigit()), len(part))]
        if not digits:
            break
        parts.append(int(digits))
        if digits != part:
            break
    return tuple(parts)


def _image(settings: Settings) -> Finding:
    try:
        choice = sandbox_image.remembered_choice(settings.server.data_dir)
        image = image_builder.find_image(choice.tag)
        stale = sandbox_image.is_stale(choice)
    except (SetupFailed, ImageBuildFailed) as error:
        return Finding(about="image", verdict="bad", text=str(error))
    if image is None:
        return Finding(about="image", verdict="warning", text="not built yet")
    size = f"{image.size_bytes / 1e6:.0f} MB"
    if stale:
        return Finding(about="image", verdict="warning", text=f"{size}, of an older version")
    return Finding(about="image", verdict="good", text=f"{size}, current")
