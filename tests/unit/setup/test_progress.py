import io

import pytest
from rich.console import Console

from orchestrator.setup.progress import DETAIL_WIDTH, TerminalProgress, one_line


def lines_of(output: io.StringIO) -> list[str]:
    return output.getvalue().splitlines()


def test_plain_lines_in_a_log():
    """Without a terminal a step is a line when it begins and one when it ends, with its time."""
    output = io.StringIO()
    ticks = iter([0.0, 2.5])
    progress = TerminalProgress(Console(file=output), clock=lambda: next(ticks))
    with progress.step("Building [the] page"):
        pass
    assert lines_of(output) == ["Building [the] page ...", "✓ Building [the] page (2.5 s)"]


def test_details_are_rare_in_a_log():
    """A build's thousand lines make few lines in a log."""
    output = io.StringIO()
    ticks = iter([0.0, *[n / 100 for n in range(2100)]])
    progress = TerminalProgress(Console(file=output), clock=lambda: next(ticks))
    with progress.step("Build") as step:
        for n in range(1000):
            step.say(f"line {n}")
    assert 3 <= len(lines_of(output)) <= 8


def test_failure_is_marked():
    """A step that fails is marked so, and the failure goes on."""
    output = io.StringIO()
    with (
        pytest.raises(ValueError, match="no"),
        TerminalProgress(Console(file=output)).step("Build"),
    ):
        raise ValueError("no")
    assert lines_of(output)[-1].startswith("✗ Build")


@pytest.mark.parametrize(
    ("detail", "shown"),
    [("", ""), ("a\nb\n\n", "b"), ("\x1b[31mred", "[31mred"), ("x" * 500, None)],
)
def test_one_line(detail: str, shown: str | None):
    """A detail is one printable line of bounded width, whatever a tool wrote."""
    assert len(one_line(detail)) <= DETAIL_WIDTH
    assert shown is None or one_line(detail) == shown
