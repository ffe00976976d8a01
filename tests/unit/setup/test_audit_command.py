"""`casemate audit`: what an operator at the machine learns of the log."""

import sqlite3

import msgspec
import pytest
from click.testing import CliRunner

from orchestrator.cli import main


@pytest.fixture
def casemate(tmp_path, monkeypatch):
    monkeypatch.setenv("CASEMATE_SERVER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CASEMATE_ENV_FILE", "/dev/null")
    return lambda *words: CliRunner().invoke(main, list(words))


def test_what_the_command_line_does_is_recorded_and_proved(casemate, tmp_path):
    """Users that are added and changed there are in the log, by name; no code of a link is."""
    link = casemate("users", "add", "root", "--role", "admin").output.strip()
    casemate("users", "add", "bob")
    casemate("users", "disable", "bob")
    listed = casemate("audit", "list").output
    assert "command line  user.added  root  admin" in listed
    assert "user.changed  bob  disabled" in listed.splitlines()[-1]
    assert link.split("#link=")[1] not in listed
    [line] = casemate("audit", "list", "--json", "--action", "user.changed").output.splitlines()
    assert msgspec.json.decode(line)["object"] == "bob"
    proved = casemate("audit", "verify")
    assert (proved.exit_code, proved.output) == (0, "The audit log is whole: 5 records.\n")


def test_a_log_that_was_changed_is_told_with_the_record(casemate, tmp_path):
    """The status is 1, and the first broken record is named."""
    casemate("users", "add", "root", "--role", "admin")
    with sqlite3.connect(tmp_path / "data" / "casemate.sqlite") as database:
        database.execute("DROP TRIGGER audit_not_updated")
        database.execute("UPDATE audit SET actor = 'somebody' WHERE seq = 2")
    proved = casemate("audit", "verify")
    assert proved.exit_code == 1
    assert "Record 2 was changed" in proved.output
