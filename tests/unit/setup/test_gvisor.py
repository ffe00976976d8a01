from pathlib import Path

import pytest

from orchestrator.setup.gvisor import SecondEngine, suites

DEBIAN = """\
http://mirror.example.org/debian|bookworm|Debian|main
http://mirror.example.org/debian|bookworm-updates|Debian|main
http://mirror.example.org/debian-security|bookworm-security|Debian-Security|main
http://other.example.org/tools|nodistro|. nodistro|main
"""


def test_backports_come_after_the_own_release() -> None:
    """runsc is looked for in the system's own release, then in its backports, at its own mirror."""
    found = [(suite.mirror, suite.name) for suite in suites(DEBIAN)]
    mirror = "http://mirror.example.org/debian"
    assert found == [(mirror, "bookworm"), (mirror, "bookworm-backports")]


@pytest.mark.parametrize(
    "targets",
    ["", "x", "http://mirror.example.org/ubuntu|noble|Ubuntu|main", "a|b\nDebian|x|Debian|main|y"],
)
def test_elsewhere_nothing_is_fetched(targets: str) -> None:
    """A system that is not Debian, and an answer that cannot be read, have no such suite."""
    assert suites(targets) == []


def test_the_second_engine_has_nothing_in_common_with_the_first() -> None:
    """It has own storage, socket and pid file, no network, and does not touch the firewall."""
    engine = SecondEngine(home=Path("/home/x/.cache/gvisor"))
    said = " ".join(engine.arguments())
    for own in ("--data-root", "--exec-root", "--pidfile", "--host unix:///run/casemate/gvisor/"):
        assert own in said
    assert "--bridge none --iptables=false --ip-forward=false" in said
    assert "/var/" not in said
    assert len(f"{engine.run}/exec/containerd/containerd-debug.sock") < 100
