import pytest

from orchestrator.setup.doctor import numbers, version_finding


@pytest.mark.parametrize(
    ("version", "parts"),
    [("1.1.5+ds1", (1, 1, 5)), ("28.2.2", (28, 2, 2)), ("1.3.0-rc.1", (1, 3, 0)), ("dev", ())],
)
def test_numbers(version: str, parts: tuple[int, ...]):
    """Distributions' versions are read as far as they are numbers."""
    assert numbers(version) == parts


def test_old_runc_is_a_warning():
    """An old part is warned of and never refused; one that we know nothing about is good."""
    assert version_finding("runc", "1.1.5+ds1").verdict == "warning"
    assert version_finding("runc", "1.3.6").verdict == "good"
    assert version_finding("docker-init", "0.1").verdict == "good"
