"""Which requests may pass at all, by method and raw target. Pure.

The target is compared as the bytes that came, before any decoding or normalising: what is not
literally one of these is refused, so there is nothing to trick.
"""

import re
from typing import Literal

import msgspec

from orchestrator.gateway.refusals import unknown_path, wrong_method

RouteName = Literal["messages", "count_tokens", "models"]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    name: RouteName
    method: Literal["GET", "POST"]
    target: str
    """Path and query, to be sent on as it is."""


_MODEL_PATH = re.compile(r"/v1/models/[A-Za-z0-9][A-Za-z0-9._@:\[\]-]{0,199}")
_QUERIES = ("", "?beta=true")


def route_of(method: str, target: str) -> Route:
    """Raises Refused."""
    path, mark, query = target.partition("?")
    if mark + query not in _QUERIES:
        raise unknown_path()
    if path == "/v1/messages":
        return _route("messages", "POST", method, target)
    if path == "/v1/messages/count_tokens":
        return _route("count_tokens", "POST", method, target)
    if path == "/v1/models" or _MODEL_PATH.fullmatch(path):
        return _route("models", "GET", method, target)
    raise unknown_path()


def _route(name: RouteName, expected: Literal["GET", "POST"], method: str, target: str) -> Route:
    if method != expected:
        raise wrong_method()
    return Route(name=name, method=expected, target=target)
