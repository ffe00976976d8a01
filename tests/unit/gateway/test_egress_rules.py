"""Which hosts the egress proxy lets through: names, ports, addresses, rules."""

import string
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.gateway.egress.addresses import is_allowed
from orchestrator.gateway.egress.blocked import Blocked, visible
from orchestrator.gateway.egress.budgets import BudgetSpent, ByteBudget, SessionBudgets
from orchestrator.gateway.egress.host_names import BadHostName, authority, host_name
from orchestrator.gateway.egress.rules import BadRule, check_egress, injected_hosts, rule_for
from orchestrator.protocol.ids import SessionId
from orchestrator.sessions.profiles import Egress, EgressRule, Injection

EGRESS = Egress(
    allow=(
        EgressRule(host="ok.test"),
        EgressRule(host="*.wild.test", ports=(80, 443)),
        EgressRule(host="git.wild.test", inject=Injection(secret_file="/s")),
    )
)

NO_NAMES = [
    *("127.1", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "127.0.0.1", "1.2.3.4."),
    *("[::1]", "::1", "::ffff:127.0.0.1", "[::ffff:1.2.3.4]", "fe80::1%eth0", "ok.test.0x1"),
    *("localhost", "LOCALHOST", "a.localhost", "ok.test.", ".ok.test", "ok..test", "", "."),
    *("user@ok.test", "user:pw@ok.test", "ok.test\x00", "ok.test\n", "ok.test ", " ok.test"),
    *("ok.test/", "ok.test#", "ok.test?", "ok_.test", "-ok.test", "ok-.test", "*.test", "*"),
    *("ök.test", "ok。test", "ok.test\u200b", "\uff4fk.test", "ok%2etest", "a" * 64 + ".test"),
    ".".join(["a" * 60] * 5),
]


@pytest.mark.parametrize("text", NO_NAMES)
def test_only_plain_names_are_names(text: str) -> None:
    """No address in any spelling, nothing encoded, nothing beside the name."""
    with pytest.raises(BadHostName):
        host_name(text)


@pytest.mark.parametrize(
    "name", ["ok.test", "OK.Test", "x1.a-b.test", "mirror", "xn--nxasmq6b.test"]
)
def test_plain_names_are_lower_case(name: str) -> None:
    """There is one spelling of each."""
    assert host_name(name) == name.lower()


@pytest.mark.parametrize(
    "text",
    [
        *("ok.test:", "ok.test:0", "ok.test:65536", "ok.test:+443", "ok.test:0443", "ok.test"),
        *("ok.test:443:443", "ok.test: 443", "ok.test:4e2", "ok.test:٤٤٣", ":443", "ok.test:443 "),
    ],
)
def test_ports_are_plain_numbers(text: str) -> None:
    """And CONNECT has one."""
    with pytest.raises(BadHostName):
        authority(text)


@pytest.mark.parametrize(
    ("host", "port", "tag"),
    [
        ("other.test", 443, "host_not_allowed"),
        ("ok.test.evil.test", 443, "host_not_allowed"),
        ("evilok.test", 443, "host_not_allowed"),
        ("sub.ok.test", 443, "host_not_allowed"),
        ("wild.test", 443, "host_not_allowed"),
        ("evilwild.test", 443, "host_not_allowed"),
        ("a.wild.test.evil.test", 443, "host_not_allowed"),
        ("ok.test", 80, "port_not_allowed"),
        ("a.wild.test", 8443, "port_not_allowed"),
    ],
)
def test_what_is_not_listed_is_blocked(host: str, port: int, tag: str) -> None:
    """Names are compared by whole labels."""
    with pytest.raises(Blocked) as caught:
        rule_for(EGRESS, host, port)
    assert (caught.value.tag, caught.value.status) == (tag, 403)


def test_an_exact_rule_comes_before_a_wildcard() -> None:
    """So that a secret is added where it belongs, and other ports of the wildcard still count."""
    assert rule_for(EGRESS, "git.wild.test", 443).inject is not None
    assert rule_for(EGRESS, "git.wild.test", 80).inject is None
    assert rule_for(EGRESS, "a.b.wild.test", 80).host == "*.wild.test"
    assert injected_hosts(EGRESS) == {"git.wild.test"}


@given(st.text(alphabet=string.printable + "\x00。ａ٣", max_size=80))
def test_no_text_is_both_strange_and_allowed(text: str) -> None:
    """Whatever the text: it is refused, or it is a listed name as it is."""
    try:
        host, port = authority(text)
        rule = rule_for(EGRESS, host, port)
    except (BadHostName, Blocked):
        return
    assert text.lower() == f"{host}:{port}"
    assert host == rule.host or host.endswith(".wild.test")


@given(st.text(alphabet="okwildtes.*-1", max_size=30), st.sampled_from([80, 443]))
def test_near_misses_are_misses(text: str, port: int) -> None:
    """Names made of the same letters are not mistaken for listed ones."""
    try:
        rule_for(EGRESS, host_name(text), port)
    except (BadHostName, Blocked):
        return
    assert text == "ok.test" or text.endswith(".wild.test")


NEVER = [
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "169.254.169.254", "224.0.0.1", "240.0.0.1"),
    *("255.255.255.255", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.9"),
    *("192.88.99.1", "::", "::1", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "::ffff:169.254.169.254"),
    *("::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2001::1"),
    *("2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1", "fe80::1", "fe80::1%1"),
    *("fec0::1", "ff02::1", "100::1", "5f00::1", "2001:20::1", "4000::1", "::ffff:0:1.2.3.4"),
    *("168.63.129.16", "100.100.100.200", "64:ff9b::a83f:8110", "64:ff9b::6464:64c8"),
    *("fd00:ec2::254", "fd00:ec2::23", "fd00:42::42", "fd20:ce::254"),
]
PRIVATE = ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fd00::1"]
PRIVATE += ["64:ff9b::a00:1"]
PUBLIC = ["8.8.8.8", "93.184.215.14", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", NEVER)
def test_special_addresses_are_never_allowed(address: str) -> None:
    """The machine itself, its link, its cloud, what wraps another address, what nobody owns."""
    assert not is_allowed(ip_address(address), private=False)
    assert not is_allowed(ip_address(address), private=True)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_need_a_word(address: str) -> None:
    """Only a rule that says `private` leads into the operator's network."""
    assert not is_allowed(ip_address(address), private=False)
    assert is_allowed(ip_address(address), private=True)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    """With and without."""
    assert is_allowed(ip_address(address), private=False)
    assert is_allowed(ip_address(address), private=True)


@given(st.ip_addresses())
def test_what_python_calls_special_is_not_allowed(address: object) -> None:
    """Our table is at least as strict as the standard library's."""
    if is_allowed(address, private=False) and "64:ff9b" not in str(address):  # type: ignore[arg-type]
        assert address.is_global  # type: ignore[attr-defined]
        assert not address.is_multicast  # type: ignore[attr-defined]
        assert not address.is_reserved  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (EgressRule(host="*"), "plain host name"),
        (EgressRule(host="*.com"), "two labels"),
        (EgressRule(host="*.*.test"), "plain host name"),
        (EgressRule(host="a.*.test"), "plain host name"),
        (EgressRule(host="10.0.0.1"), "addresses"),
        (EgressRule(host="localhost", private=True), "itself"),
        (EgressRule(host="OK.test"), "lower case"),
        (EgressRule(host="https://ok.test"), "plain host name"),
        (EgressRule(host=""), "plain host name"),
        (EgressRule(host="ok.test", ports=()), "ports"),
        (EgressRule(host="ok.test", ports=(0,)), "ports"),
        (EgressRule(host="ok.test", ports=(65536,)), "ports"),
        (EgressRule(host="ok.test", inject=Injection(secret_file="")), "secret_file"),
        (EgressRule(host="ok.test", inject=Injection(secret_file="token")), "secret_file"),
        (EgressRule(host="ok.test", inject=Injection(secret_file="/t", header="Host")), "header"),
        (EgressRule(host="ok.test", inject=Injection(secret_file="/t", header="a\r\nb")), "header"),
        (EgressRule(host="ok.test", inject=Injection(secret_file="/t", scheme="basic")), "user"),
    ],
)
def test_rules_that_make_no_sense_are_told(rule: EgressRule, reason: str) -> None:
    """When profiles are loaded, naming the rule."""
    with pytest.raises(BadRule, match=reason):
        check_egress(Egress(allow=(rule,)))


def test_rules_that_make_sense_pass() -> None:
    """Names, wildcards, single labels for a network of one's own, secrets of each scheme."""
    check_egress(EGRESS)
    basic = Injection(secret_file="/t", scheme="basic", username="x-access-token")
    raw = Injection(secret_file="/t", scheme="raw", header="PRIVATE-TOKEN")
    rules = (EgressRule(host="mirror", private=True), EgressRule(host="a.test", inject=basic))
    check_egress(Egress(allow=(*rules, EgressRule(host="b.test", inject=raw))))
    with pytest.raises(BadRule, match="max_bytes"):
        check_egress(Egress(max_bytes_up=0))


@given(st.text(max_size=400))
def test_what_is_shown_is_plain(text: str) -> None:
    """No control characters, no look-alikes, no more than 255."""
    shown = visible(text)
    assert shown.isascii()
    assert shown.isprintable() or not shown
    assert len(shown) <= 255


def test_a_budget_is_never_exceeded() -> None:
    """What would go beyond it is not passed on, and nothing after it is."""
    budget = ByteBudget(Egress(max_bytes_up=10, max_bytes_down=5))
    budget.send(10)
    budget.receive(4)
    with pytest.raises(BudgetSpent, match="sent"):
        budget.send(1)
    with pytest.raises(BudgetSpent, match="received"):
        budget.receive(2)
    with pytest.raises(BudgetSpent):
        budget.receive(1)


def test_a_budget_is_the_sessions() -> None:
    """A second slot of the same session goes on with what is left; another session has its own."""
    budgets = SessionBudgets()
    egress = Egress(max_bytes_up=10)
    budgets.of(SessionId("a"), egress).send(10)
    with pytest.raises(BudgetSpent):
        budgets.of(SessionId("a"), egress).check()
    budgets.of(SessionId("b"), egress).check()
