from orchestrator.accounts.ports import User
from orchestrator.protocol.ids import UserId
from orchestrator.setup.first_admin import link_url, locked_out_admin


def user(name: str, *, role="admin", password: str | None = None, disabled=False, at=0.0) -> User:
    return User(
        id=UserId(name),
        name=name,
        role=role,
        created_at=at,
        password_hash=password,
        disabled=disabled,
    )


def test_nobody_set_a_password():
    """While no admin has a password the oldest one gets a fresh link at each start."""
    older, newer = user("zoe", at=1.0), user("adam", at=2.0)
    assert locked_out_admin([newer, older, user("u", role="user")]) == older


def test_an_admin_can_sign_in():
    """Once an admin has a password no start gives a link away any more."""
    assert locked_out_admin([user("a"), user("b", password="hash")]) is None


def test_disabled_admins_do_not_count():
    """A disabled admin neither gets a link nor keeps others from one."""
    assert locked_out_admin([user("a", disabled=True)]) is None
    assert locked_out_admin([user("a", disabled=True, password="h"), user("b")]) == user("b")


def test_code_stands_behind_the_hash():
    """The code is in the fragment, which browsers send to nobody."""
    assert link_url("http://127.0.0.1:8080", code="abc") == "http://127.0.0.1:8080/#link=abc"
