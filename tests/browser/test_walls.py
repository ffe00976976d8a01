"""Where people meet the walls: guardrails, rules, refused hosts; and the files that pass them."""

import io
import re
import zipfile
from pathlib import Path

import pytest
from playwright.async_api import Download, Locator, expect

from .chat_page import ChatPage
from .conftest import OpenPage
from .looks import accessible, photographed

HOST = "refused.example.org"
REACH = f"python3 -c 'import urllib.request as r; r.urlopen(\"https://{HOST}/\")' 2> error"


@pytest.fixture
def files(tab: ChatPage) -> Locator:
    """The panel of the workspace's files."""
    return files_of(tab)


def files_of(tab: ChatPage) -> Locator:
    return tab.page.get_by_role("region", name="Files")


async def test_a_blocked_prompt_is_edited_and_sent_again(tab: ChatPage) -> None:
    """It says that and why it did not reach Claude; its text comes back to be changed."""
    await tab.send("!say 3 words about topsecret things")
    prompt = tab.prompts.filter(has_text="topsecret")
    await expect(prompt).to_contain_text("Not sent to Claude.")
    await expect(prompt).to_contain_text("It speaks of what stays in the house.")
    await tab.idle()
    await prompt.get_by_role("button", name="Edit and send again").click()
    await expect(tab.box).to_have_value("!say 3 words about topsecret things")
    await expect(tab.box).to_be_focused()
    await tab.say(3)


async def test_what_is_added_for_claude_is_shown(tab: ChatPage) -> None:
    """A guardrail's note stands under the prompt that it was given with."""
    await tab.send("!say 3 words carefully")
    await expect(tab.prompts.first).to_contain_text(
        "Added for Claude by the profile: House rule: measure twice."
    )


async def test_a_forbidden_tool_says_so(tab: ChatPage) -> None:
    """Nobody is asked; the card says that a rule refused it, and why."""
    await tab.send("!bash shutdown now")
    card = tab.tool("shutdown now")
    await expect(card).to_have_attribute("data-state", "forbidden")
    await expect(card).to_contain_text("Refused by a rule of the profile.")
    await expect(card).to_contain_text("Machines are not shut down here.")
    await tab.idle()
    await expect(tab.dock).to_have_count(0)


async def test_a_refused_host_is_shown(tab: ChatPage, open_page: OpenPage) -> None:
    """Where the sandbox wanted to go is in the conversation, and with the administration, with the
    line that would allow it."""
    await tab.send(f"!bash {REACH}")
    await tab.answer("Allow once").click()
    blocked = tab.log.get_by_role("group", name="What the sandbox tried to reach")
    await expect(blocked).to_contain_text(f"{HOST}:443")
    admin = await open_page("admin")
    await admin.page.goto(admin.page.url.rstrip("/") + "/admin")
    refused = admin.page.get_by_role("group", name="Refused hosts")
    row = refused.get_by_role("row").filter(has_text=HOST)
    await expect(row).to_contain_text(f'{{ host = "{HOST}", ports = [443] }},')
    phone = await open_page("admin", form="phone")
    await phone.page.goto(phone.page.url.rstrip("/") + "/admin")
    for look in (admin, phone):
        panel = look.page.get_by_role("group", name="Refused hosts")
        await expect(panel).to_contain_text(HOST)
        await panel.scroll_into_view_if_needed()
        assert await look.too_wide() == []
    await photographed("refused-hosts", admin, phone)
    await accessible(admin, phone)


async def test_the_audit_log_is_read(open_page: OpenPage) -> None:
    """An administrator sees who signed in, and finds it by name."""
    admin = await open_page("admin")
    await admin.page.goto(admin.page.url.rstrip("/") + "/admin")
    table = admin.page.get_by_role("group", name="Audit")
    await expect(table.get_by_role("row").nth(1)).to_be_visible()
    await admin.page.get_by_role("searchbox", name="Who").fill("nobody-of-that-name")
    await admin.button("Show").click()
    await expect(admin.page.get_by_text("Nothing fits.")).to_be_visible()
    await admin.page.get_by_role("searchbox", name="Who").fill("admin")
    await admin.button("Show").click()
    await expect(table.get_by_role("row").nth(1)).to_contain_text("admin")
    await table.scroll_into_view_if_needed()
    await photographed("audit", admin)
    await accessible(admin)


async def test_a_file_goes_in_and_comes_out(tab: ChatPage, files: Locator, tmp_path: Path) -> None:
    """What is uploaded is what Claude finds, and what is downloaded again, alone and in an
    archive."""
    content = "Grüße\n" * 1000
    await upload(files, tmp_path, "notes.txt", content)
    await expect(files.get_by_text("notes.txt")).to_be_visible()
    await expect(tab.text("ada uploaded")).to_be_visible()
    await tab.send("!bash wc -c notes.txt && mkdir sub && cp notes.txt sub/copy.txt")
    await tab.answer("Allow once").click()
    await tab.idle()
    await expect(await tab.output_of("wc -c")).to_contain_text(str(len(content.encode())))
    alone = await downloaded(tab, files.get_by_role("link", name="Download notes.txt"))
    assert alone.decode() == content
    await files.get_by_role("button", name="sub").click()
    await expect(files.get_by_text("copy.txt")).to_be_visible()
    packed = await downloaded(tab, files.get_by_role("link", name="Download this folder"))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("copy.txt")]
        assert archive.read(name).decode() == content


async def test_a_file_is_replaced_only_when_somebody_says_so(
    tab: ChatPage, files: Locator, tmp_path: Path
) -> None:
    """Where one of that name is there already, a person decides."""
    tab.watch.allow("status of 409")
    await upload(files, tmp_path, "notes.txt", "first")
    await expect(files.get_by_role("link", name="Download notes.txt")).to_be_visible()
    await upload(files, tmp_path, "notes.txt", "second")
    await expect(files.get_by_role("alert")).to_contain_text("There is already a file")
    await files.get_by_role("button", name="Replace it").click()
    await expect(files.get_by_role("alert")).to_have_count(0)
    again = await downloaded(tab, files.get_by_role("link", name="Download notes.txt"))
    assert again == b"second"


async def test_a_file_is_dropped_on_the_panel(tab: ChatPage, files: Locator) -> None:
    """It lands in the folder that is shown; beside the panel nothing happens to the page."""
    await expect(files.get_by_text("Nothing here yet.")).to_be_visible()
    carried = await tab.page.evaluate_handle(
        """() => { const carried = new DataTransfer()
        carried.items.add(new File(['dropped'], 'dropped.txt'))
        return carried }"""
    )
    await tab.box.dispatch_event("drop", {"dataTransfer": carried})
    await files.get_by_text("Drop files here").dispatch_event("drop", {"dataTransfer": carried})
    await expect(files.get_by_role("link", name="Download dropped.txt")).to_be_visible()


async def test_the_walls_look_right(open_page: OpenPage, tmp_path: Path) -> None:
    """Refusals, files and hidden characters are accessible on desktop and phone, in light and
    dark, and nothing scrolls sideways."""
    desktop, phone = await open_page(), await open_page(form="phone")
    for tab in (desktop, phone):
        tab.watch.allow("status of 409")
    await desktop.new_session()
    await phone.follow(desktop.session_id)
    await upload(files_of(desktop), tmp_path, "notes.txt", "first")
    await expect(files_of(desktop).get_by_role("link", name="Download notes")).to_be_visible()
    await upload(files_of(desktop), tmp_path, "notes.txt", "second")
    await expect(files_of(desktop).get_by_role("alert")).to_be_visible()
    await desktop.send("Tell me of the topsecret plan.")
    await desktop.idle()
    await desktop.send("!bash shutdown now")
    await desktop.idle()
    await desktop.send(f"!say 8 words carefully\n!bash {REACH}")
    await desktop.answer("Allow once").click()
    await desktop.idle()
    await photographed("walls", desktop, phone)
    await accessible(desktop, phone)
    for tab in (desktop, phone):
        await tab.prompts.first.scroll_into_view_if_needed()
        await expect(tab.prompts.first).to_be_in_viewport()
    await photographed("guardrails", desktop, phone)
    hidden = f"!bash curl https://\u0430pple.com/\u202egnp.sh{' ' * 90}; echo \u200b tail"
    await desktop.send(hidden + "\necho more" * 30)
    for tab in (desktop, phone):
        await expect(tab.dock).to_be_visible()
    await photographed("hidden", desktop, phone)
    await accessible(desktop, phone)
    assert await phone.too_wide() == []
    await phone.choose("Details")
    await expect(files_of(phone).get_by_role("link", name="Download notes")).to_be_visible()
    await photographed("files", phone)
    await accessible(phone)


async def upload(files: Locator, folder: Path, name: str, content: str) -> None:
    file = folder / name
    file.write_text(content)
    await files.locator("input[type=file]").set_input_files(file)


async def downloaded(tab: ChatPage, link: Locator) -> bytes:
    async with tab.page.expect_download() as waiting:
        await link.click()
    download: Download = await waiting.value
    assert not re.search(r"[/\\]", download.suggested_filename)
    return Path(await download.path()).read_bytes()
