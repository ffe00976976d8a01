"""What goes wrong is said in plain words, with what to do, and the session lives where it can."""

import re
import subprocess

import pytest
from playwright.async_api import expect

from orchestrator.testing.chat_client import ApiClient
from orchestrator.testing.running_casemate import RunningCasemate

from .chat_page import ChatPage
from .conftest import PASSWORD


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("!fail 529", re.compile("overloaded")),
        ("!fail 401", re.compile("key")),
        ("!cut", re.compile("cut|broke|middle|connection", re.IGNORECASE)),
    ],
)
async def test_a_model_that_fails(tab: ChatPage, prompt: str, sentence: re.Pattern[str]) -> None:
    """The person reads what happened; the next prompt is answered."""
    await tab.send(prompt)
    await expect(tab.failure.first).to_contain_text(sentence, timeout=60_000)
    await tab.idle()
    await tab.say(3)


async def test_a_sandbox_that_is_killed(casemate: RunningCasemate, tab: ChatPage) -> None:
    """Between turns: one line says why, and the conversation goes on in another one."""
    await tab.say(5)
    async with ApiClient.signed_in(casemate.url, "ada", PASSWORD) as ada:
        _, view, _ = await ada.request("GET", f"/api/v1/sessions/{tab.session_id}")
    name = f"casemate-{view['sandbox_id']}"
    subprocess.run(["docker", "kill", name], check=True, capture_output=True)
    await expect(tab.text(re.compile("from outside.* Restored in a new one"))).to_be_visible()
    await expect(tab.said(5)).to_be_visible()
    await tab.say(4)
