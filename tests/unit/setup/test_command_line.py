from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import main


def run(tmp_path: Path, *arguments: str, stdin: str = "", **environment: str) -> Result:
    settings = {
        "CASEMATE_ENV_FILE": str(tmp_path / "none"),
        "CASEMATE_SERVER_DATA_DIR": str(tmp_path / "data"),
    }
    return CliRunner().invoke(main, arguments, input=stdin, env=settings | environment)


def test_help_names_every_command(tmp_path: Path):
    """`casemate --help` says in a line what each command is for."""
    listing = run(tmp_path, "--help").stdout.split("Commands:")[1]
    lines = [line.split(maxsplit=1) for line in listing.strip().splitlines()]
    assert {"up", "serve", "image", "users", "demo-model", "doctor", "version"} <= {
        line[0] for line in lines
    }
    assert all(len(line) > 1 and not line[1].endswith("...") for line in lines)


def test_misspelt_setting(tmp_path: Path):
    """A setting that does not exist is one sentence on standard error, and nothing runs."""
    result = run(tmp_path, "users", "list", CASEMATE_SERVER_PROT="1")
    assert result.exit_code == 1
    assert "CASEMATE_SERVER_PROT" in result.stderr
    assert "CASEMATE_SERVER_PORT" in result.stderr
    assert not result.stdout


def test_users_from_nothing(tmp_path: Path):
    """Users can be added, listed, given a password and shut out before anything was ever served."""
    added = run(tmp_path, "users", "add", "ada", "--role", "admin")
    assert "#link=" in added.stdout, added.output
    assert run(tmp_path, "users", "add", "ada").exit_code == 1
    given = run(tmp_path, "users", "passwd", "ada", stdin="correct horse battery staple\n")
    assert given.exit_code == 0, given.output
    listed = run(tmp_path, "users", "list").stdout
    assert "ada  admin" in listed
    assert "no password" not in listed
    refused = run(tmp_path, "users", "disable", "ada")
    assert refused.exit_code == 1
    assert "last administrator" in refused.stderr


@pytest.mark.parametrize("name", ["nobody", "../x", ""])
def test_unknown_user(tmp_path: Path, name: str):
    """A user who does not exist is told plainly."""
    result = run(tmp_path, "users", "passwd", name, "--link")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output


def test_broken_script(tmp_path: Path):
    """A script that is no script is told before the scripted model listens."""
    script = tmp_path / "script.json"
    script.write_text("{")
    result = run(tmp_path, "demo-model", "--port", "0", "--script", str(script))
    assert result.exit_code == 1
    assert "is not a script" in result.stderr


def test_no_key_and_no_demo(tmp_path: Path):
    """Serving without a key and without --demo is refused, not quietly answered by a script."""
    result = run(
        tmp_path, "serve", CASEMATE_PORT="0", ANTHROPIC_API_KEY="", ANTHROPIC_AUTH_TOKEN=""
    )
    assert result.exit_code == 1
    assert "ANTHROPIC_API_KEY" in result.stderr
