"""Egress in an operator's file of profiles."""

from pathlib import Path

import pytest

from orchestrator.profiles import BadProfiles, load_catalogue

GOOD = """
[[profile]]
name = "open"
title = "Open"
agent = { model = "m" }

[profile.egress]
max_bytes_up = 1000

[[profile.egress.allow]]
host = "git.example.org"
ports = [443, 8443]
inject = { secret_file = "/run/secrets/git", scheme = "basic", username = "token" }

[[profile.egress.allow]]
host = "*.mirror.example.org"
private = true
"""


def load(tmp_path: Path, text: str):
    path = tmp_path / "profiles.toml"
    path.write_text(text)
    return load_catalogue(path, model="m").profiles()[0].egress


def test_a_list_of_hosts_is_read(tmp_path: Path) -> None:
    """With ports, secrets and limits."""
    egress = load(tmp_path, GOOD)
    assert [rule.host for rule in egress.allow] == ["git.example.org", "*.mirror.example.org"]
    assert egress.allow[0].ports == (443, 8443)
    assert egress.allow[0].inject is not None
    assert egress.allow[0].inject.username == "token"
    assert egress.allow[1].private
    assert egress.max_bytes_up == 1000


@pytest.mark.parametrize(
    ("good", "bad", "reason"),
    [
        ("git.example.org", "*", "plain host name"),
        ("*.mirror.example.org", "*.org", "two labels"),
        ("git.example.org", "192.0.2.1", "addresses"),
        ("[443, 8443]", "[0]", "ports"),
        ("[443, 8443]", '["https"]', "int"),
        ("/run/secrets/git", "", "secret_file"),
        ('"basic"', '"digest"', "digest"),
        ("private = true", 'private = "yes"', "bool"),
    ],
)
def test_a_mistake_is_said_at_the_start(tmp_path: Path, good: str, bad: str, reason: str) -> None:
    """In a sentence that names the file."""
    with pytest.raises(BadProfiles, match=reason) as caught:
        load(tmp_path, GOOD.replace(good, bad))
    assert "profiles.toml" in str(caught.value)
