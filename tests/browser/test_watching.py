"""What guards all the other tests: that it would notice."""

import asyncio

from playwright.async_api import expect

from orchestrator.testing.running_casemate import RunningCasemate

from .accessibility import violations
from .conftest import OpenPage
from .watching import Watch

MISBEHAVE = """() => {
  fetch('http://elsewhere.invalid/').catch(() => undefined)
  new Image().src = 'http://elsewhere.invalid/picture.png'
  setTimeout(() => { throw new Error('nobody catches this') })
}"""
NAMELESS = "document.body.append(document.createElement('button'))"


async def complained(watch: Watch, *expected: str) -> None:
    async with asyncio.timeout(10):
        while not all(words in "\n".join(watch.complaints()) for words in expected):
            await asyncio.sleep(0.05)


async def test_a_page_that_misbehaves_is_noticed(
    casemate: RunningCasemate, open_tab: OpenPage
) -> None:
    """Another host, a foreign picture, an uncaught error: each is a complaint."""
    tab = await open_tab(casemate.url)
    await expect(tab.button("Sign in")).to_be_visible()
    assert tab.watch.complaints() == []
    await tab.page.evaluate(MISBEHAVE)
    await complained(tab.watch, "CSP: connect-src", "CSP: img-src", "nobody catches this")
    tab.watch.allow(".")


async def test_axe_looks(casemate: RunningCasemate, open_tab: OpenPage) -> None:
    """A button without a name is found, in a page that has no other violation."""
    tab = await open_tab(casemate.url)
    await expect(tab.button("Sign in")).to_be_visible()
    await tab.page.evaluate(NAMELESS)
    assert [line.split(":")[0] for line in await violations(tab.page)] == ["button-name"]
