"""Tool servers in the sandbox image."""

from pathlib import Path

import pytest

from orchestrator.sandboxes.image_base import ImageBuildFailed
from orchestrator.sandboxes.image_context import BuildNetwork, build_context
from orchestrator.sandboxes.image_tool_servers import MAX_BYTES
from orchestrator.sandboxes.image_version import ImageOptions, added_files, current_version


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "clock"
    (folder / "parts" / "__pycache__").mkdir(parents=True)
    (folder / "server.py").write_text("import parts\n")
    (folder / "parts" / "__init__.py").write_text("")
    (folder / "parts" / "__pycache__" / "x.pyc").write_text("")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("secret")
    return folder


def test_its_files_are_in_the_image(folder: Path) -> None:
    """All but hidden ones and bytecode, and the image is another one with them."""
    options = ImageOptions(tool_servers=(folder,))
    assert set(added_files(options)) == {
        "tool_servers/clock/server.py",
        "tool_servers/clock/parts/__init__.py",
    }
    assert current_version(options) != current_version(ImageOptions())
    assert b"tool_servers/clock/server.py" in build_context(options, BuildNetwork(), version="v")
    assert b"tool_servers" in build_context(ImageOptions(), BuildNetwork(), version="v")


def test_links_lead_nowhere(folder: Path) -> None:
    """A link in the folder could bring any file of this machine into every sandbox."""
    (folder / "key").symlink_to("/etc/passwd")
    with pytest.raises(ImageBuildFailed, match="not a plain file"):
        added_files(ImageOptions(tool_servers=(folder,)))


def test_what_cannot_be_used(folder: Path, tmp_path: Path) -> None:
    """Nothing in it, too much in it, an odd name, the same name twice."""
    empty = tmp_path / "empty"
    odd = tmp_path / "odd name"
    large = tmp_path / "large"
    for made in (empty, odd, large, tmp_path / "other" / "clock"):
        made.mkdir(parents=True)
    (odd / "x").write_text("x")
    (tmp_path / "other" / "clock" / "server.py").write_text("x")
    (large / "x").write_bytes(b"x" * (MAX_BYTES + 1))
    for folders in ((empty,), (odd,), (large,), (folder, tmp_path / "other" / "clock")):
        with pytest.raises(ImageBuildFailed):
            added_files(ImageOptions(tool_servers=folders))
