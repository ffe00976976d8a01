"""Who exists and what they may do."""

import asyncio

import pytest

from orchestrator.accounts.errors import (
    BadName,
    ChangedMeanwhile,
    LastAdmin,
    NameTaken,
    NotOnYourself,
    UnknownUser,
)
from orchestrator.protocol.ids import UserId


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "1ada",
        "a b",
        "ada\n.x",
        "ädä",
        "a" * 65,
        "../x",
        "a/b",
        "<b>",
        "\N{CYRILLIC SMALL LETTER A}da",
    ],
)
async def test_names_that_could_mislead_are_refused(world, name):
    """Nothing but plain letters, digits and a few marks; no look-alikes from other alphabets."""
    with pytest.raises(BadName):
        await world.add(name)


async def test_a_name_is_given_once(world):
    """Also in another spelling, also at the same moment."""
    results = await asyncio.gather(
        *(world.add(name) for name in ("ada", "ADA", " Ada ")), return_exceptions=True
    )
    assert sum(isinstance(result, NameTaken) for result in results) == 2


async def test_nobody_changes_themselves(world):
    """Neither role nor standing, in any direction."""
    root = await world.add("root", role="admin")
    await world.add("other", role="admin")
    for change in ({"role": "user"}, {"disabled": True}):
        with pytest.raises(NotOnYourself):
            await world.accounts.change_user(root.id, by=root.id, **change)


async def test_the_last_admin_stays(world):
    """Not even the command line can lock everybody out."""
    root = await world.add("root", role="admin")
    other = await world.add("other", role="admin")
    await world.accounts.disable_user(other.id)
    for change in ({"role": "user"}, {"disabled": True}):
        with pytest.raises(LastAdmin):
            await world.accounts.change_user(root.id, **change)
    await world.accounts.change_user(other.id, disabled=False)
    assert (await world.accounts.change_user(root.id, role="user")).role == "user"


async def test_a_change_that_changes_nothing_voids_nothing(world):
    """The same role again leaves tokens alone."""
    user = await world.add()
    admission = await world.login()
    await world.accounts.change_user(user.id, role="user", disabled=False)
    assert await world.accounts.authenticate(admission.access_token)


async def test_unknown_users_are_unknown(world):
    """Changing, linking and finding say so alike."""
    nobody = UserId("nobody")
    for call in (
        world.accounts.change_user(nobody, role="user"),
        world.accounts.create_sign_in_link(nobody),
        world.accounts.set_password(nobody, "another long one"),
        world.accounts.find_user("nobody"),
    ):
        with pytest.raises(UnknownUser):
            await call


async def test_two_changes_at_once_do_not_overwrite_each_other(world, monkeypatch):
    """The later one is told to look again."""
    user = await world.add()
    await world.add("root", role="admin")
    get = world.users.get

    async def slow_get(user_id):
        found = await get(user_id)
        await asyncio.sleep(0)
        return found

    monkeypatch.setattr(world.users, "get", slow_get)
    results = await asyncio.gather(
        world.accounts.change_user(user.id, role="operator"),
        world.accounts.change_user(user.id, disabled=True),
        return_exceptions=True,
    )
    assert sum(isinstance(result, ChangedMeanwhile) for result in results) == 1


async def test_who_did_what_is_told(world):
    """Changes name the person who made them, and what changed."""
    root = await world.add("root", role="admin")
    user = await world.add()
    await world.accounts.change_user(user.id, role="operator", disabled=True, by=root.id)
    last = world.events[-1]
    assert (last.name, last.user, last.by) == ("user.changed", user.id, root.id)
    assert last.detail == "role user to operator, disabled"
