"""A profile's list of hosts: whether it makes sense, and what it says of one host. Pure."""

import re

from orchestrator.gateway.egress.blocked import host_not_allowed, port_not_allowed
from orchestrator.gateway.egress.host_names import MAX_PORT, BadHostName, check_pattern, covers
from orchestrator.sessions.profiles import Egress, EgressRule, Injection

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer"}
)
"""Headers that say where a request goes and where it ends."""


class BadRule(ValueError):
    """The message names the rule and says what is wrong."""


def rule_for(egress: Egress, host: str, port: int) -> EgressRule:
    """The rule that allows a checked name and port; an exact name comes before a wildcard, and of
    two alike the first. Raises Blocked."""
    named = [rule for rule in egress.allow if covers(rule.host, host)]
    if not named:
        raise host_not_allowed(host, port)
    fitting = [rule for rule in named if port in rule.ports]
    if not fitting:
        raise port_not_allowed(host, port)
    return min(fitting, key=lambda rule: rule.host != host)


def injected_hosts(egress: Egress) -> frozenset[str]:
    """The names whose connections are opened at the proxy, without `*.`."""
    return frozenset(rule.host.removeprefix("*.") for rule in egress.allow if rule.inject)


def check_egress(egress: Egress) -> None:
    """Raises BadRule."""
    for rule in egress.allow:
        try:
            check_pattern(rule.host)
        except BadHostName as error:
            raise BadRule(f"egress to {rule.host!r}: {error}") from error
        if not rule.ports or not all(0 < port <= MAX_PORT for port in rule.ports):
            raise BadRule(f"egress to {rule.host!r}: ports go from 1 to {MAX_PORT}")
        if rule.inject is not None:
            _check_injection(rule.host, rule.inject)
    if egress.max_bytes_up <= 0 or egress.max_bytes_down <= 0:
        raise BadRule("egress: max_bytes_up and max_bytes_down must be more than 0")


def _check_injection(host: str, injection: Injection) -> None:
    header = injection.header
    if not injection.secret_file.startswith("/"):
        raise BadRule(f"egress to {host!r}: secret_file must be an absolute path")
    if not _TOKEN.fullmatch(header) or header.lower() in _OURS:
        raise BadRule(f"egress to {host!r}: {header!r} is not a header that can be added")
    if injection.scheme == "basic" and (":" in injection.username or not injection.username):
        raise BadRule(f"egress to {host!r}: the basic scheme needs a username without a colon")
    if not (injection.username.isascii() and injection.username.isprintable()) and (
        injection.username
    ):
        raise BadRule(f"egress to {host!r}: the username must be printable ASCII")
