"""Stopping, waiting one's turn, what is kept, and what a session is called."""

import re

from playwright.async_api import expect

from .chat_page import ChatPage


async def test_stopped_with_the_button(tab: ChatPage) -> None:
    """The stream ends at once, and the session takes the next prompt."""
    await tab.send("!say 500 words at 40/s")
    await tab.prose_longer_than(20)
    await tab.stop.click()
    await expect(tab.text("Stopped by you.")).to_be_visible()
    await tab.idle()
    assert len((await tab.prose()).split()) < 500
    await tab.say(3)


async def test_stopped_with_escape(tab: ChatPage) -> None:
    """From the composer, while Claude waits for somebody: the request is withdrawn with it."""
    await tab.send("!bash touch nothing")
    await expect(tab.dock).to_be_visible()
    await tab.box.press("Escape")
    await expect(tab.text("Stopped by you.")).to_be_visible()
    await expect(tab.dock).to_be_hidden()
    await tab.idle()


async def test_a_prompt_waits_its_turn_and_can_be_taken_back(tab: ChatPage) -> None:
    """What is sent meanwhile is in sight; what is removed never runs, the rest does, in order."""
    await tab.send("!slow 3\n!say 4 words")
    await expect(tab.stop).to_be_visible()
    await tab.send("hold this one")
    await tab.send("!say 7 words")
    waiting = tab.queue.get_by_role("listitem")
    await expect(waiting).to_have_count(2)
    await expect(waiting.first).to_contain_text("queued")
    await waiting.first.get_by_role("button", name="Remove from the queue").click()
    await expect(waiting).to_have_count(1)
    await expect(tab.said(7)).to_be_visible()
    await tab.idle()
    await expect(tab.said(4)).to_be_visible()
    await expect(tab.queue).to_have_count(0)
    await expect(tab.text("hold this one")).to_have_count(0)


async def test_a_draft_survives_a_reload(tab: ChatPage) -> None:
    """Each session keeps what was typed and not sent; sending it clears it."""
    await tab.box.fill("half a thought")
    await tab.page.reload()
    await expect(tab.box).to_have_value("half a thought")
    await tab.box.press("Enter")
    await expect(tab.box).to_have_value("")
    await tab.idle()
    await tab.page.reload()
    await expect(tab.text("half a thought")).to_be_visible()
    await expect(tab.box).to_have_value("")


async def test_renamed(tab: ChatPage) -> None:
    """A session is called like its first prompt until somebody names it; the list follows."""
    await tab.say(3)
    await expect(tab.title).to_contain_text("!say 3 words")
    await tab.choose("Rename")
    dialog = tab.page.get_by_role("dialog", name="Rename")
    await dialog.get_by_label("Title").fill("Three words")
    await dialog.get_by_role("button", name="Save").click()
    await expect(tab.title).to_contain_text("Three words")
    listed = tab.page.get_by_role("navigation", name="Sessions").get_by_role("link")
    await expect(listed.filter(has_text="Three words")).to_be_visible()


async def test_thoughts_todos_and_subagents(tab: ChatPage) -> None:
    """One turn of everything: each is shown as what it is, and opens in place."""
    await tab.send("!think 12 words\n!todo\n!subagent say hello\n!say 5 words")
    await expect(tab.said(5)).to_be_visible()
    await tab.idle()
    thought = tab.log.get_by_role("button", name="Thought")
    await thought.first.click()
    await expect(thought.first).to_have_attribute("aria-expanded", "true")
    agent = tab.log.locator(".tool", has_text=re.compile("^(Agent|Task)")).last
    await agent.get_by_role("button").first.click()
    await expect(agent.get_by_role("group", name="Subagent")).to_be_visible()
    details = tab.page.get_by_role("complementary", name="Details")
    await expect(details.get_by_text("Read the task")).to_be_visible()


async def test_an_untrusted_answer_stays_text(tab: ChatPage) -> None:
    """Markup, scripts and remote pictures from the model run and load nothing."""
    hostile = (
        "<img src=x onerror=alert(1)> <script>alert(2)</script> "
        "![p](https://evil.example/p.png) [x](javascript:alert(3))"
    )
    tab.page.on("dialog", lambda dialog: tab.watch.seen.append(f"dialog: {dialog.message}"))
    await tab.send(f"!bash echo {hostile!r}\n!say 2 words")
    await expect(tab.said(2)).to_be_visible()
    await tab.idle()
    await tab.send(f"!nonsense {hostile}")
    await expect(tab.text("I do not understand")).to_be_visible()
    await expect(tab.log.locator("script, img")).to_have_count(0)
    await expect(tab.log.locator("a[href^='javascript']")).to_have_count(0)
