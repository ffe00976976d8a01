"""Reloads, second tabs and cut lines: everybody sees the same, and nothing is lost."""

import asyncio
import random
import re

from playwright.async_api import WebSocketRoute, expect

from .chat_page import ChatPage

WORDS = 150
CUTS = 5


async def second_tab(tab: ChatPage) -> ChatPage:
    """Of the same browser, on the same session."""
    page = await tab.page.context.new_page()
    await page.goto(tab.page.url)
    second = ChatPage(page, form=tab.form, watch=tab.watch)
    await expect(second.ready).to_be_visible()
    return second


async def same_transcripts(one: ChatPage, two: ChatPage) -> str:
    await asyncio.gather(one.idle(), two.idle())
    first = await one.transcript()
    await two.reads(first)
    assert await two.transcript() == first
    assert await two.rows() == await one.rows()
    return first


async def test_a_reload_in_the_middle_of_a_stream(tab: ChatPage) -> None:
    """The stream goes on where it was; at the end it is what an undisturbed tab shows."""
    other = await second_tab(tab)
    await tab.send(f"!say {WORDS} words at 15/s")  # ten seconds: a reload takes three on a busy day
    await tab.prose_longer_than(40)
    await tab.page.reload()
    before = await tab.prose_longer_than(40)
    await tab.prose_longer_than(len(before))
    await expect(tab.stop).to_be_visible()
    await same_transcripts(tab, other)
    assert len((await tab.prose()).split()) == WORDS


async def test_a_reload_with_an_open_permission(tab: ChatPage) -> None:
    """It is still there, to the letter, and can be answered."""
    await tab.send("!say 5 words\n!bash touch kept; ls")
    await expect(tab.exactly).to_have_text("touch kept; ls")
    before = await tab.transcript()
    await tab.page.reload()
    await expect(tab.exactly).to_have_text("touch kept; ls")
    assert await tab.transcript() == before
    await tab.answer("Allow once").click()
    await tab.idle()
    await expect(await tab.output_of("touch kept")).to_contain_text("kept")


async def test_two_tabs_are_one_session(tab: ChatPage) -> None:
    """An answer in one closes the dock in the other, and both transcripts are equal."""
    other = await second_tab(tab)
    await tab.send("!say 20 words\n!bash touch shared; ls\n!say 20 words")
    await asyncio.gather(expect(tab.dock).to_be_visible(), expect(other.dock).to_be_visible())
    await other.answer("Allow once").click()
    await expect(tab.dock).to_be_hidden()
    toast = tab.page.get_by_role("main").get_by_text("Answered in another tab: Allowed by ada")
    await expect(toast).to_be_visible()
    await same_transcripts(tab, other)


async def test_a_line_that_is_cut_again_and_again(tab: ChatPage) -> None:
    """The connection breaks at random moments of a stream: the page says so, comes back by itself,
    and shows in the end exactly what an undisturbed tab shows."""
    undisturbed = await second_tab(tab)
    lines: list[WebSocketRoute] = []
    chance = random.Random(7)
    await tab.page.route_web_socket(
        re.compile("/stream$"), lambda line: lines.append(line) or passed_on(line)
    )
    await tab.page.reload()
    await expect(tab.ready).to_be_visible()
    await tab.send(f"!say {WORDS} words at 25/s\n!bash touch after; ls")
    for _ in range(CUTS):
        seen = await tab.prose()
        await tab.prose_longer_than(len(seen) + chance.randint(0, 60))
        await lines[-1].close(code=4000, reason="cut by the test")
    assert len(lines) > CUTS // 2
    await expect(tab.exactly).to_be_visible()
    await tab.answer("Allow once").click()
    await same_transcripts(tab, undisturbed)
    assert len((await tab.prose()).split()) >= WORDS


def passed_on(line: WebSocketRoute) -> None:
    line.connect_to_server()


async def test_offline_and_back(tab: ChatPage) -> None:
    """Without a network the page says that the run goes on; what was sent then runs once."""
    tab.watch.allow("ERR_INTERNET_DISCONNECTED")
    undisturbed = await second_tab(tab)
    await tab.page.context.set_offline(True)
    await expect(tab.page.get_by_text("Offline; the run goes on")).to_be_visible()
    await tab.send("!say 12 words")
    await expect(tab.page.get_by_text("sending…")).to_be_visible()
    await tab.page.context.set_offline(False)
    await expect(tab.said(12)).to_be_visible()
    await same_transcripts(tab, undisturbed)
    await expect(tab.prompts).to_have_count(1)
