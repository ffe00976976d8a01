"""What a request's head may look like before anything of it is read on. Pure.

The gateway writes a request of its own to the upstream, so no framing of a head is passed on.
What two readers could understand differently is refused all the same: where one request ends and
the next begins shall never be a matter of opinion.
"""

from collections.abc import Iterable

from orchestrator.gateway.refusals import invalid, no_expectations, no_length

HTTP_1_1 = (1, 1)
_ONCE = frozenset({"host", "content-length", "transfer-encoding", "content-type"})
_NEVER = frozenset({"content-encoding", "trailer", "upgrade", "http2-settings"})


def check_head(version: tuple[int, int], headers: Iterable[tuple[str, str]]) -> None:
    """Raises Refused."""
    if version != HTTP_1_1:
        raise invalid("requests are made in HTTP/1.1 here.")
    seen: dict[str, str] = {}
    for name, value in headers:
        name = name.lower()  # noqa: PLW2901 - the same name, in the form that is compared
        if name in seen and name in _ONCE:
            raise invalid(f"the header `{name}` stands twice.")
        seen[name] = value
    if forbidden := sorted(_NEVER & set(seen)):
        raise invalid(f"the header `{forbidden[0]}` has no place here.")
    if "expect" in seen:
        raise no_expectations()
    _check_length(seen)


def _check_length(headers: dict[str, str]) -> None:
    if "transfer-encoding" in headers:
        raise no_length()
    length = headers.get("content-length")
    if length is not None and not (length.isascii() and length.isdecimal()):
        raise invalid("the content-length has to be a number.")
