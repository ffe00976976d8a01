import re
from pathlib import Path

import msgspec
import pytest

from orchestrator.settings import ALIASES, Settings, load_settings, variable
from orchestrator.setup.field_docs import field_meanings
from orchestrator.setup.settings_docs import BEGIN, END, inserted, settings_tables

ROOT = Path(__file__).resolve().parents[3]


def every_field() -> list[tuple[str, str, type[msgspec.Struct]]]:
    return [
        (section.name, field.name, section.type)
        for section in msgspec.structs.fields(Settings)
        for field in msgspec.structs.fields(section.type)
    ]


def test_every_setting_is_in_the_tables():
    """The tables name every variable, and every shorter name for one."""
    tables = settings_tables()
    for section, field, _ in every_field():
        assert f"`{variable(section, field)}`" in tables
    for alias in ALIASES:
        assert f"`{alias}`" in tables


def test_every_setting_says_what_it_means():
    """Each field of each section has a docstring: its unit, and the reason for its default."""
    silent = [
        variable(section, field)
        for section, field, struct in every_field()
        if not field_meanings(struct).get(field)
    ]
    assert silent == []


def test_secrets_are_not_shown():
    """The default of a secret is shown as none."""
    rows = [line for line in settings_tables().splitlines() if "API_KEY" in line]
    assert rows
    assert all("| none |" in row for row in rows)


def test_page_keeps_what_people_wrote():
    """Only what stands between the marks is replaced, however often it is done."""
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = inserted(page, "new")
    assert once == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert inserted(once, "new") == once


def test_page_without_marks():
    """A page that lost its marks is an error, not a page without settings."""
    with pytest.raises(ValueError, match="marks"):
        inserted("nothing", "new")


def test_example_names_real_settings(tmp_path: Path):
    """Every variable in .env.example exists, and its example value is one that fits."""
    text = (ROOT / ".env.example").read_text()
    examples = dict(re.findall(r"^#([A-Z_]+)=(.*)$", text, re.MULTILINE))
    assert examples
    secret = tmp_path / "secret"
    secret.write_text("x")
    load_settings({k: str(secret) if k.endswith("_FILE") else v for k, v in examples.items()})
