"""How the egress proxy says no: to the sandbox, and to the session's people. Pure.

    Blocked         host, port, tag, sentence; status, the HTTP answer if one can still be given

Each kind of refusal is a function below. What the sandbox wrote is made visible before it is shown.
"""

LONGEST_HOST = 255


class Blocked(Exception):
    """Something that a sandbox wanted and does not get."""

    def __init__(self, host: str, port: int, *, tag: str, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.host = visible(host)
        self.port = port
        self.tag = tag
        self.sentence = sentence
        self.status = status


def visible(text: str) -> str:
    """Printable ASCII: no control characters, no letters that look like others."""
    escaped = text[:LONGEST_HOST].encode("unicode_escape").decode("ascii")
    return escaped[:LONGEST_HOST]


def not_admitted() -> Blocked:
    return Blocked(
        "", 0, tag="not_admitted", status=403, sentence="This sandbox belongs to no session yet."
    )


def bad_request(reason: str) -> Blocked:
    sentence = f"The request to the proxy cannot be used: {reason}."
    return Blocked("", 0, tag="bad_request", sentence=sentence, status=400)


def bad_address(text: str, reason: str) -> Blocked:
    sentence = f"This is not a host that can be asked for: {reason}."
    return Blocked(text, 0, tag="bad_address", sentence=sentence, status=400)


def host_not_allowed(host: str, port: int) -> Blocked:
    sentence = "The profile's list of hosts does not have this one."
    return Blocked(host, port, tag="host_not_allowed", sentence=sentence, status=403)


def port_not_allowed(host: str, port: int) -> Blocked:
    sentence = "The profile allows this host, but not this port."
    return Blocked(host, port, tag="port_not_allowed", sentence=sentence, status=403)


def private_address(host: str, port: int) -> Blocked:
    sentence = "The host's name leads to a private or special address."
    return Blocked(host, port, tag="private_address", sentence=sentence, status=403)


def unresolved(host: str, port: int) -> Blocked:
    sentence = "The host's name could not be looked up."
    return Blocked(host, port, tag="unresolved", sentence=sentence, status=502)


def unreachable(host: str, port: int, reason: str) -> Blocked:
    sentence = f"The host could not be reached: {reason}."
    return Blocked(host, port, tag="unreachable", sentence=sentence, status=502)


def no_tls(host: str, port: int, reason: str) -> Blocked:
    sentence = f"What was sent through the tunnel does not begin as TLS does: {reason}."
    return Blocked(host, port, tag="no_tls", sentence=sentence, status=403)


def sni_mismatch(host: str, port: int, reason: str) -> Blocked:
    sentence = f"The tunnel was asked for this host, and {reason}."
    return Blocked(host, port, tag="sni_mismatch", sentence=sentence, status=403)


def needs_tls(host: str, port: int) -> Blocked:
    sentence = "A secret belongs to this host, and so it is reached with https only."
    return Blocked(host, port, tag="needs_tls", sentence=sentence, status=403)


def method_not_allowed(host: str, port: int) -> Blocked:
    sentence = "This method is not allowed where a secret is added."
    return Blocked(host, port, tag="method_not_allowed", sentence=sentence, status=405)


def secret_too_new(host: str, port: int) -> Blocked:
    sentence = "This sandbox is older than the rule that gives the host a secret: start a session."
    return Blocked(host, port, tag="secret_too_new", sentence=sentence, status=502)


def secret_missing(host: str, port: int) -> Blocked:
    sentence = "The secret for this host cannot be read; an admin must mend the profile's file."
    return Blocked(host, port, tag="secret_missing", sentence=sentence, status=502)


def bad_answer(host: str, port: int, reason: str) -> Blocked:
    sentence = f"The host's answer cannot be passed on: {reason}."
    return Blocked(host, port, tag="bad_answer", sentence=sentence, status=502)


def over_budget(host: str, port: int, direction: str) -> Blocked:
    sentence = f"This session has {direction} as many bytes as its profile allows."
    return Blocked(host, port, tag="over_budget", sentence=sentence, status=403)


def too_many(sentence: str) -> Blocked:
    return Blocked("", 0, tag="too_many", sentence=sentence, status=429)


def too_slow(host: str, port: int, what: str) -> Blocked:
    sentence = f"{what} did not arrive in time."
    return Blocked(host, port, tag="too_slow", sentence=sentence, status=408)


def no_answer(host: str, port: int) -> Blocked:
    sentence = "The host did not answer in time."
    return Blocked(host, port, tag="no_answer", sentence=sentence, status=504)
