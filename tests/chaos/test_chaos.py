"""A short chaos run: enough of everything to find what was broken by a change."""

import pytest

from orchestrator.sandboxes.image_builder import BuiltImage
from tests.chaos.run import Plan, run

SEED = 20261


@pytest.mark.timeout(600)
async def test_nothing_is_lost_whatever_is_killed(sandbox_image: BuiltImage) -> None:
    """Every prompt has one outcome, every browser sees the log without a gap, files and memory are
    as they were, and nothing is left."""
    assert sandbox_image
    report = await run(Plan(seed=SEED, seconds=60, sessions=3))
    assert report.violations == [], report.text()
    assert sum(report.struck.values()) > 0
