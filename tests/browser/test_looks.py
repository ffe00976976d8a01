"""How it looks: every state on desktop and phone, light and dark, for machines and for people."""

import asyncio
import re

from playwright.async_api import expect

from orchestrator.testing.chat_client import ApiClient
from orchestrator.testing.running_casemate import RunningCasemate

from .chat_page import SCREENSHOTS, ChatPage
from .conftest import PASSWORD, OpenPage, sign_in
from .looks import accessible, photographed

NARROW = 320
REAL_PROMPT = "Write a small program that prints the most frequent words of a text, and try it."


async def desktop_and_phone(open_page: OpenPage, name: str = "ada") -> tuple[ChatPage, ChatPage]:
    return await open_page(name), await open_page(name, form="phone")


async def test_the_way_in(casemate: RunningCasemate, open_tab: OpenPage) -> None:
    """Sign-in and start page are accessible on desktop and phone, in light and dark."""
    tabs = await open_tab(casemate.url), await open_tab(casemate.url, form="phone")
    for tab in tabs:
        await expect(tab.button("Sign in")).to_be_visible()
    await photographed("sign-in", *tabs)
    await accessible(*tabs)
    for tab in tabs:
        await sign_in(tab, "ada")
        await expect(tab.page.get_by_role("main", name="Start")).to_be_visible()
    await photographed("home", *tabs)
    await accessible(*tabs)


async def test_a_session_in_every_state(open_page: OpenPage) -> None:
    """Idle, streaming, asking for a permission, asking a question, failed: each is accessible in
    light and dark."""
    desktop, phone = await desktop_and_phone(open_page)
    await desktop.new_session()
    await phone.follow(desktop.session_id)
    await expect(phone.ready).to_be_visible()
    await photographed("idle", desktop, phone)
    await accessible(desktop, phone)
    await desktop.send(REAL_PROMPT)
    await asyncio.gather(desktop.prose_longer_than(10), phone.prose_longer_than(10))
    await photographed("streaming", desktop, phone)
    await asking(desktop, phone)
    await photographed("permission", desktop, phone)
    await accessible(desktop, phone)
    await desktop.answer("Allow once").click()
    await expect(desktop.exactly).to_contain_text("sample.txt")
    await asking(desktop, phone)
    await photographed("command", desktop, phone)
    await desktop.answer("Allow once").click()
    await desktop.idle()
    await desktop.send("!ask")
    await asking(desktop, phone)
    await photographed("question", desktop, phone)
    await accessible(desktop, phone)
    await desktop.dock.get_by_label("Green").check()
    await desktop.answer("Answer").click()
    await desktop.idle()
    await desktop.send("!fail 401")
    await asyncio.gather(*(expect(tab.failure.first).to_be_visible() for tab in (desktop, phone)))
    await desktop.idle()
    await photographed("failed", desktop, phone)
    await accessible(desktop, phone)


async def asking(*tabs: ChatPage) -> None:
    await asyncio.gather(*(expect(tab.dock).to_be_visible() for tab in tabs))


async def test_the_administration(open_page: OpenPage) -> None:
    """It is accessible in light and dark."""
    tabs = await desktop_and_phone(open_page, "admin")
    for tab in tabs:
        await tab.page.goto(tab.page.url.rstrip("/") + "/admin")
        await expect(tab.page.locator("[data-figure=ready] dd")).to_have_text(re.compile(r"\d"))
        await expect(tab.people.filter(has_text="ada")).to_be_visible()
    await photographed("admin", *tabs)
    await accessible(*tabs)


async def test_nothing_scrolls_sideways(casemate: RunningCasemate, open_tab: OpenPage) -> None:
    """At 320 pixels, which is also a desktop's page at 400 %, everything fits its width."""
    tab = await open_tab(casemate.url, viewport={"width": NARROW, "height": 640})
    await expect(tab.button("Sign in")).to_be_visible()
    assert await tab.too_wide() == []
    await sign_in(tab, "admin")
    await expect(tab.page.get_by_role("main", name="Start")).to_be_visible()
    assert await tab.too_wide() == []
    await tab.new_session()
    assert await tab.too_wide() == []
    await tab.send(f"!bash touch {'a-very-long-name' * 12}; ls -l")
    await expect(tab.dock).to_be_visible()
    assert await tab.too_wide() == []
    await tab.answer("Allow once").click()
    await tab.idle()
    assert await tab.too_wide() == []
    await tab.end()
    await tab.page.goto(f"{casemate.url}/admin")
    await expect(tab.people.filter(has_text="ada")).to_be_visible()
    assert await tab.too_wide() == []


async def test_the_picture_of_the_readme(casemate: RunningCasemate, open_page: OpenPage) -> None:
    """A session as it is on a good day: a file written, the folder listed, a command that waits."""
    async with ApiClient.signed_in(casemate.url, "grace", PASSWORD) as grace:
        for title in ("Why does the nightly export fail?", "Tidy the date parsing"):
            await grace.end((await grace.create(title=title))["id"])
    tab = await open_page("grace", viewport={"width": 1280, "height": 800})
    await tab.new_session()
    await tab.button("Ask Permission mode").click()
    await tab.page.get_by_role("option", name="Accept edits").click()
    await tab.send(REAL_PROMPT)
    await expect(tab.exactly).to_contain_text("python3 top_words.py sample.txt")
    await tab.page.screenshot(path=SCREENSHOTS / "readme.png", animations="disabled")
    await tab.answer("Allow once").click()
    await tab.idle()
