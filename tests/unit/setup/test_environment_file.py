from pathlib import Path

from orchestrator.setup.environment_file import with_environment_file


def test_environment_wins(tmp_path: Path):
    """What is exported wins over the file; the file adds the rest; an empty value says nothing."""
    file = tmp_path / ".env"
    file.write_text('# a comment\nA=file\nexport B="two words"\nC=\nD=$A\n')
    found = with_environment_file({"A": "exported"}, file=file)
    assert found == {"A": "exported", "B": "two words", "D": "$A"}


def test_no_file(tmp_path: Path):
    """Without the file the environment is all there is."""
    assert with_environment_file({"A": "1"}, file=tmp_path / ".env") == {"A": "1"}
