"""Known ways out of a container, and from which version of which part they are closed. Pure data.

For: warning of an old engine, at the start and by `casemate doctor`. Not for: refusing one, because
distributions close holes without raising the number, and not all of them can be told from it.

`reach` says whether what a sandbox of ours can do is enough for it: it has no say in its image, its
mounts, its networks or its user, and nobody copies files out of it with the engine's help.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Part = Literal["runc", "containerd", "Engine", "runsc"]


class Hole(msgspec.Struct, frozen=True, kw_only=True):
    part: Part
    id: str
    fixed: tuple[str, ...]
    """One version for each line of releases that was mended; all later lines are."""
    what: str
    reach: str
    patched: tuple[str, ...] = ()
    """Debian's packages that mended it without raising the number."""
    only_with: Literal["", "authorization plugins"] = ""


HOLES = (
    Hole(
        part="runc",
        id="CVE-2024-21626",
        fixed=("1.1.12",),
        patched=("1.1.5+ds1-1+deb12u1",),
        what="a leaked descriptor lets a container work in a directory of the host",
        reach="needs a say in the working directory, of the image or of a docker exec",
    ),
    Hole(
        part="runc",
        id="CVE-2024-45310",
        fixed=("1.1.14", "1.2.0"),
        what="empty files can be made on the host while a container starts",
        reach="needs two containers that share a volume",
    ),
    Hole(
        part="runc",
        id="CVE-2025-31133, CVE-2025-52565, CVE-2025-52881",
        fixed=("1.2.8", "1.3.3", "1.4.0"),
        what="races at a container's start lead to writable files of the host's /proc",
        reach="needs a say in the image, or containers that start with shared mounts",
    ),
    Hole(
        part="runc",
        id="CVE-2026-41579",
        fixed=("1.3.6", "1.4.3", "1.5.0"),
        what="an image whose /dev is a link can write a little to the host",
        reach="needs a say in the image",
    ),
    Hole(
        part="containerd",
        id="CVE-2024-40635",
        fixed=("1.6.38", "1.7.27", "2.0.4"),
        patched=("1.6.20~ds1-1+deb12u2",),
        what="a user id above 31 bits becomes root",
        reach="needs a say in the user id, which is Casemate's choice and small",
    ),
    Hole(
        part="containerd",
        id="CVE-2024-25621",
        fixed=("1.7.29", "2.0.7", "2.1.5", "2.2.0"),
        patched=("1.6.20~ds1-1+deb12u2",),
        what="the host's other users may look into containerd's directories",
        reach="needs an account on the host",
    ),
    Hole(
        part="Engine",
        id="CVE-2024-41110",
        fixed=("23.0.15", "25.0.6", "26.1.5", "27.1.1"),
        what="requests pass authorization plugins unseen",
        reach="needs access to the engine's socket",
        only_with="authorization plugins",
    ),
    Hole(
        part="Engine",
        id="CVE-2026-34040",
        fixed=("29.3.1",),
        what="requests pass authorization plugins unseen, again",
        reach="needs access to the engine's socket",
        only_with="authorization plugins",
    ),
    Hole(
        part="Engine",
        id="CVE-2026-41567, CVE-2026-41568, CVE-2026-42306",
        fixed=("29.5.1",),
        what="docker cp with a hostile container runs programs and makes files on the host",
        reach="needs somebody to use docker cp with a sandbox: do not",
    ),
    Hole(
        part="Engine",
        id="CVE-2026-17106",
        fixed=("29.7.1",),
        what="docker cp out of a hostile container writes beside its destination",
        reach="needs somebody to use docker cp with a sandbox: do not",
    ),
)


def open_holes(part: str, version: str, *, package: str = "", plugins: bool = False) -> list[Hole]:
    """Those that this version is not known to have closed. None for what is no version.

    `package` is the distribution's version where the engine tells it, `plugins` whether the engine
    has authorization plugins.
    """
    if not (here := numbers(version)):
        return []
    return [
        hole
        for hole in HOLES
        if hole.part == part
        and (plugins or hole.only_with == "")
        and not _closed(here, hole)
        and not any(_is_later_package(package or version, one) for one in hole.patched)
    ]


def numbers(version: str) -> tuple[int, ...]:
    """`1.1.5+ds1` and `v1.1.5` -> (1, 1, 5)."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def _closed(here: tuple[int, ...], hole: Hole) -> bool:
    fixed = sorted(numbers(version) for version in hole.fixed)
    same_line = [version for version in fixed if version[:2] == here[:2]]
    return here >= (same_line or fixed[-1:])[0]


def _is_later_package(package: str, patched: str) -> bool:
    """The same number with the same or a later revision of Debian's."""
    here, there = (re.match(r"(.+\+deb\d+u)(\d+)", text) for text in (package, patched))
    return bool(here and there and here[1] == there[1] and int(here[2]) >= int(there[2]))


def holes_of_engine(version: Mapping[str, Any], *, plugins: bool = False) -> list[Hole]:
    """All of the parts in the answer of `GET /version`."""
    return [
        hole
        for name, number, package in parts(version)
        for hole in open_holes(name, number, package=package, plugins=plugins)
    ]


def parts(version: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, version and package of each part that an engine is made of, as it tells them."""
    components = version.get("Components") or [
        {"Name": "Engine", "Version": version.get("Version", "")}
    ]
    return [
        (
            str(part.get("Name", "")),
            str(part.get("Version", "")),
            str((part.get("Details") or {}).get("GitCommit", "")),
        )
        for part in components
    ]
