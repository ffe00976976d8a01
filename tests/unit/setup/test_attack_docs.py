from pathlib import Path

import pytest

from orchestrator.setup.attack_docs import attack_table

LINK = "../tests/attacks/test_things.py"
TESTS = '''
import what_is_not_there

@attack("B02", tried="a | b", protects="the rest")
async def test_second_thing():
    """Holds."""

@other
@attack("B01", "B03", tried="more "
    "than a line", protects="the first")
def test_first_thing():
    """Holds."""

def test_nothing():
    """Is no attack."""
'''


def test_attacks_are_read_without_being_run(tmp_path: Path):
    """Each decorated test is a row, in the order of the cases; what it imports need not exist."""
    (tmp_path / "test_things.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text("raise RuntimeError")
    _, _, *rows = attack_table(tmp_path).splitlines()
    assert rows == [
        f"| B01, B03 | more than a line | the first | [first thing]({LINK}) |",
        f"| B02 | a \\| b | the rest | [second thing]({LINK}) |",
    ]


def test_an_attack_that_protects_nothing(tmp_path: Path):
    """A decorator that lacks a part is an error that names the test."""
    (tmp_path / "test_things.py").write_text('@attack("B01", tried="x")\ndef test_it(): pass\n')
    with pytest.raises(ValueError, match="test_it"):
        attack_table(tmp_path)
