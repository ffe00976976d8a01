import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from orchestrator.setup.checkout import this_checkout
from orchestrator.setup.generated import generated_files, out_of_date

REGISTRIES = re.compile(
    r"pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|yarnpkg\.com|ghcr\.io|quay\.io"
    r"|(?:registry-1|index|hub)\.docker\.(?:io|com)|(?:deb|security|ftp)\.debian\.org"
)
MACHINE_PATHS = re.compile(r"/work/(?:main|shared)|/work/\.[a-z]|/tmp/[w]/|\.pyenv[/]")
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(?: ; .+?)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


def text_of(path: Path) -> str | None:
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return None  # a picture or a font


@pytest.mark.parametrize("pattern", [REGISTRIES, MACHINE_PATHS], ids=["registries", "paths"])
def test_nothing_is_tied_to_a_place(root: Path, tracked: list[Path], pattern: re.Pattern[str]):
    """No file names the host of a package registry, or a path of one machine."""
    found = {
        f"{path.relative_to(root)}: {match.group()}"
        for path in tracked
        if (text := text_of(path)) is not None
        for match in [pattern.search(text)]
        if match
    }
    assert found == set()


def lock_files(root: Path) -> list[Path]:
    return sorted((root / "requirements").glob("*.txt"))


def test_requirements_are_locked_with_hashes(root: Path):
    """Each requirement is one exact version with at least one hash, and names no address."""
    assert [path.stem for path in lock_files(root)] == ["dev", "run", "sandbox", "tools"]
    for path in lock_files(root):
        lines = path.read_text().splitlines()
        for line, following in zip(lines, [*lines[1:], ""], strict=True):
            assert PINNED.match(line) or HASH.match(line), f"{path.name}: {line}"
            if PINNED.match(line):
                assert HASH.match(following), f"{path.name}: {line} has no hash"


def locked(path: Path) -> dict[str, str]:
    matches = (PINNED.match(line) for line in path.read_text().splitlines())
    return {canonicalize_name(match[1]): match[2] for match in matches if match}


def test_locks_fit_the_project(root: Path):
    """Every dependency that the project declares is in its lock, in a version that fits."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    run = project["project"]["dependencies"]
    wanted = {
        "run": run,
        "dev": run + groups["dev"],
        "sandbox": groups["sandbox"],
        "tools": groups["tools"],
    }
    for name, dependencies in wanted.items():
        versions = locked(root / "requirements" / f"{name}.txt")
        for requirement in map(Requirement, dependencies):
            version = versions.get(canonicalize_name(requirement.name), "")
            assert version, f"{name}.txt lacks {requirement.name}: run `./just lock`"
            assert requirement.specifier.contains(version, prereleases=True), requirement


def test_page_packages_are_locked_without_addresses(root: Path):
    """The page's lock has a hash for every package and an address for none."""
    lock = json.loads((root / "web" / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    assert [
        name
        for name, entry in packages.items()
        if "integrity" not in entry and not entry.get("link") and not entry.get("inBundle")
    ] == []


def test_generated_files_are_current():
    """What is generated from the code says what the code says now."""
    assert out_of_date(generated_files(this_checkout())) == []


def test_links_lead_somewhere(root: Path, tracked: list[Path]):
    """Every relative link in the documentation names a file that is there."""
    broken = [
        f"{path.relative_to(root)}: {target}"
        for path in tracked
        if path.suffix == ".md"
        for target in LINK.findall(path.read_text())
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert broken == []
