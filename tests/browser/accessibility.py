"""axe-core in the page: what it finds against WCAG 2.1 A and AA.

Its source is evaluated over the debugger, so the page needs no exception in its policy for it.
"""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
RUN = """() => axe.run(document, {
  runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'],
  resultTypes: ['violations'],
})"""


async def violations(page: Page) -> list[str]:
    """One line each: the rule, and where it is broken."""
    if not AXE.exists():
        pytest.skip("axe-core is missing; run `casemate prepare page-packages`")
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text())
    found: dict[str, Any] = await page.evaluate(RUN)
    return [
        f"{violation['id']}: {node['target']} {node.get('failureSummary', '')}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]
