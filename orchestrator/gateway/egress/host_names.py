"""Names of hosts and their ports, in the one spelling that is accepted. Pure.

    BadHostName     what was given is no plain DNS name

Addresses are refused in every spelling that some resolver understands: `127.1`, `2130706433` and
`0x7f.1` all end in a number, as no real domain does; brackets and colons are no letters.
"""

import re

MAX_PORT = 65535
_LONGEST_NAME = 253
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_WILDCARD = "*."


class BadHostName(ValueError):
    """The message says what is wrong, and repeats nothing of what was given."""


def host_name(text: str) -> str:
    """The name in lower case. Raises BadHostName."""
    if not text.isascii():
        raise BadHostName("it is not plain ASCII")
    name = text.lower()
    labels = name.split(".")
    if len(name) > _LONGEST_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise BadHostName("it is not a plain host name")
    if _NUMBER.fullmatch(labels[-1]):
        raise BadHostName("addresses are not allowed, only names")
    if labels[-1] == "localhost":
        raise BadHostName("it names the machine itself")
    return name


def port_number(text: str) -> int:
    """Raises BadHostName."""
    if not _PORT.fullmatch(text) or int(text) > MAX_PORT:
        raise BadHostName("its port is not a number from 1 to 65535")
    return int(text)


def authority(text: str, *, default_port: int | None = None) -> tuple[str, int]:
    """`name:port`, and `name` alone where there is a default. Raises BadHostName."""
    name, colon, port = text.partition(":")
    if not colon and default_port is not None:
        return host_name(name), default_port
    return host_name(name), port_number(port)


def host_header(name: str, port: int, *, default_port: int) -> str:
    """As HTTP's `Host` has it."""
    return name if port == default_port else f"{name}:{port}"


def check_pattern(pattern: str) -> None:
    """A rule's host: a name in lower case, or `*.` and a name of two labels at least, so that no
    rule opens a whole top-level domain. Raises BadHostName."""
    name = pattern.removeprefix(_WILDCARD)
    if host_name(name) != name:
        raise BadHostName("it must be written in lower case")
    if name != pattern and "." not in name:
        raise BadHostName("the part after `*.` must have at least two labels")


def covers(pattern: str, name: str) -> bool:
    """Whether a checked pattern stands for a checked name: whole labels, never parts of one."""
    if pattern.startswith(_WILDCARD):
        return name.endswith(pattern[1:]) and len(name) >= len(pattern)
    return name == pattern
