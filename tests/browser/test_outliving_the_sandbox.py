"""Sandboxes die, rest and are exchanged before people's eyes; their conversation goes on."""

import asyncio

import docker
import pytest
from playwright.async_api import Locator, expect

from orchestrator.testing.chat_client import ApiClient
from orchestrator.testing.running_casemate import RunningCasemate

from .chat_page import ChatPage
from .conftest import PASSWORD
from .looks import accessible, photographed

RESTORED = "Restored in a new one."
FILES_REFUSED = r"status of (409|502) .*/files\?path="
"""To a page that asks for them in the very moment of a death."""


@pytest.fixture
def kill_sandbox(casemate: RunningCasemate, docker_engine: docker.DockerClient):
    """Kills the container that the tab's session has now, as if by accident."""

    async def kill_sandbox(tab: ChatPage) -> None:
        tab.watch.allow(FILES_REFUSED)
        async with ApiClient.signed_in(casemate.url, "ada", PASSWORD) as ada:
            _, view, _ = await ada.request("GET", f"/api/v1/sessions/{tab.session_id}")
        container = docker_engine.containers.get(f"casemate-{view['sandbox_id']}")
        await asyncio.to_thread(container.kill)

    return kill_sandbox


def unfinished(tab: ChatPage) -> Locator:
    return tab.page.get_by_role("region", name="Your last message was not finished")


def checkpoints(tab: ChatPage) -> Locator:
    return tab.page.get_by_role("list", name="Checkpoints").get_by_role("listitem")


async def bash(tab: ChatPage, command: str) -> None:
    await tab.send(f"!bash {command}")
    await expect(tab.exactly).to_have_text(command)
    await tab.answer("Allow once").click()
    await tab.idle()


async def content(tab: ChatPage, file: str) -> Locator:
    """Reading needs no permission."""
    await tab.send(f"!bash cat {file}")
    await expect(tab.tool(f"cat {file}")).to_contain_text("done")
    await tab.idle()
    return await tab.output_of(f"cat {file}")


async def test_a_sandbox_that_is_killed_in_a_turn(tab: ChatPage, kill_sandbox) -> None:
    """One line says so; the message is run again from another tab, and the offer goes from both;
    what was there before is there."""
    await bash(tab, "echo from before > kept.txt")
    await expect(checkpoints(tab)).not_to_have_count(0)
    other = await tab.page.context.new_page()
    second = ChatPage(other, form=tab.form, watch=tab.watch)
    await other.goto(tab.page.url)
    await tab.send("!slow 3\n!say 9 words")
    await expect(tab.stop).to_be_visible()
    await kill_sandbox(tab)
    await asyncio.gather(*(expect(unfinished(one)).to_be_visible() for one in (tab, second)))
    await expect(tab.text(RESTORED)).to_be_visible()
    await photographed("recovered", tab)
    await accessible(tab)
    await second.button("Run it again").click()
    await asyncio.gather(*(expect(unfinished(one)).to_be_hidden() for one in (tab, second)))
    await expect(tab.said(9)).to_be_visible()
    await tab.idle()
    await expect(await content(tab, "kept.txt")).to_contain_text("from before")
    await expect(tab.log.locator("[data-kind=stay]")).to_have_count(1)
    await expect(tab.text("The turn failed.")).to_have_count(0)


async def test_what_was_not_finished_is_let_go(tab: ChatPage, kill_sandbox) -> None:
    """It is not offered again, not even after a reload, and the session takes the next prompt."""
    await tab.send("!slow 30")
    await expect(tab.stop).to_be_visible()
    await kill_sandbox(tab)
    await tab.button("Let it go").click()
    await expect(unfinished(tab)).to_be_hidden()
    await tab.say(4)
    await tab.page.reload()
    await expect(tab.said(4)).to_be_visible()
    await expect(unfinished(tab)).to_be_hidden()


async def test_put_to_sleep_and_woken_by_a_prompt(tab: ChatPage) -> None:
    """The draft stays, the prompt runs when it is awake, and the files are there again."""
    await bash(tab, "echo asleep > kept.txt")
    await tab.button("Put to sleep").click()
    await tab.state("Asleep")
    await expect(tab.page.get_by_text("Asleep. It wakes when you write.")).to_be_visible()
    await photographed("asleep", tab)
    await tab.box.fill("!say 6 words")
    await tab.box.press("Enter")
    await expect(tab.said(6)).to_be_visible()
    await tab.idle()
    await expect(await content(tab, "kept.txt")).to_contain_text("asleep")


async def test_a_visit_wakes_a_session_that_sleeps(tab: ChatPage) -> None:
    """Whoever opens it finds it as it was, after its button as well."""
    await tab.say(5)
    await tab.button("Put to sleep").click()
    await tab.state("Asleep")
    await tab.button("Wake it").click()
    await tab.idle()
    await expect(tab.said(5)).to_be_visible()


async def test_going_back(tab: ChatPage) -> None:
    """After a word on what it does, the files are as they were, and the thread is all there."""
    await bash(tab, "echo first > state.txt")
    await expect(checkpoints(tab)).not_to_have_count(0)
    before = await checkpoints(tab).count()
    await bash(tab, "echo second > state.txt")
    await expect(checkpoints(tab)).to_have_count(before + 1)
    await tab.button("Go back to here").first.click()
    dialog = tab.page.get_by_role("dialog", name="Go back to here?")
    await expect(dialog).to_contain_text("The thread stays readable")
    await dialog.get_by_role("button", name="Go back").click()
    await expect(tab.text("Claude knows nothing of what came after")).to_be_visible()
    await tab.idle()
    await expect(await content(tab, "state.txt")).to_contain_text("first")
    await expect(tab.tool("echo second")).to_have_count(1)


async def test_an_answer_to_a_request_that_outlived_its_sandbox(
    tab: ChatPage, kill_sandbox
) -> None:
    """A request that outlived its sandbox is answered, and what was asked for then runs."""
    await tab.send("!bash echo answered | tee answer.txt")
    await expect(tab.dock).to_be_visible()
    await kill_sandbox(tab)
    await expect(tab.text(RESTORED)).to_be_visible()
    await expect(tab.exactly).to_have_text("echo answered | tee answer.txt")
    await tab.answer("Allow once").click()
    await tab.idle()
    await expect(await tab.output_of("echo answered")).to_contain_text("answered")
