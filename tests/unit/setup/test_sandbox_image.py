from pathlib import Path

import pytest

from orchestrator.setup.errors import ImageNotBuilt
from orchestrator.setup.sandbox_image import (
    CHOICE_FILE,
    ImageChoice,
    remember_choice,
    remembered_choice,
)


def test_choice_is_remembered(tmp_path: Path):
    """What an operator chose for the image is what every later build uses."""
    assert remembered_choice(tmp_path) == ImageChoice()
    choice = ImageChoice(base="debootstrap", compiler=True, extra_ca=("/etc/ca.pem",))
    remember_choice(choice, data_dir=tmp_path / "data")
    assert remembered_choice(tmp_path / "data") == choice


def test_broken_choice_is_told(tmp_path: Path):
    """A broken file is told about: guessing could drop the company's certificates."""
    (tmp_path / CHOICE_FILE).write_text("{")
    with pytest.raises(ImageNotBuilt, match="cannot be read"):
        remembered_choice(tmp_path)
