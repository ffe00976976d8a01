from pathlib import Path

import pytest

from orchestrator.sandboxes.errors import SlotFailure
from orchestrator.sandboxes.installation import installed
from orchestrator.sandboxes.settings import EngineSettings, SandboxSettings


def test_the_id_is_made_once_and_kept(tmp_path: Path) -> None:
    """Every start of one installation has the same id, and another data directory another one."""
    other = tmp_path / "other"
    other.mkdir()
    first = installed(SandboxSettings(), data_dir=tmp_path)
    assert installed(SandboxSettings(), data_dir=tmp_path) == first
    assert installed(SandboxSettings(), data_dir=other).engine.instance != first.engine.instance
    assert first.slots.root == SandboxSettings().slots.root / first.engine.instance


@pytest.mark.parametrize("name", ["../up", "a b", "A", "x" * 40, "-x"])
def test_a_name_that_could_leave_its_place_is_refused(tmp_path: Path, name: str) -> None:
    """A name becomes a path and a label: only harmless ones are taken."""
    settings = SandboxSettings(engine=EngineSettings(instance=name))
    with pytest.raises(SlotFailure):
        installed(settings, data_dir=tmp_path)


def test_a_damaged_id_is_said(tmp_path: Path) -> None:
    """A file that is no id is not used for a path."""
    (tmp_path / "instance").write_text("../../etc\n")
    with pytest.raises(SlotFailure):
        installed(SandboxSettings(), data_dir=tmp_path)
