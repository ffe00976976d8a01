import re

import pytest

from orchestrator.sandboxes.known_holes import HOLES, holes_of_engine, numbers, open_holes

DEBIAN = {  # what a Debian 12 answers
    "Components": [
        {"Name": "Engine", "Version": "20.10.24+dfsg1", "Details": {"GitCommit": "5d6db84"}},
        {
            "Name": "containerd",
            "Version": "1.6.20~ds1",
            "Details": {"GitCommit": "1.6.20~ds1-1+deb12u3"},
        },
        {"Name": "runc", "Version": "1.1.5+ds1", "Details": {"GitCommit": "1.1.5+ds1-1+deb12u1"}},
        {"Name": "docker-init", "Version": "0.19.0", "Details": {"GitCommit": ""}},
    ]
}


def ids(found):
    return {name for hole in found for name in hole.id.split(", ")}


@pytest.mark.parametrize(
    ("version", "parts"),
    [
        ("1.1.5+ds1", (1, 1, 5)),
        ("v2.0.4", (2, 0, 4)),
        ("28.2.2", (28, 2, 2)),
        ("1.3.0-rc.1", (1, 3, 0)),
        ("dev", ()),
        ("", ()),
    ],
)
def test_numbers(version, parts):
    """Distributions' versions are read as far as they are numbers."""
    assert numbers(version) == parts


@pytest.mark.parametrize(
    ("version", "package", "is_open"),
    [
        ("1.1.4", "", {"CVE-2024-21626", "CVE-2024-45310", "CVE-2025-31133", "CVE-2026-41579"}),
        ("1.1.5+ds1", "1.1.5+ds1-1", {"CVE-2024-21626", "CVE-2025-31133"}),
        ("1.1.5+ds1", "1.1.5+ds1-1+deb12u1", {"CVE-2024-45310", "CVE-2025-52881"}),
        ("1.1.12", "", {"CVE-2024-45310", "CVE-2025-52565"}),
        ("1.2.7", "v1.2.7-0-gabcdef", {"CVE-2025-31133"}),
        ("1.2.8", "", {"CVE-2026-41579"}),
        ("1.3.2", "", {"CVE-2025-31133"}),
        ("1.3.5", "", {"CVE-2026-41579"}),
        ("1.3.6", "", set()),
        ("1.4.2", "", {"CVE-2026-41579"}),
        ("1.4.3", "", set()),
        ("1.6.0", "", set()),
    ],
)
def test_runc(version, package, is_open):
    """Each line of releases was mended in a version of its own, and Debian's in a package."""
    found = ids(open_holes("runc", version, package=package))
    assert found >= is_open
    assert bool(found) is bool(is_open)


def test_debians_package_has_what_its_changelog_says():
    """Its runc has one hole mended and three not; its containerd all."""
    found = holes_of_engine(DEBIAN)
    assert "CVE-2024-21626" not in ids(found)
    assert {"CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"} <= ids(found)
    assert {hole.part for hole in found} == {"Engine", "runc"}


def test_a_plugins_hole_is_told_where_there_are_plugins():
    """Ways round authorization plugins concern those who have some."""
    assert "CVE-2024-41110" not in ids(holes_of_engine(DEBIAN))
    assert "CVE-2024-41110" in ids(holes_of_engine(DEBIAN, plugins=True))


@pytest.mark.parametrize(
    "version", [{}, {"Version": "29.7.1"}, {"Components": [{"Name": "new part", "Version": "?"}]}]
)
def test_what_is_unknown_has_no_known_hole(version):
    """An engine that tells little, and a part that we know nothing about, are no error."""
    assert holes_of_engine(version) == []


def test_every_hole_can_be_read_by_a_stranger():
    """Each has its number, versions that can be compared, what it is and what it needs."""
    for hole in HOLES:
        assert all(re.fullmatch(r"CVE-\d{4}-\d{4,}", name) for name in hole.id.split(", "))
        assert all(len(numbers(version)) == 3 for version in hole.fixed)
        assert hole.what
        assert hole.reach.startswith("needs ")
