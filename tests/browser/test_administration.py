"""The administration: the live pool and its sizes, waiting for a sandbox, the people."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Locator, expect

from orchestrator.testing.chat_client import ApiClient
from orchestrator.testing.running_casemate import RunningCasemate

from .chat_page import ChatPage
from .conftest import PASSWORD, OpenPage, sign_in

POOL = "/api/v1/admin/pools/default"


@pytest.fixture
async def usual_sizes(casemate: RunningCasemate) -> AsyncIterator[None]:
    """Whatever the test does to the pool is undone."""
    yield
    async with ApiClient.signed_in(casemate.url, "admin", PASSWORD) as admin:
        await admin.request("PUT", POOL, json={"min": 2, "max": 8})


async def open_admin(open_page: OpenPage) -> ChatPage:
    tab = await open_page("admin")
    await tab.page.get_by_role("link", name="Administration").click()
    await expect(tab.page.get_by_role("heading", name="Administration")).to_be_visible()
    return tab


def figure(tab: ChatPage, name: str) -> Locator:
    return tab.page.locator(f"[data-figure={name}] dd")


async def resize(tab: ChatPage, *, keep_ready: int, at_most: int) -> None:
    sizes = tab.page.get_by_role("form", name="Sizes of default")
    await sizes.get_by_label("Keep ready").fill(str(keep_ready))
    await sizes.get_by_label("At most").fill(str(at_most))
    await sizes.get_by_role("button", name="Apply").click()


async def test_the_pool_is_live_and_its_sizes_change(
    open_page: OpenPage, usual_sizes: None
) -> None:
    """Sandboxes come and go in sight; nonsense cannot be applied."""
    tab = await open_admin(open_page)
    await expect(figure(tab, "ready")).to_have_text("2")
    await resize(tab, keep_ready=3, at_most=8)
    await expect(figure(tab, "ready")).to_have_text("3", timeout=60_000)
    rack = tab.page.get_by_role("list", name="Sandboxes of default").get_by_role("listitem")
    await expect(rack.filter(has_text="Ready")).to_have_count(3)
    await tab.page.get_by_label("Keep ready").fill("9")
    await expect(tab.page.get_by_text("the first is not above the second")).to_be_visible()
    await expect(tab.button("Apply")).to_be_disabled()


async def test_waiting_for_a_sandbox(open_page: OpenPage, usual_sizes: None) -> None:
    """Where all are taken a session shows its place; what is typed meanwhile runs then."""
    admin = await open_admin(open_page)
    await resize(admin, keep_ready=0, at_most=1)
    await expect(admin.page.get_by_label("At most")).to_have_value("1")
    first, second, third = [await open_page() for _ in range(3)]
    await first.new_session()
    for tab in (second, third):
        await tab.new_session(wait=False)
        await expect(tab.page.get_by_text("Every sandbox is in use")).to_be_visible()
    await expect(second.page.get_by_text("You are next.")).to_be_visible()
    await expect(third.page.locator(".session-phase")).to_contain_text("2is your place")
    await expect(figure(admin, "waiting")).to_have_text("2")
    phone = await open_page(form="phone")
    await phone.follow(third.session_id)
    await expect(phone.page.locator(".session-phase")).to_be_visible()
    await asyncio.gather(*(look.photograph("waiting") for look in (third, phone)))
    await second.send("!say 4 words")
    await expect(second.queue.get_by_role("listitem")).to_have_count(1)
    await first.end()
    await expect(second.said(4)).to_be_visible(timeout=60_000)
    await expect(third.page.get_by_text("You are next.")).to_be_visible()
    await second.end()
    await expect(third.ready).to_be_visible(timeout=60_000)


async def test_a_new_user_and_their_link(
    casemate: RunningCasemate, open_page: OpenPage, open_tab: OpenPage
) -> None:
    """An admin adds somebody and passes on a link: it signs them in, they choose a password that
    signs them in from then on, and after they were disabled they are out."""
    tab = await open_admin(open_page)
    await tab.page.get_by_label("Name of a new user").fill("carol")
    await tab.button("Add").click()
    dialog = tab.page.get_by_role("dialog", name="One-time sign-in link")
    link = await dialog.locator("pre").inner_text()
    await dialog.get_by_text("Close", exact=True).click()
    carol = await open_tab(link)
    carol.watch.allow("status of 4..")
    await expect(carol.page.get_by_text("carol", exact=True)).to_be_visible()
    await carol.button("Choose a password").click()
    await carol.page.get_by_label("New password").fill(PASSWORD)
    await carol.button("Choose password").click()
    await expect(carol.page.get_by_text("Saved.")).to_be_visible()
    await carol.page.keyboard.press("Escape")
    await carol.button("Sign out").click()
    await sign_in(carol, "carol")
    await expect(carol.page.get_by_text("carol", exact=True)).to_be_visible()
    row = tab.people.filter(has_text="carol")
    await expect(row).to_contain_text("User")
    await row.get_by_role("button", name="Disable").click()
    await expect(row).to_contain_text("disabled")
    await carol.page.reload()
    await expect(carol.button("Sign in")).to_be_visible()
