"""What `casemate users` does, for whoever may use the machine that Casemate runs on."""

from datetime import UTC, datetime

from orchestrator.accounts.ports import Role, User
from orchestrator.app import open_accounts
from orchestrator.settings import Settings
from orchestrator.setup.first_admin import all_users, link_url


async def add(settings: Settings, *, name: str, role: Role, password: str | None = None) -> str:
    """The link with which the new user signs in, if they got no password. Raises AccountError."""
    async with open_accounts(settings) as accounts:
        user = await accounts.add_user(name, role=role, password=password)
        if password is not None:
            return f"{user.name} can sign in."
        created = await accounts.create_sign_in_link(user.id)
    return link_url(settings.server.url, code=created.code)


async def listing(settings: Settings) -> list[str]:
    """One line for each user, by name."""
    async with open_accounts(settings) as accounts:
        return [line(user) for user in await all_users(accounts)]


def line(user: User) -> str:
    states = [
        "disabled" if user.disabled else "",
        "" if user.password_hash else "no password yet",
        _last_seen(user.last_sign_in_at),
    ]
    return f"{user.name}  {user.role}  {', '.join(state for state in states if state)}"


def _last_seen(at: float | None) -> str:
    if at is None:
        return "never signed in"
    return f"last signed in {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


async def disable(settings: Settings, *, name: str, disabled: bool) -> None:
    """Raises AccountError, for the last admin too."""
    async with open_accounts(settings) as accounts:
        user = await accounts.find_user(name)
        await accounts.change_user(user.id, disabled=disabled)


async def set_password(settings: Settings, *, name: str, password: str) -> None:
    """Raises AccountError."""
    async with open_accounts(settings) as accounts:
        user = await accounts.find_user(name)
        await accounts.set_password(user.id, password)


async def link(settings: Settings, *, name: str) -> str:
    """A one-time link; the old password is forgotten. Raises AccountError."""
    async with open_accounts(settings) as accounts:
        user = await accounts.find_user(name)
        created = await accounts.create_sign_in_link(user.id, forget_password=True)
    return link_url(settings.server.url, code=created.code)
