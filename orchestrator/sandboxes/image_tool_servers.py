"""Tool servers that an operator puts into the sandbox image: folders of plain files.

Nothing of one is run or built on this machine, and nothing becomes a program of the image: a
profile names the interpreter that runs it. One that needs more than files is installed in an image
of one's own (`--base`).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from orchestrator.sandboxes.image_base import ImageBuildFailed

FOLDER = "tool_servers"
"""In the build context, and under `/opt/casemate/lib` in the image."""
MAX_BYTES = 32 << 20
"""Of one folder: each sandbox reads them from the image, none has a copy."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def tool_server_files(folder: Path) -> dict[str, bytes]:
    """What the image gets, by its path in the build context. Raises ImageBuildFailed."""
    if not _PLAIN_NAME.fullmatch(folder.name):
        raise _unusable(folder, "its name is not a plain one.")
    files = {
        f"{FOLDER}/{folder.name}/{path.relative_to(folder).as_posix()}": _content(folder, path)
        for path in _files(folder)
    }
    if not files:
        raise _unusable(folder, "there is no file in it.")
    if sum(map(len, files.values())) > MAX_BYTES:
        raise _unusable(folder, f"its files are larger than {MAX_BYTES >> 20} MiB.")
    return files


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        left_out = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if not left_out and (path.is_symlink() or not path.is_dir()):
            yield path


def _content(folder: Path, path: Path) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise _unusable(folder, f"{path.name} is not a plain file.")
    return path.read_bytes()


def _unusable(folder: Path, why: str) -> ImageBuildFailed:
    return ImageBuildFailed(
        f"The tool server in {folder} cannot be used: {why}", advice="See docs/tool-servers.md."
    )
