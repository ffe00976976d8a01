"""Chromium before a whole Casemate: real Docker, shim, SDK and CLI; only the model is scripted.

One Casemate serves all tests of this folder; each test has a browser of its own and ends the
sessions that it left open.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, async_playwright, expect

from orchestrator.sandboxes.image_builder import BuiltImage
from orchestrator.testing.background_model import background_model
from orchestrator.testing.chat_client import ApiClient
from orchestrator.testing.running_casemate import RunningCasemate, running_casemate
from orchestrator.testing.scripted_model import ScriptedModel

from .chat_page import ChatPage
from .prompts import with_real_prompts
from .watching import Watch

PASSWORD = "correct horse battery staple"
KEY = f"sk-ant-test-{secrets.token_hex(16)}"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PROFILES = """
[[profile]]
name = "default"
title = "Claude Code"

[profile.agent]
model = "claude-sonnet-4-5"
prompt_rules = [
    { pattern = "topsecret", action = "block", text = "It speaks of what stays in the house." },
    { pattern = "carefully", action = "annotate", text = "House rule: measure twice." },
]
forbidden = [{ tool = "Bash", pattern = "shutdown", reason = "Machines are not shut down here." }]

[profile.egress]
allow = [{ host = "allowed.example.org" }]
"""
"""What there is to refuse in it is refused by these tests alone."""
FORMS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1440, "height": 900}},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "has_touch": True,
        "is_mobile": True,
        "device_scale_factor": 2,
    },
}

Form = Literal["desktop", "phone"]
Scheme = Literal["light", "dark"]
OpenPage = Callable[..., Awaitable[ChatPage]]


@pytest.fixture(scope="package")
def model() -> Iterator[ScriptedModel]:
    with background_model(require_key=KEY, script=with_real_prompts()) as running:
        yield running


@pytest.fixture(scope="package")
def casemate(
    sandbox_image: BuiltImage, model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningCasemate]:
    profiles = tmp_path_factory.mktemp("profiles") / "profiles.toml"
    profiles.write_text(PROFILES)
    environment = {
        "CASEMATE_PROFILES_PATH": str(profiles),
        "ANTHROPIC_API_KEY": KEY,
        "CASEMATE_GATEWAY_UPSTREAM_URL": model.url,
        "CASEMATE_POOL_MINIMUM": "2",
        "CASEMATE_POOL_MAXIMUM": "8",
        "CASEMATE_ACCOUNTS_ATTEMPTS_PER_ADDRESS": "1000",
    }
    people = {"admin": PASSWORD, "ada": PASSWORD, "grace": PASSWORD}
    with running_casemate(environment, users=people) as running:
        yield running


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        yield browser
        await browser.close()


@pytest.fixture
async def watches() -> AsyncIterator[list[Watch]]:
    """Of all contexts of the test; what they complain about fails it."""
    watches: list[Watch] = []
    yield watches
    assert [line for watch in watches for line in watch.complaints()] == []


@pytest.fixture
async def open_tab(browser: Browser, watches: list[Watch]) -> OpenPage:
    """Opens a tab of a browser that nobody is signed in to; `url` is Casemate's."""

    async def open_tab(
        url: str, *, form: Form = "desktop", scheme: Scheme = "light", **more: Any
    ) -> ChatPage:
        options = FORMS[form] | {"color_scheme": scheme, "locale": "en-GB"} | more
        context = await browser.new_context(**options)
        watch = Watch(urlsplit(url).netloc)
        watches.append(watch)
        await watch.over(context)
        tab = ChatPage(await context.new_page(), form=form, watch=watch)
        await tab.page.goto(url)
        return tab

    return open_tab


async def sign_in(tab: ChatPage, name: str, password: str = PASSWORD) -> None:
    """As a person does it."""
    await tab.page.get_by_label("Name").fill(name)
    await tab.page.get_by_label("Password").fill(password)
    await tab.button("Sign in").click()


@pytest.fixture
async def open_page(casemate: RunningCasemate, open_tab: OpenPage) -> AsyncIterator[OpenPage]:
    """Opens a tab that somebody, Ada unless told otherwise, is signed in to."""
    visitors = set()

    async def open_page(name: str = "ada", **options: Any) -> ChatPage:
        tab = await open_tab(casemate.url, **options)
        await sign_in(tab, name)
        await expect(tab.page.get_by_role("main", name="Start")).to_be_visible()
        visitors.add(name)
        return tab

    yield open_page
    for visitor in visitors:
        await end_sessions(casemate.url, visitor)


async def end_sessions(url: str, name: str) -> None:
    async with ApiClient.signed_in(url, name, PASSWORD) as client:
        _, page, _ = await client.request("GET", "/api/v1/sessions")
        for view in page["sessions"]:
            if view["state"] not in {"ended", "failed"}:
                await client.end(view["id"])


@pytest.fixture
async def tab(open_page: OpenPage) -> ChatPage:
    """Ada's tab, with a new session."""
    tab = await open_page()
    await tab.new_session()
    return tab
