"""Who gets in, who does not, and what they are told."""

from playwright.async_api import expect

from orchestrator.testing.running_casemate import RunningCasemate

from .conftest import PASSWORD, OpenPage, sign_in


async def test_a_wrong_password_tells_nothing_about_the_user(
    casemate: RunningCasemate, open_tab: OpenPage
) -> None:
    """It says so, in the same words for a name that does not exist, and forgets the password."""
    tab = await open_tab(casemate.url)
    problem = tab.page.locator(".sign-in-problem")
    told = []
    for name in ("ada", "nobody-of-that-name"):
        await sign_in(tab, name, "not the password")
        await expect(problem).to_contain_text("The name or the password is wrong.")
        await expect(tab.page.get_by_label("Password")).to_have_value("")
        told.append(await problem.inner_text())
        await tab.page.reload()
    assert told[0] == told[1]


async def test_in_and_out_again(casemate: RunningCasemate, open_tab: OpenPage) -> None:
    """Name and password lead in and stay through a reload; signing out leads out in every tab."""
    tab = await open_tab(casemate.url)
    await sign_in(tab, "ada")
    await expect(tab.page.get_by_text("ada", exact=True)).to_be_visible()
    await tab.page.reload()
    await expect(tab.page.get_by_text("ada", exact=True)).to_be_visible()
    other = await tab.page.context.new_page()
    await other.goto(casemate.url)
    await expect(other.get_by_text("ada", exact=True)).to_be_visible()

    await tab.button("Sign out").click()
    await expect(tab.button("Sign in")).to_be_visible()
    await expect(other.get_by_role("button", name="Sign in")).to_be_visible()
    await tab.page.reload()
    await expect(tab.button("Sign in")).to_be_visible()


async def test_nothing_is_shown_without_sign_in(
    casemate: RunningCasemate, open_tab: OpenPage
) -> None:
    """The address of the administration shows the sign-in, and leads there after it."""
    tab = await open_tab(f"{casemate.url}/admin")
    await expect(tab.button("Sign in")).to_be_visible()
    await expect(tab.page.get_by_role("main")).not_to_contain_text("Pools")
    await sign_in(tab, "admin", PASSWORD)
    await expect(tab.page.get_by_role("heading", name="Administration")).to_be_visible()


async def test_a_plain_user_has_no_administration(open_page: OpenPage) -> None:
    """Neither a link to it nor the page behind its address."""
    tab = await open_page("ada")
    await expect(tab.page.get_by_role("link", name="Administration")).to_have_count(0)
    await tab.page.goto(tab.page.url.rstrip("/") + "/admin")
    await expect(tab.page.get_by_role("main", name="Start")).to_be_visible()
