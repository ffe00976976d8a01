"""The main job as one story: from the link on the terminal to the container that is gone."""

import asyncio
import re

from playwright.async_api import expect

from orchestrator.sandboxes.image_builder import BuiltImage
from orchestrator.testing.running_casemate import RunningCasemate, running_casemate

from .chat_page import ChatPage
from .conftest import OpenPage

GONE_WITHIN = 2.0


async def ask_and_watch(tab: ChatPage) -> None:
    """Text grows before it is done, then Claude wants to run a command."""
    await tab.send("!say 60 words at 15/s\n!bash touch hello.txt; ls -l")
    first = await tab.prose_longer_than(0)
    later = await tab.prose_longer_than(len(first))
    assert later.startswith(first)
    await expect(tab.stop).to_be_visible()
    assert len(later.split()) < 60
    await expect(tab.dock).to_be_visible()


async def approve(tab: ChatPage, act: str = "click") -> None:
    """The dock shows what would run, to the letter; once allowed, its output is shown."""
    await expect(tab.exactly).to_have_text("touch hello.txt; ls -l")
    await getattr(tab.answer("Allow once"), act)()
    await expect(tab.dock).to_be_hidden()
    await tab.idle()
    card = tab.tool("touch hello.txt")
    await getattr(card.get_by_role("button").first, act)()
    await expect(card.get_by_role("group", name="Output")).to_contain_text("hello.txt")


async def gone(casemate: RunningCasemate, container: str) -> None:
    while container in await asyncio.to_thread(casemate.containers):
        await asyncio.sleep(0.05)


async def printed_link(casemate: RunningCasemate) -> str:
    """A moment after it answers, it prints."""
    async with asyncio.timeout(10):
        while "#link=" not in casemate.log:
            await asyncio.sleep(0.05)
    return casemate.sign_in_link()


async def test_from_the_link_on_the_terminal_to_the_container_that_is_gone(
    sandbox_image: BuiltImage, open_tab: OpenPage
) -> None:
    """Without a key and without a user: the printed link signs in (once), the page says that the
    model is scripted, Claude's command runs after it was allowed, the end leaves no container."""
    assert sandbox_image
    alone = {"CASEMATE_POOL_MINIMUM": "1", "CASEMATE_POOL_MAXIMUM": "1"}
    with running_casemate(alone) as casemate:
        link = await printed_link(casemate)
        tab = await open_tab(link)
        notice = "answers come from a script, not from Claude"
        await expect(tab.page.get_by_text(notice)).to_be_visible()
        assert "link=" not in tab.page.url
        await tab.new_session()
        [container] = casemate.containers()
        await ask_and_watch(tab)
        await approve(tab)
        said = await tab.prose()

        await tab.choose("End session")
        confirm = tab.page.get_by_role("dialog", name="End this session?")
        await confirm.get_by_role("button", name="End session").click()
        async with asyncio.timeout(GONE_WITHIN):
            await gone(casemate, container)
        await expect(tab.text("The session was ended")).to_be_visible()
        await tab.page.reload()
        await expect(tab.text("hello.txt").first).to_be_visible()
        assert await tab.prose() == said
        await expect(tab.box).to_be_hidden()

        late = await open_tab(link)
        late.watch.allow("status of 4..")
        await expect(
            late.page.get_by_role("alert").filter(has_text=re.compile("link"))
        ).to_be_visible()
        await expect(late.button("Sign in")).to_be_visible()


async def test_the_same_on_a_phone(open_page: OpenPage) -> None:
    """By touch, 390 pixels wide: sign in, ask, watch, allow, read, end."""
    tab = await open_page(form="phone")
    await tab.new_session()
    await ask_and_watch(tab)
    await approve(tab, "tap")
    await tab.end()
    await expect(tab.text("The session was ended")).to_be_visible()
    await expect(tab.box).to_be_hidden()
