"""The repository as its readers get it: the files that are tracked, or would be."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """Every file that is not ignored. Without git (an unpacked archive) there is nothing to say."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = (ROOT / name for name in listing.stdout.split("\0") if name)
    return sorted(path for path in paths if path.is_file())


@pytest.fixture(scope="session")
def shipped_python(tracked: list[Path]) -> list[Path]:
    """The Python that runs in production: the control plane's and the sandbox's."""
    folders = (ROOT / "orchestrator", ROOT / "sandbox-image")
    return [
        path
        for path in tracked
        if path.suffix == ".py" and any(path.is_relative_to(folder) for folder in folders)
    ]
