"""The first admin, and the one-time link that lets a person in who has no password yet."""

from collections.abc import Sequence

from orchestrator.accounts.ports import User
from orchestrator.accounts.service import Accounts

FIRST_ADMIN = "admin"
PAGE = 100


async def sign_in_link(accounts: Accounts, *, url: str) -> str | None:
    """A fresh one-time link for an admin, or None where people can sign in by themselves.

    On an empty user table the admin is made first. As long as no admin has chosen a password each
    start gives a new link: the terminal of whoever may start Casemate is as good as the database.
    """
    users = await all_users(accounts)
    if not users:
        admin = await accounts.add_user(FIRST_ADMIN, role="admin")
    elif (found := locked_out_admin(users)) is not None:
        admin = found
    else:
        return None
    link = await accounts.create_sign_in_link(admin.id)
    return link_url(url, code=link.code)


def locked_out_admin(users: Sequence[User]) -> User | None:
    """The admin who needs a link: the oldest one, where no admin at all has a password."""
    admins = [user for user in users if user.role == "admin" and not user.disabled]
    if not admins or any(user.password_hash is not None for user in admins):
        return None
    return min(admins, key=lambda user: user.created_at)


def link_url(url: str, *, code: str) -> str:
    """The code stands after `#`, so that it reaches no server's log and no `Referer`."""
    return f"{url}/#link={code}"


async def all_users(accounts: Accounts) -> list[User]:
    users: list[User] = []
    while page := await accounts.list_users(limit=PAGE, after=users[-1].name if users else None):
        users.extend(page)
        if len(page) < PAGE:
            break
    return users
