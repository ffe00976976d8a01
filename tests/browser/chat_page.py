"""What a person does on the page and sees there, in the words of the page."""

import re
from pathlib import Path
from typing import Literal

from playwright.async_api import Locator, Page, expect

from .watching import Watch

SCREENSHOTS = Path(__file__).parents[2] / ".artifacts" / "screenshots"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LIMIT = 20_000.0
"""Milliseconds. Nothing here takes so long unless it is broken, or the machine is very busy."""

expect.set_options(timeout=LIMIT)

SETTLED = """() => document.fonts.ready.then(() =>
  document.getAnimations().every((animation) => animation.playState !== 'running'))"""

SAID = """log => {
  const copy = log.cloneNode(true)
  for (const control of copy.querySelectorAll('.way-back')) control.remove()
  return copy.textContent
}"""
"""The ways back to what was kept come when it is kept, and go while a turn runs."""

TOO_WIDE = """() => {
  const frames = [document.documentElement, ...document.querySelectorAll('main, [role=log]')]
  if (frames.every((frame) => frame.scrollWidth <= frame.clientWidth)) return []
  const width = document.documentElement.clientWidth
  return [...document.querySelectorAll('body *')]
    .filter((element) => element.getBoundingClientRect().right > width)
    .map((element) => `${element.tagName} ${element.className} ${element.textContent.slice(0, 40)}`)
}"""
"""What scrolls sideways on purpose, code and wide tables, does so in a frame of its own."""


class ChatPage:
    """A tab. What it names are locators: they wait for what they name."""

    def __init__(self, page: Page, *, form: str, watch: Watch) -> None:
        self.page = page
        self.watch = watch
        self.form = form
        """`desktop` or `phone`: how it looks, for the names of photographs."""
        self.log = page.get_by_role("log", name="Conversation")
        self.box = page.get_by_role("textbox", name="Your prompt")
        self.dock = page.get_by_role("region", name="Claude waits for you")
        self.exactly = self.dock.get_by_role("group", name="Exactly this would run")
        self.failure = self.log.get_by_role("group", name="Something failed.")
        self.stop = page.get_by_role("button", name="Stop", exact=True)
        self.queue = page.get_by_role("list", name="Waiting prompts")
        self.title = page.locator("main").get_by_role("heading", level=1)
        self.prompts = self.log.locator("[data-kind=user]")
        self.people = page.get_by_role("group", name="People").get_by_role("row")
        self.ready = page.get_by_text("Your sandbox is ready.")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def answer(self, name: str) -> Locator:
        """A button of the dock; its name ends in the key that presses it."""
        return self.dock.get_by_role("button", name=re.compile(rf"^{re.escape(name)}( ?\d)?$"))

    def text(self, words: str | re.Pattern[str]) -> Locator:
        """Something in the transcript."""
        return self.log.get_by_text(words)

    @property
    def session_id(self) -> str:
        return self.page.url.rsplit("/", 1)[-1]

    async def new_session(self, *, wait: bool = True) -> None:
        await self.page.locator("main").get_by_role("button", name="New session").click()
        await self.page.wait_for_url("**/s/*")
        if wait:
            await expect(self.ready).to_be_visible()

    async def follow(self, session_id: str) -> None:
        """Open a session that is there already."""
        origin = self.page.url.split("/s/")[0].rstrip("/")
        await self.page.goto(f"{origin}/s/{session_id}")

    async def send(self, prompt: str) -> None:
        await self.box.fill(prompt)
        await self.box.press("Enter")

    async def say(self, words: int) -> None:
        """A whole turn: Claude is asked for so many words, and writes them."""
        await self.send(f"!say {words} words")
        await expect(self.said(words)).to_be_visible()
        await self.idle()

    def said(self, words: int) -> Locator:
        """Prose of exactly so many words, the last of it."""
        exactly = re.compile(rf"^\s*\w+(\s+\w+){{{words - 1}}}\s*$")
        return self.log.locator(".agent-text", has_text=exactly).last

    async def idle(self) -> None:
        await self.state("Idle")

    async def state(self, name: str) -> None:
        """The heading begins with it: that is where its shape stands."""
        await expect(self.title).to_have_accessible_name(re.compile(rf"^{name}\b"))

    async def choose(self, action: str) -> None:
        """From the menu of the session."""
        await self.button("Session actions").click()
        await self.page.get_by_role("menuitem", name=action).click()

    async def end(self) -> None:
        await self.choose("End session")
        dialog = self.page.get_by_role("dialog", name="End this session?")
        await dialog.get_by_role("button", name="End session").click()

    def tool(self, summary: str) -> Locator:
        return self.log.locator(".tool", has_text=summary)

    async def output_of(self, summary: str) -> Locator:
        """What the last command of this summary printed; opens its card."""
        card = self.tool(summary).last
        await card.get_by_role("button").first.click()
        return card.get_by_role("group", name="Output")

    async def prose(self) -> str:
        """What Claude has written so far."""
        return "\n\n".join(await self.log.locator(".agent-text").all_inner_texts())

    async def prose_longer_than(self, length: int) -> str:
        await self.page.wait_for_function(
            "n => [...document.querySelectorAll('.agent-text')].map(e => e.innerText)"
            ".join('\\n\\n').length > n",
            arg=length,
            timeout=LIMIT,
        )
        return await self.prose()

    async def transcript(self) -> str:
        """The whole conversation as its characters: what two tabs must have in common."""
        return str(await self.log.evaluate(SAID))

    async def reads(self, transcript: str) -> None:
        """Wait until the conversation is just that."""
        same = f"said => ({SAID})(document.querySelector('[role=log]')) === said"
        await self.page.wait_for_function(same, arg=transcript, timeout=LIMIT)

    async def rows(self) -> list[str]:
        """The kinds of the transcript's rows, in their order."""
        rows = "rows => rows.map(row => row.dataset.kind)"
        kinds: list[str] = await self.log.locator("[data-row]").evaluate_all(rows)
        return kinds

    async def photograph(self, what: str) -> None:
        """In light and in dark, into `.artifacts/screenshots`, for people to look at."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for scheme in SCHEMES:
            await self.page.emulate_media(color_scheme=scheme)
            await self.page.wait_for_function(SETTLED)
            file = SCREENSHOTS / f"{what}-{self.form}-{scheme}.png"
            await self.page.screenshot(path=file, animations="disabled")

    async def too_wide(self) -> list[str]:
        """What makes the page scroll sideways; empty where it does not."""
        found: list[str] = await self.page.evaluate(TOO_WIDE)
        return found
