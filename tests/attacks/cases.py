"""Names the attack that a test tries.

The table in docs/security.md is read from these decorators without running anything, so their
arguments are plain literals.
"""

import pytest


def attack(*cases: str, tried: str, protects: str) -> pytest.MarkDecorator:
    """`cases` are the ids of the threat model; one test may try several that are of one kind."""
    return pytest.mark.attack(*cases, tried=tried, protects=protects)
