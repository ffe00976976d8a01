"""Policy packages that an operator puts into the sandbox image: folders of plain Python.

A folder has a `pyproject.toml` with the package's name, version and entry points, and modules
or packages beside it (or in `src/`). Nothing of it is run or built on this machine: the files are
copied, with the metadata by which the sandbox finds the entry points.
"""

import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from io import StringIO
from pathlib import Path

import msgspec

from orchestrator.plugin_api.policies import ENTRY_POINTS
from orchestrator.sandboxes.image_base import ImageBuildFailed

MAX_BYTES = 8 << 20
"""Of one package. A policy is a few files of code."""
RESERVED = frozenset({"orchestrator", "shim", "tests", "conftest", "setup", "build", "dist"})
"""Top-level names that are not the package's own."""


class _Project(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: str
    dependencies: list[str] = []
    entry_points: dict[str, dict[str, str]] = msgspec.field(name="entry-points", default={})


class _File(msgspec.Struct, frozen=True, kw_only=True):
    project: _Project


def policy_files(folder: Path) -> dict[str, bytes]:
    """What the image gets, by its path among all policies. Raises ImageBuildFailed."""
    project = _project(folder)
    files = dict(_code(folder))
    if sum(map(len, files.values())) > MAX_BYTES:
        raise _unusable(folder, "its files are larger than 8 MiB.")
    modules = {name.split("/")[0].removesuffix(".py") for name in files}
    for name, target in project.entry_points[ENTRY_POINTS].items():
        if target.split(":")[0].split(".")[0] not in modules:
            raise _unusable(folder, f"the entry point `{name}` leads to no module of it.")
    about = f"{project.name.replace('-', '_')}-{project.version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {project.name}\nVersion: {project.version}\n"
    files[f"{about}/METADATA"] = metadata.encode()
    files[f"{about}/entry_points.txt"] = _entry_points(project)
    return files


def _project(folder: Path) -> _Project:
    try:
        text = (folder / "pyproject.toml").read_text()
        project = msgspec.convert(tomllib.loads(text), _File).project
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise _unusable(folder, f"its pyproject.toml cannot be read: {error}.") from error
    if not project.entry_points.get(ENTRY_POINTS):
        raise _unusable(folder, f"it has no entry point of the group `{ENTRY_POINTS}`.")
    if project.dependencies:
        raise _unusable(folder, "it names dependencies. Policies use what is in the image.")
    if not all(part.replace("-", "").replace("_", "").replace(".", "").isalnum()
               for part in (project.name, project.version)):  # fmt: skip
        raise _unusable(folder, "its name or version is not a plain one.")
    return project


def _code(folder: Path) -> Iterator[tuple[str, bytes]]:
    root = folder / "src" if (folder / "src").is_dir() else folder
    for entry in sorted(root.iterdir()):
        if entry.stem in RESERVED or entry.name.startswith((".", "test_")):
            continue
        if entry.is_dir() and (entry / "__init__.py").is_file():
            yield from _package(folder, root, entry)
        elif entry.suffix == ".py":
            yield entry.name, _content(folder, entry)


def _package(folder: Path, root: Path, package: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(package.rglob("*")):
        if not path.is_dir() and "__pycache__" not in path.parts:
            yield path.relative_to(root).as_posix(), _content(folder, path)


def _content(folder: Path, path: Path) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise _unusable(folder, f"{path.name} is not a plain file.")
    return path.read_bytes()


def _entry_points(project: _Project) -> bytes:
    parser = ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # names keep their case
    parser[ENTRY_POINTS] = project.entry_points[ENTRY_POINTS]
    text = StringIO()
    parser.write(text)
    return text.getvalue().encode()


def _unusable(folder: Path, why: str) -> ImageBuildFailed:
    return ImageBuildFailed(
        f"The policy in {folder} cannot be used: {why}", advice="See docs/policies.md."
    )
