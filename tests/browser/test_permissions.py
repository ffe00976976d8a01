"""The dock: what Claude wants to do, and everything that a person can answer."""

import re

from playwright.async_api import WebSocketRoute, expect

from .chat_page import ChatPage


async def test_denied_with_a_reason(tab: ChatPage) -> None:
    """Nothing runs, and Claude reads why not."""
    await tab.send("!bash touch never")
    await tab.answer("Deny…").click()
    await tab.dock.get_by_role("textbox").fill("not on a Monday")
    await tab.dock.get_by_role("button", name="Deny", exact=True).click()
    await expect(tab.text("Denied by ada · “not on a Monday”")).to_be_visible()
    await expect(tab.tool("touch never")).to_have_attribute("data-state", "denied")
    await tab.idle()
    await tab.send("!bash ls -a")
    await expect((await tab.output_of("ls -a")).last).not_to_contain_text("never")


async def test_denied_and_stopped(tab: ChatPage) -> None:
    """The turn ends there; its next step is not asked for."""
    await tab.send("!bash touch one\n!bash touch two")
    await tab.answer("Deny…").click()
    await tab.dock.get_by_role("button", name="Deny and stop").click()
    await tab.idle()
    await expect(tab.text("Stopped by you.")).to_be_visible()
    await expect(tab.tool("touch two")).to_have_count(0)


async def test_edited_first(tab: ChatPage) -> None:
    """What runs is what the person made of it, and the transcript says that it was changed."""
    await tab.send("!bash touch original")
    await tab.answer("Edit first").click()
    await tab.dock.get_by_role("textbox").fill("touch changed && ls")
    await tab.answer("Allow as edited").click()
    await tab.idle()
    await expect(tab.text(re.compile("Allowed by ada · input changed"))).to_be_visible()
    output = await tab.output_of("touch")
    await expect(output).to_contain_text("changed")
    await expect(output).not_to_contain_text("original")


async def test_always_allowed(tab: ChatPage) -> None:
    """The rule is shown before it is saved; afterwards the same runs unasked."""
    await tab.send("!bash touch twice")
    await expect(tab.dock.get_by_role("group", name="“Always” saves:")).to_contain_text("touch")
    await tab.answer("Always allow").click()
    await expect(tab.text("Always allowed by ada")).to_be_visible()
    await tab.idle()
    await tab.send("!bash touch twice\n!say 3 words")
    await expect(tab.tool("touch twice")).to_have_count(2)
    await tab.idle()
    await expect(tab.text("Always allowed by ada")).to_have_count(1)


async def test_allowed_without_a_mouse(tab: ChatPage) -> None:
    """Alt+P leads to the dock without approving anything, 1 allows, and the focus comes back."""
    await tab.send("!bash touch by-key; ls")
    await expect(tab.dock).to_be_visible()
    await expect(tab.box).to_be_focused()
    await tab.page.keyboard.press("Alt+p")
    await expect(tab.dock.get_by_role("heading")).to_be_focused()
    await tab.page.keyboard.press("1")
    await tab.idle()
    await expect(tab.box).to_be_focused()
    await expect(await tab.output_of("touch by-key")).to_contain_text("by-key")


async def test_what_is_invisible_is_shown(tab: ChatPage) -> None:
    """A command with characters that reorder or hide text shows them as what they are, where it is
    approved and on its card; what runs is what was sent."""
    await tab.send("!bash printf '\u202egnp.exe\u200b' | od -An -tx1")
    for place in (tab.exactly, tab.tool("gnp.exe")):
        await expect(place).to_contain_text("⟨U+202E⟩")
        await expect(place).to_contain_text("⟨U+200B⟩")
    await expect(tab.dock).to_contain_text("characters that are normally invisible")
    await tab.answer("Allow once").click()
    await tab.idle()
    await expect(await tab.output_of("gnp.exe")).to_contain_text("e2 80 ae 67 6e 70")


async def test_what_only_looks_harmless(tab: ChatPage) -> None:
    """A host that only looks like another has its real name beside it; a tail behind many blanks
    is in sight, and both are warned of."""
    await tab.send(f"!bash touch https://\u0430pple.com{' ' * 300}; echo tail")
    await expect(tab.exactly).to_contain_text("⟨xn--pple-43d.com⟩")
    await expect(tab.exactly).to_contain_text("⟨300 blanks⟩; echo tail")
    await expect(tab.dock).to_contain_text("not plain ASCII")
    await expect(tab.dock).to_contain_text("long runs of blanks")
    assert await tab.too_wide() == []


async def test_a_long_request_says_what_is_folded(tab: ChatPage) -> None:
    """Nobody approves unseen lines unknowingly, and all of them can be reached before."""
    await tab.send("!write /workspace/long.txt " + "\n".join(f"line {n}" for n in range(40)))
    await expect(tab.dock).to_contain_text("of this are not shown yet")
    await tab.dock.get_by_role("button", name=re.compile("more line")).click()
    await expect(tab.dock).not_to_contain_text("not shown yet")
    await expect(tab.exactly).to_contain_text("line 39")


async def test_a_decision_on_something_else_is_refused(tab: ChatPage) -> None:
    """A decision that names another input runs nothing; the card says so, and asks anew."""
    await tab.page.route_web_socket("**/stream", _with_another_hash)
    await tab.page.reload()
    await tab.send("!bash touch never")
    await tab.answer("Allow once").click()
    await expect(tab.dock).to_contain_text("has changed since you looked")
    await expect(tab.answer("Allow once")).to_be_enabled()
    await expect(tab.exactly).to_contain_text("touch never")


def _with_another_hash(page: WebSocketRoute) -> None:
    """Between page and server: exchanges the hash in the decisions that pass."""
    server = page.connect_to_server()

    def passed(message: str | bytes) -> None:
        text = message if isinstance(message, str) else message.decode()
        server.send(re.sub(r'"input_hash":"[0-9a-f]{64}"', f'"input_hash":"{"0" * 64}"', text))

    page.on_message(passed)


async def test_a_question_answered_with_an_option(tab: ChatPage) -> None:
    """Claude gets the chosen words."""
    await tab.send("!ask")
    await expect(tab.dock.get_by_role("heading")).to_contain_text("Claude asks")
    await expect(tab.answer("Answer")).to_be_disabled()
    await tab.dock.get_by_label("Green").check()
    await tab.answer("Answer").click()
    await tab.idle()
    await expect(tab.text(re.compile("Green")).last).to_be_visible()


async def test_a_question_answered_in_own_words(tab: ChatPage) -> None:
    """What is typed takes the place of the options."""
    await tab.send("!ask")
    await tab.dock.get_by_label("Red").check()
    await tab.dock.get_by_role("textbox").fill("rather violet")
    await expect(tab.dock.get_by_label("Red")).not_to_be_checked()
    await tab.answer("Answer").click()
    await tab.idle()
    await expect(tab.text(re.compile("rather violet")).last).to_be_visible()
