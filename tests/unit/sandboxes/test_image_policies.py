from pathlib import Path

import pytest

from orchestrator.sandboxes.image_base import ImageBuildFailed
from orchestrator.sandboxes.image_context import BuildNetwork, build_context
from orchestrator.sandboxes.image_policies import policy_files
from orchestrator.sandboxes.image_version import REPOSITORY, ImageOptions, current_version

PROJECT = """
[project]
name = "house-rules"
version = "1.0.0"
[project.entry-points."casemate.policies"]
House-Rules = "house_rules.main:Rules"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    package = tmp_path / "house_rules"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "main.py").write_text("class Rules: ...")
    (package / "words.txt").write_text("no")
    (package / "__pycache__" / "main.pyc").touch()
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").touch()
    (tmp_path / "test_main.py").touch()
    (tmp_path / "setup.py").write_text("raise SystemExit")
    return tmp_path


def test_a_policy_is_its_code_and_its_metadata(folder: Path):
    """Packages and modules are copied, tests and build files are not; entry points keep case."""
    files = policy_files(folder)
    about = "house_rules-1.0.0.dist-info"
    assert set(files) == {
        *("house_rules/__init__.py", "house_rules/main.py", "house_rules/words.txt"),
        *(f"{about}/METADATA", f"{about}/entry_points.txt"),
    }
    assert b"House-Rules = house_rules.main:Rules" in files[f"{about}/entry_points.txt"]


def test_a_source_folder_is_the_root(folder: Path):
    """A layout with `src/` is understood."""
    (folder / "src").mkdir()
    (folder / "house_rules").rename(folder / "src" / "house_rules")
    assert "house_rules/main.py" in policy_files(folder)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nonsense", "cannot be read"),
        ("[project]\nname = 'x'", "cannot be read"),
        ("[project]\nname = 'x'\nversion = '1'", "no entry point"),
        (PROJECT.replace("house_rules.main", "os"), "leads to no module"),
        (PROJECT.replace('version = "1.0.0"', 'version = "1"\ndependencies = ["x"]'), "depend"),
        (PROJECT.replace('"house-rules"', '"../../etc"'), "plain one"),
        (PROJECT.replace('"1.0.0"', '"1/../../x"'), "plain one"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told(folder: Path, text: str, why: str):
    """Before anything is built, with the reason."""
    (folder / "pyproject.toml").write_text(text)
    with pytest.raises(ImageBuildFailed, match=why):
        policy_files(folder)


def test_a_policy_takes_nothing_along_by_a_link(folder: Path):
    """Files of the machine do not get into the image."""
    (folder / "house_rules" / "more.py").symlink_to("/etc/passwd")
    with pytest.raises(ImageBuildFailed, match="plain file"):
        policy_files(folder)


def test_a_policy_shadows_neither_shim_nor_protocol(folder: Path):
    """Names that are taken in the image are left out."""
    for name in ("shim", "orchestrator"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").touch()
    assert not [name for name in policy_files(folder) if name.startswith(("shim", "orch"))]


def test_policies_are_part_of_the_version(folder: Path):
    """A changed policy is another image, and the context holds it."""
    options = ImageOptions(policies=(folder,))
    before = current_version(options)
    assert before != current_version(ImageOptions())
    assert b"policies/house_rules/main.py" in build_context(options, BuildNetwork(), version="v")
    (folder / "house_rules" / "main.py").write_text("class Rules: pass")
    assert current_version(options) != before
    with pytest.raises(ImageBuildFailed, match="Two policies"):
        current_version(ImageOptions(policies=(folder, folder)))


def test_the_shipped_policy_can_be_used():
    """The example in `plugins/` is one that the image takes."""
    assert "credential_guard.py" in policy_files(REPOSITORY / "plugins" / "credential_guard")
