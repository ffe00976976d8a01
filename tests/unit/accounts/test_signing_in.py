"""Passwords, links, refreshing, and the ways a sign-in ends."""

import asyncio

import pytest

from orchestrator.accounts import keys, opaque_tokens
from orchestrator.accounts.errors import (
    LinkVoid,
    NotSignedIn,
    RefreshSuperseded,
    SignInBusy,
    SignInOver,
    TooManyAttempts,
    WeakPassword,
    WrongCredentials,
)
from orchestrator.accounts.passwords import Passwords
from orchestrator.accounts.settings import AccountsSettings
from orchestrator.accounts.throttle import MAX_ENTRIES, Throttle, network_of


async def test_a_password_signs_in_and_the_token_says_who(world):
    """Names are compared without case; the principal carries role and sign-in."""
    await world.add("Ada", role="operator")
    admission = await world.login(" ADA ")
    principal = await world.accounts.authenticate(admission.access_token)
    assert (principal.name, principal.role) == ("ada", "operator")
    assert world.told() == ["user.added", "sign_in.succeeded"]


async def test_secrets_are_kept_as_hashes_and_hidden_from_repr(world):
    """Stores hold argon2id and SHA-256 only; nothing prints a token."""
    user = await world.add()
    admission = await world.login()
    link = await world.accounts.create_sign_in_link(user.id)
    kept = f"{world.users._users}{world.tokens._tokens}{world.links._links}"
    for secret in (world.password, admission.refresh_token.split(".")[1], link.code.split(".")[1]):
        assert secret not in kept
        assert secret not in f"{admission!r}{link!r}{opaque_tokens.parse(link.code)!r}"
    assert admission.access_token not in repr(admission)
    assert user.password_hash.startswith("$argon2id$")


@pytest.mark.parametrize("name", ["nobody", "", "  ", "ada\0", "ä" * 300, "x" * 5000, "a b"])
async def test_any_unknown_name_is_just_wrong(world, name):
    """No name at all gives another error than a wrong password does."""
    await world.add()
    with pytest.raises(WrongCredentials):
        await world.login(name)


async def test_an_unknown_name_costs_a_verification_too(world, monkeypatch):
    """Nobody's password is verified against a dummy, so that time tells nothing."""
    await world.add()
    verified = []
    passwords = world.accounts._passwords
    matches = passwords._matches
    monkeypatch.setattr(
        passwords, "_matches", lambda stored, word: verified.append(stored) or matches(stored, word)
    )
    for name in ("ada", "nobody"):
        with pytest.raises(WrongCredentials):
            await world.login(name, "wrong wrong wrong")
    assert len(verified) == 2
    assert verified[1] is None


@pytest.mark.parametrize("word", ["x" * 1025, "é" * 600, "\ud800" * 12, "a\0b" * 10, ""])
async def test_odd_passwords_are_wrong_and_harmless(world, word):
    """Too long, half a surrogate, NUL, empty: wrong, whatever the prefix."""
    await world.add()
    with pytest.raises(WrongCredentials):
        await world.accounts.login("ada", word, address="192.0.2.1", device="")


async def test_a_password_of_1025_bytes_is_not_its_prefix(world):
    """The cap on the input never makes two passwords equal."""
    user = await world.add()
    await world.accounts.set_password(user.id, "abcd" * 256)
    assert await world.login(password="abcd" * 256)
    with pytest.raises(WrongCredentials):
        await world.login(password="abcd" * 256 + "e")


@pytest.mark.parametrize(
    "word",
    ["short", "x" * 40, "123456789012", "Password1234", "adalovelaceadalovelace", "é" * 1000],
)
async def test_weak_passwords_are_refused(world, word):
    """Under 12 characters, well known, monotonous, the name again, or too long."""
    with pytest.raises(WeakPassword):
        await world.accounts.add_user("adalovelace", role="user", password=word)


async def test_old_hashes_are_brought_up_to_date(world):
    """Signing in after the parameters grew rehashes, and voids nothing."""
    await world.add()
    before = await world.login()
    newer = world.another_process(AccountsSettings(argon2_memory_kib=128))
    await newer.login("ada", world.password, address="192.0.2.2", device="")
    assert "m=128" in (await world.accounts.find_user("ada")).password_hash
    assert await world.accounts.authenticate(before.access_token)


async def test_hashing_is_bounded():
    """A flood of sign-ins beyond the queue is refused at once."""
    passwords = Passwords(
        AccountsSettings(argon2_memory_kib=64, hashing_at_once=1, hashing_queue=2)
    )
    results = await asyncio.gather(
        *(passwords.verify(None, "x") for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(result, SignInBusy) for result in results) == 7
    assert await passwords.verify(None, "x") is False


async def test_wrong_passwords_are_delayed_and_right_ones_forgive(world):
    """Five are free, then the delay doubles; it passes, and success starts over."""
    await world.add()
    for _ in range(5):
        with pytest.raises(WrongCredentials):
            await world.login(password="wrong wrong wrong")
    with pytest.raises(TooManyAttempts) as refused:
        await world.login()
    assert refused.value.retry_after == 1
    world.now += 2
    assert await world.login()
    for _ in range(4):
        with pytest.raises(WrongCredentials):
            await world.login(password="wrong wrong wrong")


async def test_one_address_does_not_lock_another_out(world):
    """Somebody's guessing delays them, not the account's owner elsewhere."""
    await world.add()
    for _ in range(5):
        with pytest.raises(WrongCredentials):
            await world.login(password="wrong wrong wrong", address="203.0.113.9")
    assert await world.login(address="192.0.2.7")


async def test_many_attempts_at_once_gain_nothing(world):
    """Attempts are counted before they are checked."""
    await world.add()
    results = await asyncio.gather(
        *(world.login(password=f"wrong number {n}") for n in range(20)), return_exceptions=True
    )
    assert sum(isinstance(result, WrongCredentials) for result in results) == 5


def test_delays_are_capped_and_the_table_is_bounded():
    """No delay above the longest; no more entries than allowed, whoever tries."""
    throttle = Throttle(AccountsSettings(attempts_per_address=10**9))
    now = 0.0
    for _ in range(40):
        throttle.attempt("ada", "192.0.2.1", now=now)
        now += 301
    with pytest.raises(TooManyAttempts) as refused:
        throttle.attempt("ada", "192.0.2.1", now=now - 301 + 1)
    assert refused.value.retry_after <= 300
    for n in range(MAX_ENTRIES + 100):
        throttle.attempt(f"user{n}", "192.0.2.1", now=now)
    assert len(throttle._pairs) == MAX_ENTRIES


def test_an_ipv6_network_counts_as_one():
    """Whoever has one address of a /64 has them all; v4 in v6 clothing is v4."""
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1%eth0")
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("testclient") == "testclient"


async def test_a_link_works_once_and_not_for_long(world):
    """Used, expired, forged, or of a disabled user: void."""
    user = await world.add()

    async def use(code):
        return await world.accounts.sign_in_with_link(code, address="x", device="")

    link = await world.accounts.create_sign_in_link(user.id)
    results = await asyncio.gather(*(use(link.code) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, LinkVoid) for result in results) == 4
    late = await world.accounts.create_sign_in_link(user.id)
    world.now += 86401
    forged = (await world.accounts.create_sign_in_link(user.id)).code[:-1] + "_"
    for code in (late.code, forged, "", "x", "é" * 76, late.code + "\n"):
        with pytest.raises(LinkVoid):
            await use(code)
    of_disabled = await world.accounts.create_sign_in_link(user.id)
    await world.accounts.disable_user(user.id)
    with pytest.raises(LinkVoid):
        await use(of_disabled.code)


async def test_a_link_for_a_lost_password_voids_it(world):
    """With `forget_password` the old one and all sign-ins are dead, and none is asked for."""
    user = await world.add()
    old = await world.login()
    link = await world.accounts.create_sign_in_link(user.id, forget_password=True)
    with pytest.raises(WrongCredentials):
        await world.login()
    with pytest.raises(NotSignedIn):
        await world.accounts.authenticate(old.access_token)
    admission = await world.accounts.sign_in_with_link(link.code, address="x", device="")
    await world.accounts.choose_password(
        admission.principal, current=None, new="another long one", address="x", device=""
    )
    assert await world.login(password="another long one")


# --- refreshing ------------------------------------------------------------------------------


async def test_each_refresh_gives_the_next(world):
    """The sign-in stays the same, its tokens change."""
    await world.add()
    first = await world.login()
    second = await world.refresh(first.refresh_token)
    assert second.principal.sign_in == first.principal.sign_in
    assert second.refresh_token != first.refresh_token


async def test_the_one_before_is_forgiven_for_ten_seconds(world):
    """Within the grace it mints nothing; after it, it ends everything, the newest token too."""
    await world.add()
    first = await world.login()
    second = await world.refresh(first.refresh_token)
    world.now += 9
    with pytest.raises(RefreshSuperseded):
        await world.refresh(first.refresh_token)
    world.now += 2
    with pytest.raises(SignInOver):
        await world.refresh(first.refresh_token)
    with pytest.raises(SignInOver):
        await world.refresh(second.refresh_token)
    with pytest.raises(NotSignedIn):
        await world.accounts.authenticate(second.access_token)
    assert world.told().count("sign_in.reuse_detected") == 1


async def test_two_generations_back_are_never_forgiven(world):
    """The grace is for the immediately preceding token, however soon."""
    await world.add()
    first = await world.login()
    second = await world.refresh(first.refresh_token)
    third = await world.refresh(second.refresh_token)
    with pytest.raises(SignInOver):
        await world.refresh(first.refresh_token)
    with pytest.raises(SignInOver):
        await world.refresh(third.refresh_token)


async def test_of_eight_at_once_one_is_served(world):
    """The others are told to go on with the newer token; nobody is signed out."""
    await world.add()
    first = await world.login()
    results = await asyncio.gather(
        *(world.refresh(first.refresh_token) for _ in range(8)), return_exceptions=True
    )
    kinds = sorted(type(result).__name__ for result in results)
    assert kinds == ["Admission"] + ["RefreshSuperseded"] * 7


async def test_a_wrong_secret_spoils_nothing(world):
    """Guessing at a known id neither works nor burns the token."""
    await world.add()
    first = await world.login()
    token_id = first.refresh_token.split(".")[0]
    for bad in (f"{token_id}.{'A' * 43}", f"{token_id}.x", token_id, "", "x" * 5000, "é"):
        with pytest.raises(SignInOver):
            await world.refresh(bad)
    assert await world.refresh(first.refresh_token)


async def test_lifetimes_slide_and_end(world):
    """Unused for two weeks it ends; used, it ends after thirty days."""
    await world.add()
    idle = await world.login()
    world.now += 14 * 86400 + 1
    with pytest.raises(SignInOver):
        await world.refresh(idle.refresh_token)
    used = await world.login()
    for _ in range(9):
        world.now += 3 * 86400
        used = await world.refresh(used.refresh_token)
    world.now += 3 * 86400 + 1
    with pytest.raises(SignInOver):
        await world.refresh(used.refresh_token)


async def test_signing_out_ends_one_sign_in(world):
    """Its tokens are dead, another device's are not."""
    await world.add()
    here, there = await world.login(), await world.login()
    await world.accounts.logout(here.principal.sign_in)
    await world.accounts.logout(here.principal.sign_in)
    with pytest.raises(NotSignedIn):
        await world.accounts.authenticate(here.access_token)
    with pytest.raises(SignInOver):
        await world.refresh(here.refresh_token)
    assert await world.accounts.authenticate(there.access_token)
    await world.accounts.logout_with(there.refresh_token)
    with pytest.raises(NotSignedIn):
        await world.accounts.authenticate(there.access_token)


@pytest.mark.parametrize("change", ["disable", "role", "password"])
async def test_another_process_is_heard_within_the_cache_age(world, change):
    """What the command line changes shows here within two seconds, both in tokens and sockets."""
    user = await world.add()
    await world.add("root", role="admin")
    admission = await world.login()
    principal = await world.accounts.authenticate(admission.access_token)
    other = world.another_process()
    match change:
        case "disable":
            await other.disable_user(user.id)
        case "role":
            await other.change_user(user.id, role="operator")
        case "password":
            await other.set_password(user.id, "another long one")
    world.now += 2.1
    assert not await world.accounts.still_welcome(principal)
    with pytest.raises(NotSignedIn):
        await world.accounts.authenticate(admission.access_token)


async def test_a_new_role_shows_after_a_refresh(world):
    """Demotion takes the old token away; the next one has the new role."""
    await world.add("root", role="admin")
    user = await world.add(role="operator")
    admission = await world.login()
    await world.accounts.change_user(user.id, role="user")
    with pytest.raises(NotSignedIn):
        await world.accounts.authenticate(admission.access_token)
    again = await world.refresh(admission.refresh_token)
    assert again.principal.role == "user"


async def test_a_sign_in_that_overtakes_a_new_password_is_void(world, monkeypatch):
    """Whoever signs in with the old password while it is replaced does not stay."""
    user = await world.add()
    begin = world.tokens.begin

    async def begin_late(*arguments):
        await world.another_process().set_password(user.id, "another long one")
        await begin(*arguments)

    monkeypatch.setattr(world.tokens, "begin", begin_late)
    with pytest.raises(WrongCredentials):
        await world.login()
    assert all(sign_in.revoked for sign_in in world.tokens._sign_ins.values())


async def test_what_expired_is_tidied_away(world):
    """Old sign-ins do not pile up."""
    await world.add()
    await world.login()
    world.now += 31 * 86400
    await world.login()
    assert len(world.tokens._sign_ins) == 1


# --- the key file ----------------------------------------------------------------------------


def test_the_key_file_is_made_once_and_for_its_owner(tmp_path):
    """0600, 256 random bits, the same keys each time, other keys elsewhere."""
    path = tmp_path / "signing.key"
    made = keys.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.load_or_create(path) == made
    assert made.access != made.csrf
    assert len(made.access) == 32
    assert keys.load_or_create(tmp_path / "other.key") != made
    assert [p.name for p in tmp_path.iterdir() if "signing" in p.name] == ["signing.key"]
    assert made.access.hex() not in repr(made)


@pytest.mark.parametrize("fault", ["readable", "short", "text", "empty", "link", "directory"])
def test_a_key_file_that_cannot_be_trusted_is_refused(tmp_path, fault):
    """Readable by others, damaged, or not a file of its own: it says what to do."""
    path = tmp_path / "signing.key"
    keys.load_or_create(path)
    match fault:
        case "readable":
            path.chmod(0o640)
        case "short":
            path.write_text("00ff")
        case "text":
            path.write_text("not hexadecimal at all")
        case "empty":
            path.write_text("")
        case "link":
            path.rename(tmp_path / "elsewhere")
            path.symlink_to(tmp_path / "elsewhere")
        case "directory":
            path.unlink()
            path.mkdir()
    with pytest.raises(keys.KeyFileUnsafe, match=r"signing\.key"):
        keys.load_or_create(path)
